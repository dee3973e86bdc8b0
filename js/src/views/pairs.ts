import { coalesce, el } from "../dom";
import { handled } from "../keys";
import type { RenderProps, PairsState } from "../model";
import { createRoot, type Root } from "../root";
import type { PositionStore } from "../store";
import { counted, decimal, visible } from "../text";

// A name, not an address; in parts, so that the page holds no address at all.
const SVG = ["http:", "", "www.w3.org", "2000", "svg"].join("/");
const HEIGHT = 92;
const SIDE = 14;
const MIDDLE = 38;
const AXIS = 72;

/** A place on the line for every value, and how far off it: dots side by side where they would cover each other. */
export function swarm(xs: readonly number[], radius: number, room: number): number[] {
  const offsets = new Array<number>(xs.length).fill(0);
  const placed: number[] = [];
  const order = xs.map((_, i) => i).sort((a, b) => xs[a] - xs[b]);
  for (const i of order) {
    const near = placed.filter((j) => xs[i] - xs[j] < 2 * radius);
    for (let level = 0; ; level++) {
      const step = Math.ceil(level / 2) * (level % 2 ? -1 : 1);
      const y = step * 2 * radius;
      if (Math.abs(y) > room) break; // no room is left: it covers another
      offsets[i] = y;
      if (near.every((j) => Math.hypot(xs[i] - xs[j], y - offsets[j]) >= 2 * radius - 0.01)) break;
    }
    placed.push(i);
  }
  return offsets;
}

/** The values of a cell's pairs: a dot each, with zero, their mean and its interval. */
export class PairsView {
  readonly end: () => void;
  readonly #root: Root;
  readonly #title = el("h2", "pw-title");
  readonly #list = el("div", "pw-dots");
  readonly #note = el("p", "pw-note");
  #dots: SVGElement[] = [];
  #order: number[] = [];
  #at = -1;

  constructor(
    props: RenderProps<PairsState>,
    readonly store: PositionStore<PairsState, "selected">,
  ) {
    const built = createRoot(props, "pw-pairs", () => this.draw());
    this.#root = built.root;
    this.end = built.end;
    const { node, signal } = this.#root;
    node.prepend(this.#title, this.#list, this.#note);
    this.#list.tabIndex = 0;
    this.#list.setAttribute("role", "listbox");
    const redraw = coalesce(() => !signal.aborted && this.draw());
    signal.addEventListener("abort", store.subscribe(redraw));
    this.#list.addEventListener("keydown", (event) => this.#key(event), { signal });
    this.#list.addEventListener("focus", () => this.#list.matches(":focus-visible") && this.#go(0), { signal });
    this.#list.addEventListener("blur", () => this.#leave(), { signal });
    this.#list.addEventListener("pointerleave", () => this.#leave(), { signal });
    this.draw();
  }

  get #state() {
    return this.store.model;
  }

