import { awaited, STATUS, STATUS_WORDS, whyUnmeasured } from "./cells";
import { headerCells } from "./geometry";
import type { HeatmapStore } from "./store";
import type { TableSpec } from "./table";
import { decimal, signed } from "./text";
import type { TipLine } from "./tip";

const SHORT_STATUS = ["", "implied", "estimated", "pending", "unavailable"];

/** A heatmap's cells in words: for the tooltip, for screen readers and for the table. */
export class Description {
  constructor(readonly store: HeatmapStore) {}

  get #state() {
    return this.store.model;
  }

  get #values(): Float32Array {
    return this.store.cells[this.#state.get("quantity")];
  }

  #word(name: string): string {
    return this.#state.get("words")[name] ?? "";
  }

  #index(row: number, col: number): number {
    return row * this.store.cells.cols + col;
  }

  #row(row: number): string {
    return `${this.#state.get("row_title")} ${this.#state.get("rows")[row]}`;
  }

  /** Whether the cell is one of the grid that the traits describe; the values may still be those of another. */
  has(row: number, col: number): boolean {
    const columns = this.#state.get("columns");
    const cols = columns.kind === "labels" ? columns.labels : columns.clean;
    return row < this.#state.get("rows").length && col < cols.length;
  }

  #column(col: number): string {
    const columns = this.#state.get("columns");
    const { full, bos, number } = headerCells(columns)[col];
    if (columns.kind === "labels") return `${columns.title} ${full}`;
    return `position ${number} ${full}${bos ? ", beginning of sequence" : ""}`;
  }

  #status(status: number): string {
    const state = this.#state.get("state");
    if (status !== STATUS.pending || awaited(state)) return STATUS_WORDS[status];
    return ["not measured", whyUnmeasured(state)].filter(Boolean).join(": ");
  }

  /** What the cell's marks say, each a clause of its own. */
  #marked(row: number, col: number): string[] {
    const { cells } = this.store;
    const marks = cells.marksOf(this.#index(row, col)).map((mark) => this.#word(`mark_${mark}`));
    const stage = cells.stages[this.#index(row, col)];
    const gathered = this.store.gathered.has(this.#index(row, col)) ? "gathered" : "";
    return [...marks, stage ? `candidate stage ${stage}` : "", gathered].filter(Boolean);
  }

  /** The ends of the cell's interval, "" where it has none. */
  #interval(row: number, col: number): string {
    const [{ low, high }, i] = [this.store.cells, this.#index(row, col)];
    const limit = this.#state.get("limit");
    return Number.isNaN(low[i]) ? "" : `${decimal(low[i], limit)} to ${decimal(high[i], limit)}`;
  }

  /** How many of how many a share is, "" where it counts nothing. */
  #counts(i: number): string {
    const { effect, patched } = this.store.cells;
    return this.#word("counted") && patched[i] > 0 ? `${effect[i]} of ${patched[i]}` : "";
  }

  /** The same as a cell prints it; null where nothing is counted. */
  get fraction(): ((i: number) => string) | null {
    return this.#word("counted") ? (i) => this.#counts(i).replace(" of ", "/") : null;
  }

  /** The same with what is counted. */
  #counted(i: number): string {
    const counts = this.#counts(i);
    return counts && `${counts} ${this.#word("counted")}`;
  }

  heading(row: number, col: number): string {
    return `${this.#row(row)} \u00b7 ${this.#column(col)}`;
  }

  /** Place, value and status in one sentence, as it is announced. */
  spoken(row: number, col: number): string {
    const status = this.store.cells.status[this.#index(row, col)];
    const value = this.#values[this.#index(row, col)];
    const where = `${this.#row(row)}, ${this.#column(col)}`;
    if (!Number.isNaN(value)) {
      const number = `${this.#word("unit")} ${decimal(value, this.store.limit)}`.trim();
      const interval = this.#interval(row, col);
      const sure = interval && `${this.#word("interval")} ${interval}`;
      const counted = this.#counted(this.#index(row, col));
      return [where, number, counted, sure, this.#status(status), ...this.#marked(row, col)].filter(Boolean).join(", ");
    }
    return `${where}, ${status === STATUS.measured ? "no value" : this.#status(status)}`;
  }

  /** The cell's numbers, the displayed one strong, and its status. Raw effects have two decimals at least. */
  lines(row: number, col: number): TipLine[] {
    const { cells } = this.store;
    const i = this.#index(row, col);
    // A map of plain values says what they are; there is nothing else to tell of them.
    const plain = this.#word("value");
    const fine = Math.min(1, this.#state.get("limit"));
    if (plain && !Number.isNaN(cells.effect[i]))
      return [{ name: plain, value: signed(cells.effect[i], fine), strong: true }];
    const normalized = this.#state.get("quantity") === "normalized";
    const name = (normalized && this.#word("unit")) || "normalized";
    const others: TipLine[] = [
      { name: "effect", value: signed(cells.effect[i], normalized ? 1 : fine), strong: !normalized },
      { name: "patched", value: decimal(cells.patched[i]) },
    ];
    const numbers: TipLine[] = [
      { name, value: decimal(cells.normalized[i]), strong: normalized },
      ...(this.#word("alone") ? [] : others),
    ];
    const empty = cells.status[i] === STATUS.pending || cells.status[i] === STATUS.unavailable;
    const status = { name: this.#status(cells.status[i]), value: "", className: "pw-tip-status" };
    const interval = this.#interval(row, col);
    const notes = [this.#counted(i), ...(interval ? [this.#word("interval_from")] : []), ...this.#marked(row, col)];
    if (interval) numbers.splice(normalized ? 1 : 2, 0, { name: this.#word("interval"), value: interval });
    const said = notes.filter(Boolean).map((name) => ({ name, value: "", className: "pw-tip-status" }));
    return empty ? [status] : [...numbers, status, ...said];
  }

  #tableCell(row: number, col: number): string {
    const i = this.#index(row, col);
    const status = this.store.cells.status[i];
    const number = Number.isNaN(this.#values[i]) ? "" : decimal(this.#values[i], this.store.limit);
    const marks = this.store.cells.marksOf(i).map((mark) => this.#word(`mark_${mark}_short`));
    const told = status === STATUS.measured ? number || "no value" : `${number} ${SHORT_STATUS[status]}`.trim();
    const interval = this.#interval(row, col);
    const beside = interval || this.#counts(i);
    return [told, beside && `(${beside})`, ...marks].filter(Boolean).join(" ");
  }

  /** Whether there are means to show. */
  get means(): boolean {
    const { rowMeans, colMeans } = this.store.cells;
    return (this.#state.get("means") ?? true) && rowMeans.length > 0 && colMeans.length > 0;
  }

  #means(): NonNullable<TableSpec["means"]> {
    const { rowMeans, colMeans } = this.store.cells;
    const [rows, cols] = [rowMeans, colMeans].map((means) =>
      Array.from(means, (mean) => (Number.isNaN(mean) ? "" : decimal(mean, this.store.limit))),
    );
    return { title: `mean |${this.#word("unit") || "value"}|`, rows, cols };
  }

  get title(): string {
    return this.#word("title") || "Heatmap";
  }

  table(): TableSpec {
    const columns = this.#state.get("columns");
    const name = ({ clean, corrupted }: { clean: string; corrupted: string | null }) =>
      corrupted === null ? clean : `${clean} / ${corrupted}`;
    return {
      caption: [this.title, this.#word("unit")].filter(Boolean).join(": "),
      corner: this.#state.get("row_title"),
      rows: this.#state.get("rows"),
      cols: headerCells(columns).map((c) => (columns.kind === "tokens" ? `${c.number} ${name(c)}` : c.full)),
      cell: (row, col) => this.#tableCell(row, col),
      ...(this.means ? { means: this.#means() } : {}),
    };
  }
}
