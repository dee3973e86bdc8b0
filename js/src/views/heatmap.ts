import { hover, matches, onHover } from "../bus";
import { awaited } from "../cells";
import { Clipboard } from "../clipboard";
import { Scale } from "../colour";
import { copied, type Part } from "../copying";
import { Description } from "../describe";
import { coalesce, el } from "../dom";
import { type GridPlan, MEANS_W, planGrid } from "../geometry";
import { handled } from "../keys";
import { foot, smallBar } from "../legend";
import type { HeatmapState, Keys, RenderProps } from "../model";
import { beyond, paint } from "../paint";
import { createRoot, type Root } from "../root";
import { Sheet } from "../sheet";
import { covers, type Span, spanInView, spanToDraw } from "../span";
import type { HeatmapStore } from "../store";
import { table } from "../table";
import { Side } from "./side";
import { Tools } from "./tools";

const MOVES: Readonly<Record<string, readonly [number, number]>> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  PageUp: [-10, 0],
  PageDown: [10, 0],
};
const ZOOM_STEP = 1.5;

/** The heatmap: header, cells, legend, key and table of one model's values. */
export class HeatmapView {
  readonly end: () => void;
  readonly #root: Root;
  readonly #sheet = new Sheet();
  readonly #says: Description;
  readonly #top = el("div", "pw-top");
  readonly #side: Side;
  readonly #body = el("div", "pw-body");
  readonly #foot = el("div", "pw-foot");
  readonly #table = el("div", "pw-tablebox");
  readonly #clipboard = new Clipboard();
  readonly #tools = new Tools({
    table: () => this.#toggleTable(),
    copy: (part) => void this.#copy(part),
    zoom: (step) => this.#zoomBy(step),
  });
  readonly #note = el("p", "pw-note");
  #plan!: GridPlan;
  #scale!: Scale;
  #cursor: [number, number] = [0, 0];
  #last: readonly number[] = []; // the cell last chosen or gathered
  #told: [number, number] | null = null; // the cell of the tooltip
  #footShows = "";
  #zoom = 0;
  #means = false;
  #drawn!: Span;

  constructor(
    props: RenderProps<HeatmapState>,
    readonly store: HeatmapStore,
  ) {
    const built = createRoot(props, "pw-heatmap", () => this.layout());
    this.#root = built.root;
    this.end = built.end;
    this.#says = new Description(store);
    const { node, signal } = this.#root;
    this.#side = new Side((limit) => this.store.fixLimit(limit), this.#root.say);
    this.#body.append(this.#sheet.node, this.#side.node);
    this.#table.hidden = true;
    this.#table.tabIndex = 0;
    this.#table.setAttribute("role", "region");
    const [tools, box] = [this.#tools.node, this.#clipboard.box];
    node.prepend(this.#top, this.#body, this.#table, this.#note, tools, box, this.#foot);
    this.#listen(signal);
    let whole = false; // or the cells alone
    const redraw = coalesce(() => {
      if (signal.aborted) return;
      if (whole) this.layout();
      else this.repaint();
      whole = false;
    });
    const unsubscribe = store.subscribe((change) => {
      if (change === "selection") return this.#select();
      whole ||= change === "traits";
      redraw();
    });
    signal.addEventListener("abort", unsubscribe);
    this.layout();
  }

  get #state() {
    return this.store.model;
  }

  /** What choosing a cell does: on a saved page, and where the words say so, it is marked and nothing more. */
  get #verb(): string {
    return this.#state.withoutKernel ? "select" : (this.#state.get("words")["verb"] ?? "open");
  }

  /** Everything that depends on the traits, the width or the theme. */
  layout(): void {
    const state = this.#state;
    const [rows, compact, words] = [state.get("rows"), state.get("compact"), state.get("words")];
    const { node } = this.#root;
    node.hidden = this.store.cells.status.length === 0;
    const room = (this.#root.width() || 640) - (compact ? 0 : this.#side.room(words["unit"] ?? ""));
    const [columns, rowTitle, zoom] = [state.get("columns"), state.get("row_title"), ZOOM_STEP ** this.#zoom];
    const plan = (available: number) => planGrid({ columns, rows, rowTitle, available, compact, zoom });
    this.#plan = plan(room);
    this.#means = !compact && this.#says.means;
    if (this.#means) {
      const narrower = plan(room - MEANS_W);
      this.#means = this.#plan.scrolls || !narrower.scrolls; // cells come first: for bars alone no map scrolls
      if (this.#means) this.#plan = narrower;
    }
    this.#scale = new Scale(this.#root.theme(), this.store.limit);
    node.classList.toggle("pw-compact", compact);
    node.classList.toggle("pw-scrolls", this.#plan.scrolls);
    const title = words["title"] ? [el("h2", "pw-title", words["title"])] : [];
    this.#top.replaceChildren(...title, ...(compact ? [smallBar(this.#scale)] : []));
    this.#top.hidden = this.#top.childElementCount === 0;
    this.#sheet.draw(this.#plan, rows, rowTitle, state.get("line"), this.#means);
    this.#describeGrid(rows.length, this.#plan.cells.length);
    this.#tools.node.hidden = compact;
    this.#tools.name(this.#verb, this.store.gathers);
    this.#note.textContent = words["note"] ?? "";
    this.#note.hidden = !words["note"];
    this.#select();
    this.#footShows = "";
    this.repaint();
  }

  #describeGrid(rows: number, cols: number): void {
    const grid = this.#sheet.node;
    const attributes = {
      role: "grid",
      tabindex: "0",
      "aria-label": `${this.#says.title}: ${rows} rows by ${cols} columns. Arrow keys move, Enter ${this.#verb}s,${this.store.gathers ? " Space gathers, Shift+Space all from the last one," : ""} T shows a table.`,
      "aria-rowcount": String(rows),
      "aria-colcount": String(cols),
      "aria-busy": String(this.#state.get("state") === "running"),
    };
    for (const [name, value] of Object.entries(attributes)) grid.setAttribute(name, value);
    this.#cursor = [within(this.#cursor[0], rows), within(this.#cursor[1], cols)];
  }

  /** The active cell as it is now: what is at the cursor, and whether it is the chosen one. */
  #tellCursor(): void {
    const [row, col] = this.#cursor;
    const { rows, cols } = this.store.cells;
    if (row >= rows || col >= cols || !this.#says.has(row, col)) return;
    const chosen = String(this.store.selected) === String(this.#cursor);
    this.#sheet.putCursor(row, col, this.#says.spoken(row, col), chosen);
  }

  /** The cells, and what follows from their values. */
  repaint(): void {
    const { cells } = this.store;
    const state = this.#state;
    const values = cells[state.get("quantity")];
    this.#paint();
    const present = cells.present();
    if (this.#means) this.#sheet.means.draw(this.#plan, cells, this.#scale.limit);
    const over = values.some((value) => beyond(value, this.#scale.limit));
    const marked = cells.marked();
    const gathered = this.store.gathered.size > 0;
    const shows = [...present].sort().join() + String(over) + marked.join() + String(gathered);
    if (shows !== this.#footShows) this.#drawFoot(present, over, marked);
    this.#footShows = shows;
    this.#tellCursor();
    this.#tell();
    if (!this.#table.hidden) this.#fillTable();
  }

  /** The cells in view, and some around them; all where they are few. */
  #paint(): void {
    const { cells } = this.store;
    const state = this.#state;
    const [values, compact] = [cells[state.get("quantity")], state.get("compact")];
    const toCome = awaited(state.get("state"));
    const [plan, scale, theme] = [this.#plan, this.#scale, this.#root.theme()];
    const { gathered } = this.store;
    const text = this.#says.fraction;
    const span = (this.#drawn = spanToDraw(plan, this.#sheet.view));
    paint(this.#sheet.canvas, { cells, values, plan, span, scale, theme, awaited: toCome, compact, gathered, text });
  }

  /** Paints what scrolling has brought into view, if it is not drawn yet. */
  #scrolled(): void {
    if (!covers(this.#drawn, spanInView(this.#plan, this.#sheet.view))) this.#paint();
  }

  /** Zooms around the keyboard's cell, or around the middle of what is in view. */
  #zoomBy(step: -1 | 0 | 1): void {
    if (this.#state.get("compact")) return;
    const { width, gridH } = this.#plan;
    const at = this.#sheet.node.matches(":focus") ? this.#sheet.middleOf(...this.#cursor) : this.#sheet.middle;
    const before = this.#zoom;
    this.#zoom = step === 0 ? 0 : before + step;
    this.layout();
    if (step && width === this.#plan.width && gridH === this.#plan.gridH) this.#zoom = before; // no cell goes further
    this.#sheet.centre(at);
    this.#scrolled();
    this.#root.say(`cells of ${this.#plan.edges[1]} by ${this.#plan.cellH} pixels`);
  }

  #drawFoot(present: ReadonlySet<number>, over: boolean, marked: readonly number[]): void {
    const [side, words, state] = [this.#side.node, this.#state.get("words"), this.#state.get("state")];
    const [means, gathered] = [this.#means, this.store.gathered.size > 0];
    const varies = this.#plan.cells.some((cell) => cell.varies);
    this.#foot.replaceChildren(...foot({ scale: this.#scale, words, state, present, marked, means, gathered, varies }));
    side.hidden = this.#state.get("compact");
    this.#foot.hidden = side.hidden || this.#foot.textContent === "";
    if (side.hidden) return;
    const height = Math.max(60, Math.min(this.#plan.gridH, 176));
    this.#side.draw(
      this.#scale,
      words["unit"] ?? "",
      height,
      over,
      this.store.limitIsTyped,
      Boolean(words["from_zero"]),
    );
    side.style.paddingTop = `${Math.max(0, this.#plan.height - 22)}px`;
  }

  #select(): void {
    const [row, col] = this.store.selected;
    const { rows, cols } = this.store.cells;
    const inside = row !== undefined && row >= 0 && row < rows && col >= 0 && col < cols;
    this.#sheet.select(inside ? [row, col] : null);
    this.#tellCursor();
  }

  /** Marks the rows and columns that belong to what is hovered, here or in a linked view. */
  #mark(keys: Keys | null): void {
    const found = (own: readonly Keys[], count: number) =>
      new Set(own.slice(0, count).flatMap((k, i) => (matches(k, keys) ? [i] : [])));
    const { rows, cols } = this.store.cells;
    this.#sheet.hot(found(this.#state.get("row_keys"), rows), found(this.#state.get("col_keys"), cols));
  }

  #enter(row: number, col: number): void {
    const { rows, cols } = this.store.cells;
    if (row >= rows || col >= cols || !this.#says.has(row, col)) return; // a new grid is not laid out yet
    const keys = { ...this.#state.get("row_keys")[row], ...this.#state.get("col_keys")[col] };
    this.#told = [row, col];
    this.#tell();
    this.#mark(keys);
    hover(this.#state.get("group"), keys);
  }

  /** Tells in the tooltip of the cell that was entered, as it is now. */
  #tell(): void {
    if (!this.#told) return;
    const [row, col] = this.#told;
    const { rows, cols } = this.store.cells;
    if (row >= rows || col >= cols || !this.#says.has(row, col)) return this.#leave();
    const cell = () => this.#sheet.rect(row, col);
    const around = this.#state.get("compact") ? () => this.#sheet.node.getBoundingClientRect() : cell;
    this.#root.tip.show(cell, this.#says.heading(row, col), this.#says.lines(row, col), around);
  }

  #leave(): void {
    this.#told = null;
    this.#root.tip.hide();
    this.#mark(null);
    hover(this.#state.get("group"), null);
  }

  #moveTo(row: number, col: number): void {
    this.#cursor = [row, col];
    this.#sheet.focused(true);
    this.#tellCursor();
    this.#sheet.reveal(row, col);
    this.#scrolled();
    this.#enter(row, col);
  }

  #choose(row: number, col: number): void {
    this.#cursor = [row, col];
    this.#last = [row, col];
    this.store.select(row, col);
    this.#root.say(`${this.#verb}ed ${this.#says.spoken(row, col)}`);
  }

  /** Gathers a cell or lets it go; or all from the cell last chosen or gathered, while it still is, to this one. */
  #gather(row: number, col: number, range: boolean): void {
    const { cells, gathered, selected } = this.store;
    const held = ([r, c]: readonly number[]) =>
      r! < cells.rows && c! < cells.cols && (gathered.has(r! * cells.cols + c!) || String(selected) === `${r},${c}`);
    const [fromRow, fromCol] = [this.#last, selected].find(held) ?? [row, col];
    this.store.gather(row, col, range ? [fromRow!, fromCol!] : undefined);
    this.#cursor = [row, col];
    this.#last = [row, col];
    this.#tellCursor();
    const { size } = this.store.gathered;
    this.#root.say(`${this.#says.spoken(row, col)}; ${size} ${size === 1 ? "cell" : "cells"} gathered`);
  }

  #listen(signal: AbortSignal): void {
    const { plot, node: grid } = this.#sheet;
    let last = "";
    const hovered = (event: PointerEvent) => {
      const cell = event.type === "pointerleave" ? null : this.#sheet.at(event.clientX, event.clientY);
      if (String(cell) === last) return;
      last = String(cell);
      if (cell) this.#enter(...cell);
      else this.#leave();
    };
    plot.addEventListener("pointermove", hovered, { signal });
    plot.addEventListener("pointerleave", hovered, { signal });
    const click = (event: MouseEvent) => {
      const cell = this.#sheet.at(event.clientX, event.clientY);
      if (!cell) return;
      const more = this.store.gathers && (event.ctrlKey || event.metaKey || event.shiftKey);
      if (more) this.#gather(...cell, event.shiftKey);
      else this.#choose(...cell);
    };
    plot.addEventListener("click", click, { signal });
    const focus = () => {
      if (grid.matches(":focus-visible") && this.store.cells.status.length) this.#moveTo(...this.#cursor);
    };
    const blur = () => {
      this.#sheet.focused(false);
      this.#leave();
    };
    const scrolled = coalesce(() => !signal.aborted && this.#scrolled());
    grid.addEventListener("scroll", scrolled, { signal, passive: true });
    grid.addEventListener("focus", focus, { signal });
    grid.addEventListener("blur", blur, { signal });
    grid.addEventListener("keydown", (event) => this.#gridKey(event), { signal });
    this.#table.addEventListener("keydown", (event) => this.#tableKey(event), { signal });
    onHover(
      () => this.#state.get("group"),
      (keys) => this.#mark(keys),
      signal,
    );
  }

  #gridKey(event: KeyboardEvent): void {
    const { rows, cols } = this.store.cells;
    if (rows * cols === 0 || event.altKey || event.metaKey) return;
    const [row, col] = this.#cursor;
    const far = event.ctrlKey;
    const move = far ? undefined : MOVES[event.key];
    const plain = !far && !event.shiftKey;
    if (move) this.#moveTo(within(row + move[0], rows), within(col + move[1], cols));
    else if (event.key === "Home") this.#moveTo(far ? 0 : row, 0);
    else if (event.key === "End") this.#moveTo(far ? rows - 1 : row, cols - 1);
    else if (!far && event.key === " " && this.store.gathers) this.#gather(row, col, event.shiftKey);
    else if (plain && (event.key === "Enter" || event.key === " ")) this.#choose(row, col);
    else if (far || !this.#tools.key(event.key)) return;
    handled(event);
  }

  #tableKey(event: KeyboardEvent): void {
    if (event.key !== "Escape" && event.key.toLowerCase() !== "t") return;
    this.#toggleTable();
    handled(event);
  }

  /** Copies the cell at the cursor, its row, its column, or all. */
  async #copy(part: Part): Promise<void> {
    const [row, col] = this.#cursor;
    const values = this.store.cells[this.#state.get("quantity")];
    const text = copied(part, row, col, this.#says.table(), values);
    const done = await this.#clipboard.write(text);
    const told = part === "cell" ? `${text || "nothing"} copied` : `${part} copied`;
    this.#tools.tell(done ? told : "");
    if (done) this.#root.say(told);
  }

  #toggleTable(): void {
    const show = this.#table.hidden;
    this.#table.hidden = !show;
    this.#body.hidden = show;
    this.#tools.showsTable(show);
    this.#leave();
    if (show) this.#fillTable();
    (show ? this.#table : this.#sheet.node).focus();
  }

  #fillTable(): void {
    this.#table.setAttribute("aria-label", `${this.#says.title}, as a table. Escape returns to the map.`);
    this.#table.replaceChildren(table(this.#says.table()));
  }
}

const within = (index: number, count: number): number => Math.max(0, Math.min(index, count - 1));
