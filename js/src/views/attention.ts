import { hover, matches, onHover } from "../bus";
import { float32 } from "../codec";
import { coalesce, el, fit, place } from "../dom";
import { type GridPlan, locate, MONO, planGrid } from "../geometry";
import { Header } from "../header";
import { handled } from "../keys";
import type { AttentionState, Keys, RenderProps } from "../model";
import { printed, printing } from "../paint";
import { createRoot, type Root } from "../root";
import type { AttentionStore } from "../store";
import { table } from "../table";
import { type Choice, ChoiceBar, choicesOf, chosenOf } from "./attention-choice";
import { AttentionMap } from "./attention-map";

const ROW_H = 22;
const MAP_GAP = 12;
const LABEL_MAX = 72; // longer labels wrap into two lines
const WORTH_PRINTING = 0.05;
const SMALL_PRINT = { font: `8.5px ${MONO}`, room: 3 }; // for columns of 16 to 19 pixels
const NARROWEST_PRINTED = 16;

/** One head's attention in the runs, or how they differ: a row per run for the chosen destination, small maps below. */
export class AttentionView {
  readonly #root: Root;
  readonly end: () => void;
  readonly #top = el("div", "pw-top");
  readonly #choices = new ChoiceBar((index) => this.store.show(index));
  readonly #scroll = el("div", "pw-scroll");
  readonly #corner = el("div", "pw-corner");
  readonly #header = new Header();
  readonly #labels = el("div", "pw-rowlabels");
  readonly #plot = el("div", "pw-plot");
  readonly #canvas = el("canvas", "pw-canvas");
  readonly #band = el("div", "pw-band");
  readonly #maps = el("div", "pw-maps");
  readonly #note = el("p", "pw-note");
  readonly #table = el("div", "pw-tablebox");
  #plan!: GridPlan;
  #choice!: Choice;
  #small: AttentionMap[] = [];

