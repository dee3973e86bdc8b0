/** The front-end half of a widget, as anywidget and the static page both provide it. */
export interface Model<S> {
  /** Set where nobody answers: on a saved page. */
  readonly withoutKernel?: boolean;
  get<K extends keyof S & string>(key: K): S[K];
  on(event: string, callback: (...args: never[]) => void): void;
  off(event?: string | null, callback?: ((...args: never[]) => void) | null): void;
  send(content: unknown): void;
}

/** Binary traits and message buffers arrive as views into larger buffers, at any offset. */
export type Bytes = ArrayBuffer | ArrayBufferView | null | undefined;

export interface TokenColumns {
  kind: "tokens";
  title: string;
  /** Token texts; null is a gap, where the prompt has no token. */
  clean: (string | null)[];
  corrupted: (string | null)[];
  differs: boolean[];
  bos: number | null;
  /** What the columns' positions are called; 0, 1, 2 and so on where it is left out. */
  numbers?: string[];
  /** Of several pairs: the runs in which they have different tokens there, and an ellipsis stands for those. */
  varies?: ("clean" | "corrupted")[][];
}

export interface LabelColumns {
  kind: "labels";
  title: string;
  labels: string[];
}

export type Columns = TokenColumns | LabelColumns;

/** What a row or a column stands for, e.g. `{layer: 3}`; views with equal entries are linked. */
export type Keys = Readonly<Record<string, number>>;

export type RunName = "clean" | "corrupted" | "patched";

export interface ViewState {
  kind: string;
  group: string;
}

export interface HeatmapState extends ViewState {
  rows: string[];
  row_title: string;
  columns: Columns;
  row_keys: Keys[];
  col_keys: Keys[];
  normalized: Bytes;
  effect: Bytes;
  patched: Bytes;
  status: Bytes;
  /** The ends of each cell's interval, of the quantity that is coloured; empty where there are none. */
  low?: Bytes;
  high?: Bytes;
  /** Which cells are ringed, and by which of the two words, and whose interval includes zero; left out where none is. */
  marks?: Bytes;
  /** The number of each cell's cluster, which is outlined; 0 for no cluster, empty where there are none. */
  stages?: Bytes;
  /** The mean of the absolute values per row and per column, and whether they are shown. */
  row_means?: Bytes;
  col_means?: Bytes;
  means?: boolean;
  quantity: "normalized" | "effect";
  limit: number;
  /** The limit a person typed, 0 for none. */
  fixed_limit?: number;
  words: Readonly<Record<string, string>>;
  selected: number[];
  /** Whether cells can be gathered, and the places, row by row, of those that are. */
  gathers?: boolean;
  gathered?: number[];
  line: number;
  compact: boolean;
  state: string;
}

export interface TokensState extends ViewState {
  columns: TokenColumns;
  selected: number;
  /** Whether tokens can be picked to be paired, and whether somebody has. */
  editing?: "off" | "proposed" | "edited";
}

export interface AttentionRun {
  name: RunName | "difference";
  label: string;
}

/** Something else to show over the same columns; with a limit its values are differences, on a scale of +-limit. */
export interface AttentionChoice {
  label: string;
  note: string;
  runs: AttentionRun[];
  limit: number;
}

export interface AttentionState extends ViewState {
  title: string;
  columns: TokenColumns;
  runs: AttentionRun[];
  /** Of all choices, one after another. */
  patterns: Bytes;
  note?: string;
  more?: AttentionChoice[];
  chosen?: number;
  dest: number;
}

export interface PredictionRow {
  token: string;
  /** Left out where logits alone are shown. */
  prob?: number;
  logit: number;
  mark: "" | "answer" | "foil";
}

export interface PredictionsState extends ViewState {
  title: string;
  note?: string;
  /** What rows show: probabilities where it is left out. */
  quantity?: "prob" | "logit";
  tables: { name: RunName; label: string; rows: PredictionRow[]; difference?: number }[];
}

/** One past run: its number, what was measured, and the rest of its line. */
export interface ShelfEntry {
  id: number;
  name: string;
  detail: string;
}

export interface ShelfState extends ViewState {
  entries: ShelfEntry[];
  /** The ids of the run on screen and of the two chosen to compare, -1 for none. */
  current: number;
  a: number;
  b: number;
  told: string;
  /** How many runs can be put back. */
  removed?: number;
  undo: boolean;
  redo: boolean;
}

/** The pairs of a dataset in one cell: each value, their mean and its interval, null where there is none. */
export interface PairsState extends ViewState {
  title: string;
  unit: string;
  /** What the pairs' other values are called. */
  own?: string;
  pairs: { value: number; own?: number | null; clean: string; corrupted: string }[];
  mean: number | null;
  low: number | null;
  high: number | null;
  note: string;
  selected: number;
}

export interface CopyState extends ViewState {
  label: string;
  hint: string;
}

/** What a view is given; `signal` ends it, and views that get none return their own end. */
export interface RenderProps<S> {
  model: Model<S>;
  el: HTMLElement;
  signal?: AbortSignal;
}
