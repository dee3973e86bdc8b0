import { el } from "./dom";
import type { RenderProps } from "./model";
import { currentTheme, type Theme, watchTheme } from "./theme";
import { Tip } from "./tip";

/** What every view has: a themed root, a tooltip, a live region, and one signal that ends it all. */
export interface Root {
  node: HTMLElement;
  tip: Tip;
  signal: AbortSignal;
  theme(): Theme;
  /** Says a text to screen readers. */
  say(text: string): void;
}

export interface Rooted {
  root: Root;
  end: () => void;
}

/** Builds the root in `el`; `redraw` is called after a change of theme and of width. */
export function createRoot<S>(props: RenderProps<S>, className: string, redraw: () => void): Rooted {
  const ended = new AbortController();
  props.signal?.addEventListener("abort", () => ended.abort());
  const { signal } = ended;
  const node = el("section", `pw-root ${className}`);
  const tip = new Tip();
  const live = el("div", "pw-live");
  live.setAttribute("aria-live", "polite");
  node.append(tip.node, live);
  props.el.append(node);
  const setTheme = () => {
    node.dataset["pwTheme"] = currentTheme();
  };
  setTheme();
  watchTheme(() => {
    setTheme();
    redraw();
  }, signal);
  let width = 0;
  const observer = new ResizeObserver(() => {
    const now = Math.floor(node.clientWidth);
    if (now === width) return; // heights follow from widths
    width = now;
    if (now > 0) redraw();
  });
  observer.observe(node);
  addEventListener("scroll", () => tip.follow(), { signal, capture: true, passive: true });
  signal.addEventListener("abort", () => {
    observer.disconnect();
    tip.hide();
    node.remove();
  });
  const root: Root = { node, tip, signal, theme: currentTheme, say: (text) => void (live.textContent = text) };
  return { root, end: () => ended.abort() };
}