  draw(): void {
    const { node } = this.#root;
    const state = this.#state;
    const [pairs, mean, low, high] = [state.get("pairs"), state.get("mean"), state.get("low"), state.get("high")];
    node.hidden = pairs.length === 0;
    if (node.hidden) {
      this.#dots = [];
      this.#list.replaceChildren();
      return;
    }
    this.#title.textContent = state.get("title");
    this.#note.textContent = state.get("note");
    const values = pairs.map(({ value }) => value);
    const width = Math.max(200, this.#root.width() || 640);
    const on = [0, ...values, ...[mean, low, high].filter((x) => x !== null)];
    const [from, to] = [Math.min(...on), Math.max(...on)];
    const x = (value: number) => SIDE + ((value - from) / (to - from || 1)) * (width - 2 * SIDE);
    const svg = shape("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "presentation" });
    if (low !== null && high !== null) {
      svg.append(
        shape("rect", {
          class: "pw-dots-interval",
          x: x(low),
          y: 4,
          width: Math.max(1, x(high) - x(low)),
          height: AXIS - 4,
        }),
      );
    }
    svg.append(shape("line", { class: "pw-dots-axis", x1: SIDE, x2: width - SIDE, y1: AXIS, y2: AXIS }));
    svg.append(shape("line", { class: "pw-dots-zero", x1: x(0), x2: x(0), y1: 2, y2: AXIS + 4 }));
    if (mean !== null) svg.append(shape("line", { class: "pw-dots-mean", x1: x(mean), x2: x(mean), y1: 2, y2: AXIS }));
    const limit = Math.max(...on.map(Math.abs));
    const ticks = [...new Set([from, 0, to])].filter((tick) => tick === 0 || Math.abs(x(tick) - x(0)) > 42);
    for (const tick of ticks) {
      const anchor = tick === from ? "start" : tick === to ? "end" : "middle";
      const text = shape("text", {
        class: "pw-dots-tick",
        x: x(tick) + (anchor === "start" ? -6 : anchor === "end" ? 6 : 0),
        y: AXIS + 16,
        "text-anchor": anchor,
      });
      text.textContent = decimal(tick, limit);
      svg.append(text);
    }
    const radius = pairs.length > 300 ? 2 : pairs.length > 100 ? 3 : 4;
    const xs = values.map(x);
    const ys = swarm(xs, radius + 0.5, MIDDLE - radius - 4);
    this.#order = values.map((_, i) => i).sort((a, b) => values[a] - values[b] || a - b);
    this.#dots = pairs.map((_, i) => this.#dot(i, xs[i], MIDDLE + ys[i], radius));
    svg.append(...this.#dots);
    this.#list.replaceChildren(svg);
    this.#list.setAttribute(
      "aria-label",
      `${state.get("title")}: ${counted(pairs.length, "pair")}. Arrow keys move, Enter opens a pair. ${state.get("note")}`,
    );
    this.#at = -1;
  }

  #dot(i: number, cx: number, cy: number, r: number): SVGElement {
    const chosen = this.store.position === i;
    const dot = shape("circle", { class: chosen ? "pw-dot pw-dot-on" : "pw-dot", cx, cy, r: chosen ? r + 1.5 : r });
    dot.id = `${this.#id}-${i}`;
    dot.setAttribute("role", "option");
    dot.setAttribute("aria-selected", String(chosen));
    dot.setAttribute("aria-label", this.#said(i));
    dot.addEventListener("pointerenter", () => this.#show(i));
    dot.addEventListener("click", () => this.store.choose(i));
    return dot;
  }

  readonly #id = `pw-pairs-${Math.random().toString(36).slice(2)}`;

  #name(i: number): string {
    return `pair ${i + 1} of ${this.#state.get("pairs").length}`;
  }

  /** The pair's other value, named; nothing where it has none. */
  #own(i: number): { name: string; value: string }[] {
    const { own } = this.#state.get("pairs")[i];
    return own === null || own === undefined ? [] : [{ name: this.#state.get("own") ?? "", value: decimal(own) }];
  }

  #said(i: number): string {
    const { value, clean, corrupted } = this.#state.get("pairs")[i];
    const numbers = [{ name: this.#state.get("unit"), value: decimal(value) }, ...this.#own(i)];
    const told = numbers.map((each) => `${each.name} ${each.value}`).join(", ");
    return `${this.#name(i)}, ${told}, clean: ${visible(clean)}, corrupted: ${visible(corrupted)}`;
  }

  #show(i: number): void {
    const { value, clean, corrupted } = this.#state.get("pairs")[i];
    const lines = [
      { name: this.#state.get("unit"), value: decimal(value), strong: true },
      ...this.#own(i),
      { name: visible(clean), value: "", className: "pw-clean pw-tip-text" },
      { name: visible(corrupted), value: "", className: "pw-corrupted pw-tip-text" },
    ];
    this.#root.tip.show(() => this.#dots[i].getBoundingClientRect(), this.#name(i), lines);
    this.#dots.forEach((dot, k) => dot.classList.toggle("pw-dot-hot", k === i));
  }

  #leave(): void {
    this.#root.tip.hide();
    for (const dot of this.#dots) dot.classList.remove("pw-dot-hot");
  }

  /** Goes so many pairs along the values, from the chosen one or the least. */
  #go(by: number): void {
    const last = this.#order.length - 1;
    const from = this.#at >= 0 ? this.#at : Math.max(0, this.#order.indexOf(this.store.position));
    this.#at = Math.max(0, Math.min(last, from + by));
    const i = this.#order[this.#at];
    this.#list.setAttribute("aria-activedescendant", this.#dots[i].id);
    this.#root.say(this.#said(i));
    this.#show(i);
  }

  #key(event: KeyboardEvent): void {
    if (event.altKey || event.ctrlKey || event.metaKey || !this.#dots.length) return;
    const moves: Readonly<Record<string, number>> = {
      ArrowRight: 1,
      ArrowUp: 1,
      ArrowLeft: -1,
      ArrowDown: -1,
      Home: -this.#dots.length,
      End: this.#dots.length,
    };
    if (event.key in moves) this.#go(moves[event.key]);
    else if ((event.key === "Enter" || event.key === " ") && this.#at >= 0) this.store.choose(this.#order[this.#at]);
    else return;
    handled(event);
  }
}

function shape(name: string, attributes: Readonly<Record<string, string | number>>): SVGElement {
  const node = document.createElementNS(SVG, name) as SVGElement;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  return node;
}