  constructor(
    props: RenderProps<AttentionState>,
    readonly store: AttentionStore,
  ) {
    const built = createRoot(props, "pw-attention", () => this.layout());
    this.#root = built.root;
    this.end = built.end;
    const { node, signal } = this.#root;
    const sheet = el("div", "pw-sheet");
    this.#band.hidden = true;
    this.#plot.append(this.#canvas, this.#band);
    sheet.append(this.#corner, this.#header.node, this.#labels, this.#plot);
    this.#scroll.append(sheet);
    this.#scroll.tabIndex = 0;
    this.#scroll.setAttribute("role", "group");
    this.#table.hidden = true;
    this.#table.tabIndex = 0;
    node.prepend(this.#top, this.#choices.node, this.#scroll, this.#table, this.#maps, this.#note);
    const relayout = coalesce(() => !signal.aborted && this.layout());
    signal.addEventListener(
      "abort",
      store.subscribe((change) => (change === "selection" ? this.#showDest() : relayout())),
    );
    this.#listen(signal);
    this.layout();
  }

  get #state() {
    return this.store.model;
  }

  get #length(): number {
    return this.#state.get("columns").clean.length;
  }

  /** The chosen destination; the last position until one is chosen. */
  get #dest(): number {
    const { position } = this.store;
    return position >= 0 && position < this.#length ? position : this.#length - 1;
  }

  layout(): void {
    const state = this.#state;
    const { node } = this.#root;
    const { chosen } = this.store;
    this.#choice = chosenOf(state, chosen, float32(state.get("patterns")), this.#root.theme());
    const { runs } = this.#choice;
    node.hidden = runs.length === 0 || this.#length === 0;
    this.#choices.draw(choicesOf(state), chosen);
    const available = this.#root.width() || 320;
    const rows = runs.map((run) => run.label);
    this.#plan = planGrid({
      columns: state.get("columns"),
      rows,
      rowTitle: "",
      available,
      compact: true,
      cellH: ROW_H,
      labelMax: LABEL_MAX,
    });
    node.classList.toggle("pw-scrolls", this.#plan.scrolls);
    this.#header.draw(this.#plan);
    this.#corner.style.width = this.#labels.style.width = `${this.#plan.labelW}px`;
    this.#labels.replaceChildren(
      ...runs.map((run, r) => {
        const label = el("div", `pw-rowlabel pw-${run.name}`, run.label);
        label.style.top = `${r * ROW_H}px`;
        label.style.height = `${ROW_H}px`;
        return label;
      }),
    );
    this.#drawMaps(available);
    const legend = this.#choice.legend(this.#print ? String(WORTH_PRINTING) : "");
    const gaps = this.#plan.cells.some((cell) => cell.gap) ? " A dashed box: the run has no token there." : "";
    const told = this.#choice.told.note ? `\n${this.#choice.told.note}` : "";
    this.#note.textContent = `${legend} Click a row of a map to see that token\u2019s row.${gaps}${told}`;
    this.#showDest();
  }

  /** How weights are printed, all that are worth it or none. */
  get #print(): { font: string; room: number } | null {
    const cellW = this.#plan.edges[1];
    return printing(cellW, ROW_H) ?? (cellW >= NARROWEST_PRINTED ? SMALL_PRINT : null);
  }

  #drawMaps(available: number): void {
    const { runs, values } = this.#choice;
    const n = this.#length;
    const room = Math.floor((available + MAP_GAP) / Math.max(1, runs.length)) - MAP_GAP - 2;
    const size = Math.max(40, Math.min(168, room));
    this.#small = runs.map((run, r) => {
      const map = new AttentionMap(run, n, size);
      const fill = (value: number) => this.#choice.colour(run, value).fill;
      map.draw(values.subarray(r * n * n, (r + 1) * n * n), this.#root.theme(), fill);
      return map;
    });
    this.#maps.replaceChildren(...this.#small.map((map) => map.node));
  }

  #weight(run: number, src: number, dest = this.#dest): number {
    const n = this.#length;
    return this.#choice.values[(run * n + dest) * n + src] ?? NaN;
  }

  #token(position: number): string {
    const { number, full } = this.#plan.cells[position];
    return `${number} ${full}`;
  }

  /** Draws the rows of the chosen destination. */
  #showDest(): void {
    const dest = this.#dest;
    // Traits of one message change one after another: a destination may come before the columns are laid out.
    if (dest < 0 || this.#plan.cells.length !== this.#length) return;
    const title = el("h2", "pw-title", this.#state.get("title"));
    const { number, full } = this.#plan.cells[dest];
    const from = el("span", "pw-dest", `from position ${number} `);
    from.append(el("b", "", full));
    this.#top.replaceChildren(title, ...this.#choice.bar(), from);
    this.#header.mark("pw-on", new Set([dest]));
    for (const map of this.#small) map.choose(dest);
    const help = "Up and down choose the position it comes from, T shows a table.";
    this.#scroll.setAttribute("aria-label", `${this.#state.get("title")}, ${this.#summary()} ${help}`);
    this.#drawRows(dest);
    if (!this.#table.hidden) this.#fillTable();
  }

  #drawRows(dest: number): void {
    const ready = fit(this.#canvas, this.#plan.width, this.#plan.gridH);
    if (!ready) return;
    const { g } = ready;
    const cellW = this.#plan.edges[1];
    g.textAlign = "center";
    g.textBaseline = "middle";
    const print = this.#print;
    if (print) g.font = print.font;
    this.#choice.runs.forEach((run, r) => {
      for (let src = 0; src < this.#length; src++) {
        const weight = this.#weight(r, src);
        // The future is not attended to, nor is a token that is not there: no cell rather than a zero.
        if (Number.isNaN(weight) || (src > dest && !weight)) continue;
        const { fill, ink } = this.#choice.colour(run, weight);
        g.fillStyle = fill;
        g.beginPath();
        g.roundRect(this.#plan.edges[src], r * ROW_H, cellW - 1, ROW_H - 1, 2);
        g.fill();
        if (!print || !(Math.abs(weight) >= WORTH_PRINTING)) continue;
        g.fillStyle = ink;
        g.fillText(printed(weight, 1, print.room), this.#plan.edges[src] + (cellW - 1) / 2, (r + 0.5) * ROW_H);
      }
    });
  }

  /** The strongest source of each run, in words. */
  #summary(): string {
    const strongest = (run: number) => {
      const size = (src: number) => Math.abs(this.#weight(run, src));
      let best = 0;
      for (let src = 1; src < this.#length; src++) if (!(size(best) >= size(src))) best = src;
      const weight = this.#weight(run, best);
      const most = this.#choice.differs ? "differs most at" : "most to";
      return Number.isNaN(weight)
        ? "no token here"
        : `${most} position ${this.#token(best)} ${this.#choice.say(weight)}`;
    };
    const runs = this.#choice.runs.map((run, r) => `${run.label}: ${strongest(r)}`);
    return `from position ${this.#token(this.#dest)}. ${runs.join("; ")}.`;
  }

  #mark(keys: Keys | null): void {
    const src = this.#plan.cells.findIndex((_, i) => matches({ pos: i }, keys));
    this.#header.mark("pw-hot", new Set([src]));
    this.#band.hidden = src < 0;
    const { edges, gridH } = this.#plan;
    if (src >= 0) place(this.#band, edges[src], 0, edges[src + 1] - edges[src] - 1, gridH - 1);
    for (const map of this.#small) map.mark(src);
  }

  #hover(rect: (() => DOMRect) | null, dest = -1, src = -1, around: Element = this.#scroll): void {
    const keys = src < 0 ? null : { pos: src };
    this.#mark(keys);
    hover(this.#state.get("group"), keys);
    if (!rect || src < 0) return this.#root.tip.hide();
    const lines = this.#choice.runs.map(({ name, label }, r) => {
      return { name: label, value: this.#choice.say(this.#weight(r, src, dest)), className: `pw-${name}` };
    });
    const heading = `from ${this.#token(dest)} to ${this.#token(src)}`;
    this.#root.tip.show(rect, heading, lines, () => around.getBoundingClientRect());
  }

  #columnRect(src: number): DOMRect {
    const { left, top } = this.#plot.getBoundingClientRect();
    const { edges, gridH } = this.#plan;
    return new DOMRect(left + edges[src], top, edges[src + 1] - edges[src], gridH);
  }

  #listen(signal: AbortSignal): void {
    this.#plot.addEventListener(
      "pointermove",
      (event) => {
        const src = locate(this.#plan.edges, event.clientX - this.#plot.getBoundingClientRect().left);
        this.#hover(src < 0 ? null : () => this.#columnRect(src), this.#dest, src);
      },
      { signal },
    );
    this.#maps.addEventListener(
      "pointermove",
      (event) => {
        const map = this.#small.find((m) => m.canvas === event.target);
        const cell = map?.at(event.clientX, event.clientY);
        if (!map || !cell) return this.#hover(null);
        this.#hover(() => map.rect(...cell), ...cell, this.#maps);
      },
      { signal },
    );
    this.#maps.addEventListener(
      "click",
      (event) => {
        const cell = this.#small.find((m) => m.canvas === event.target)?.at(event.clientX, event.clientY);
        if (cell) this.store.choose(cell[0]);
      },
      { signal },
    );
    for (const part of [this.#plot, this.#maps])
      part.addEventListener("pointerleave", () => this.#hover(null), { signal });
    this.#scroll.addEventListener("keydown", (event) => this.#key(event), { signal });
    this.#table.addEventListener(
      "keydown",
      (event) => {
        if (event.key !== "Escape" && event.key.toLowerCase() !== "t") return;
        handled(event);
        this.#toggleTable();
      },
      { signal },
    );
    onHover(
      () => this.#state.get("group"),
      (keys) => this.#mark(keys),
      signal,
    );
  }

  #key(event: KeyboardEvent): void {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const [dest, last] = [this.#dest, this.#length - 1];
    const targets: Record<string, number> = { ArrowUp: dest - 1, ArrowDown: dest + 1, Home: 0, End: last };
    const to = targets[event.key];
    if (event.key.toLowerCase() === "t") this.#toggleTable();
    else if (to === undefined) return;
    else if (to >= 0 && to <= last && to !== dest) {
      this.store.choose(to);
      this.#root.say(this.#summary());
    }
    handled(event);
  }

  #toggleTable(): void {
    const show = this.#table.hidden;
    this.#table.hidden = !show;
    this.#scroll.hidden = show;
    if (show) this.#fillTable();
    (show ? this.#table : this.#scroll).focus();
  }

  #fillTable(): void {
    const { runs } = this.#choice;
    const names = this.#plan.cells.map((c) => `${c.number} ${c.gap === "clean" ? c.corrupted : c.clean}`);
    const caption = `${this.#state.get("title")}, from position ${this.#plan.cells[this.#dest].number}`;
    const cell = (src: number, run: number) => this.#choice.say(this.#weight(run, src));
    this.#table.setAttribute("aria-label", `${caption}, as a table. Escape returns to the map.`);
    this.#table.replaceChildren(
      table({ caption, corner: "to", rows: names, cols: runs.map((run) => run.label), cell }),
    );
  }
}
