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
  /** The whole pixels there are across, 0 while the view is not shown. A change after this is laid out again. */
  width(): number;
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
  // Measured anew only when it may have changed: asking lays out the whole page, once for every view that asks.
  let known = 0;
  let laidOut = 0;
  const width = () => (laidOut = known ||= contentWidth(node));
  const observer = new ResizeObserver(() => {
    known = contentWidth(node);
    if (!known) tip.hide(); // or else it is there again when the view is
    if (known > 0 && known !== laidOut) redraw(); // heights follow from widths
  });
  observer.observe(node);
  watchTheme(() => {
    setTheme();
    known = 0;
    redraw();
    // The page's own styles are between two themes now: another width than before, which may never be reported.
    observer.unobserve(node);
    observer.observe(node);
  }, signal);
  addEventListener("scroll", () => tip.follow(), { signal, capture: true, passive: true });
  signal.addEventListener("abort", () => {
    observer.disconnect();
    tip.hide();
    node.remove();
  });
  const say = (text: string) => void (live.textContent = text);
  return { root: { node, tip, signal, theme: currentTheme, width, say }, end: () => ended.abort() };
}

/** Rounded down: `clientWidth` rounds to the nearest, which may be more than there is. */
const contentWidth = (node: HTMLElement): number =>
  node.clientWidth && Math.floor(parseFloat(getComputedStyle(node).width));
