import { surface } from "../colour";
import { el, fit, place } from "../dom";
import { locate } from "../geometry";
import type { AttentionRun } from "../model";
import type { Theme } from "../theme";

/** The whole pattern of one run as a small square: a row per destination, a column per source. */
export class AttentionMap {
  readonly node = el("figure", "pw-map");
  readonly canvas = el("canvas");
  readonly #edges: number[];
  readonly #row = el("div", "pw-map-row");
  readonly #col = el("div", "pw-band");

  constructor(
    readonly run: AttentionRun,
    n: number,
    readonly size: number,
  ) {
    this.#edges = Array.from({ length: n + 1 }, (_, i) => Math.round((i * size) / n));
    this.node.style.width = `${size}px`; // a long label wraps: maps stay as wide as each other
    const box = el("div", "pw-map-box");
    this.#row.hidden = this.#col.hidden = true;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `Attention pattern, ${run.label}`);
    box.append(this.canvas, this.#row, this.#col);
    this.node.append(box, el("figcaption", `pw-${run.name}`, run.label));
  }

  draw(pattern: Float32Array, theme: Theme, fill: (value: number) => string): void {
    const ready = fit(this.canvas, this.size, this.size);
    if (!ready) return;
    const { g } = ready;
    const n = this.#edges.length - 1;
    const gap = this.size / n >= 5 ? 1 : 0;
    g.fillStyle = surface(theme).line;
    for (let dest = 0; dest < n; dest++) {
      for (let src = 0; src < n; src++) {
        const weight = pattern[dest * n + src];
        if (Number.isNaN(weight) || (src > dest && !weight)) continue;
        g.fillStyle = fill(weight);
        const [x, y] = [this.#edges[src], this.#edges[dest]];
        g.fillRect(x, y, this.#edges[src + 1] - x - gap, this.#edges[dest + 1] - y - gap);
      }
    }
  }

  choose(dest: number): void {
    place(this.#row, -1, this.#edges[dest] - 1.5, this.size + 1, this.#edges[dest + 1] - this.#edges[dest] + 2);
  }

  mark(src: number): void {
    this.#col.hidden = src < 0;
    if (src >= 0) place(this.#col, this.#edges[src], 0, this.#edges[src + 1] - this.#edges[src], this.size);
  }

  /** The (destination, source) under a point of the page. */
  at(clientX: number, clientY: number): [number, number] | null {
    const { left, top } = this.canvas.getBoundingClientRect();
    const [src, dest] = [locate(this.#edges, clientX - left), locate(this.#edges, clientY - top)];
    return src < 0 || dest < 0 ? null : [dest, src];
  }

  rect(dest: number, src: number): DOMRect {
    const { left, top } = this.canvas.getBoundingClientRect();
    const [x, y] = [this.#edges[src], this.#edges[dest]];
    return new DOMRect(left + x, top + y, this.#edges[src + 1] - x, this.#edges[dest + 1] - y);
  }
}
