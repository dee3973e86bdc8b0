import { textWidth } from "./dom";
import type { Columns, TokenColumns } from "./model";
import { quoted, visible } from "./text";

export const MONO = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';
export const TOKEN_PX = 11;
const STRIP_PX = 12;
const NUMBER_PX = 9;
const LINE = 15; // height of one line of header text
const BOS = "BOS";
/** What stands in texts where a prompt has no token; headers draw a box. */
export const GAP = "\u2013";
/** What a scrolling sheet keeps free on its right, for the frame of the last column. The style sheet has it too. */
export const SHEET_PAD = 3;

/** The room for the bars of means, right of the rows and below the columns. */
export const MEANS_W = 44;
export const MEANS_H = 26;

/** flat: text across; side: turned, clean left of corrupted; stack: turned, clean above corrupted. */
export type HeaderMode = "flat" | "side" | "stack";

export interface HeaderCell {
  clean: string;
  corrupted: string | null;
  differs: boolean;
  /** The run that has no token here. */
  gap: "" | "clean" | "corrupted";
  bos: boolean;
  /** Whether several pairs have different tokens there. */
  varies: boolean;
  /** The token or label in full, as it is spoken. */
  full: string;
  /** What the column's position is called. */
  number: string;
}

/** Where the columns are, and how their header is set. Cells, header and marks all read `edges`. */
export interface HeaderPlan {
  cells: HeaderCell[];
  edges: number[];
  mode: HeaderMode;
  height: number;
  kind: Columns["kind"];
  title: string;
}

export interface GridPlan extends HeaderPlan {
  /** Whether the sheet is wider than the room, and scrolls. */
  scrolls: boolean;
  /** Whether it is taller than a page shows, and scrolls under its header. */
  tall: boolean;
  cellH: number;
  labelW: number;
  width: number;
  gridH: number;
}

/** The columns' boxes; `both` sets the corrupted token under the clean one where they are the same, too. */
export function headerCells(columns: Columns, both = false): HeaderCell[] {
  if (columns.kind === "labels") {
    const plain = { corrupted: null, differs: false, gap: "", bos: false, varies: false } as const;
    return columns.labels.map((label, i) => ({ ...plain, clean: label, full: label, number: String(i) }));
  }
  return columns.clean.map((token, i) => tokenCell(columns, token, columns.corrupted[i], i, both));
}

function tokenCell(
  columns: TokenColumns,
  clean: string | null,
  corrupted: string | null | undefined,
  i: number,
  both: boolean,
): HeaderCell {
  const bos = columns.bos === i;
  const differs = Boolean(columns.differs[i]) && corrupted !== undefined;
  const gap = clean === null ? "clean" : corrupted === null ? "corrupted" : "";
  const shown = (token: string | null) => (token === null ? GAP : bos && token === clean ? BOS : visible(token));
  const varies = columns.varies?.[i] ?? [];
  const known = (token: string, run: "clean" | "corrupted") =>
    varies.includes(run) ? `the pairs' own ${run} token` : quoted(token);
  const said = (token: string | null, run: "clean" | "corrupted") =>
    token === null ? `no ${run} token` : known(token, run);
  return {
    clean: shown(clean),
    corrupted: corrupted !== undefined && (differs || both) ? shown(corrupted) : null,
    differs,
    gap,
    bos,
    varies: varies.length > 0,
    full: differs ? `${said(clean, "clean")} / ${said(corrupted, "corrupted")}` : said(clean, "clean"),
    number: columns.numbers?.[i] ?? String(i),
  };
}

/** The width of a text's longest line. */
export const cellTextWidth = (text: string, px = TOKEN_PX): number =>
  Math.ceil(Math.max(...text.split("\n").map((line) => textWidth(line, `${px}px ${MONO}`))));

/** A label in lines that end after its underscores. */
const broken = (cell: HeaderCell): HeaderCell => ({ ...cell, clean: cell.clean.replace(/_(?=[^_])/g, "_\n") });

const widest = (cells: readonly HeaderCell[], px = TOKEN_PX): number => {
  const width = (c: HeaderCell) => Math.max(cellTextWidth(c.clean, px), cellTextWidth(c.corrupted ?? "", px));
  return Math.max(8, ...cells.map(width));
};

function headerHeight(cells: readonly HeaderCell[], mode: HeaderMode, kind: Columns["kind"], cap: number): number {
  const differ = cells.some((c) => c.corrupted !== null);
  const lines = kind === "labels" ? Math.max(1, ...cells.map((c) => c.clean.split("\n").length)) : 1;
  if (mode === "flat") return (kind === "labels" ? LINE : 0) + (differ ? 2 * LINE + 8 : lines * LINE + 4);
  const length = (c: HeaderCell) => {
    const [a, b] = [c.clean, c.corrupted ?? ""].map((text) => Math.min(cap, cellTextWidth(text)));
    return mode === "stack" && b ? a + b + 6 : Math.max(a, b);
  };
  return (kind === "labels" ? LINE : 0) + Math.max(...cells.map(length)) + 12;
}

export interface GridInput {
  columns: Columns;
  rows: readonly string[];
  rowTitle: string;
  /** Room for the sheet, labels and cells together, in CSS pixels. */
  available: number;
  compact: boolean;
  /** How much larger or smaller cells are than the room asks for; 1 where it is left out. */
  zoom?: number;
  /** Height of a row; chosen by the number of rows when left out. */
  cellH?: number;
  /** The most room that row labels get. */
  labelMax?: number;
}

const clamp = (x: number, lo: number, hi: number): number => Math.max(lo, Math.min(hi, x));

/** The sizes between which zooming changes cells; what the room asks for is always allowed. */
const ZOOM_W = [2, 96] as const;
const ZOOM_H = [4, 48] as const;
/** The height of a sheet that needs no scrolling of its own; the style sheet has it too. */
const TALLEST = 720;

const zoomed = (size: number, zoom: number, [least, most]: readonly [number, number]): number =>
  zoom === 1 ? size : clamp(Math.round(size * zoom), Math.min(size, least), Math.max(size, most));

/** Lays out a grid: whole-pixel columns as wide as the room allows, scrolling when that is too narrow. */
export function planGrid(input: GridInput): GridPlan {
  const { columns, rows, rowTitle, available, compact, zoom = 1 } = input;
  const whole = headerCells(columns);
  const n = Math.max(1, whole.length);
  const longest = Math.max(compact ? 18 : 26, cellTextWidth(rowTitle), ...rows.map((row) => cellTextWidth(row)));
  const labelW = Math.min(longest + 8, input.labelMax ?? Infinity);
  const room = Math.floor((available - SHEET_PAD - labelW) / n);
  const labels = columns.kind === "labels";
  const text = widest(whole);
  const narrow = labels ? Math.min(30, text + 4) : 14;
  const wide = labels ? 60 : compact ? 46 : 76;
  const titled = labels ? Math.ceil(cellTextWidth(columns.title) / n) : 0; // the title stands over the columns
  const fitting = clamp(room, narrow, Math.max(wide, titled, Math.min(text + 8, 110)));
  const cellW = zoomed(fitting, zoom, ZOOM_W);
  const boxed = widest(whole.filter((cell) => cell.corrupted !== null));
  const fits = text + 3 <= cellW && boxed + 6 <= cellW;
  const inLines = labels && !fits ? whole.map(broken) : whole;
  const flat = fits || (labels && widest(inLines) + 2 <= cellW);
  const cells = flat ? inLines : whole;
  const mode: HeaderMode = flat ? "flat" : !labels && cellW >= 2 * TOKEN_PX + 8 ? "side" : "stack";
  const height = headerHeight(cells, mode, columns.kind, compact ? 72 : 120);
  const [tall, least, most] = compact ? [200, 11, 24] : [470, 10, 40];
  const cellH = input.cellH ?? zoomed(clamp(Math.round(tall / Math.max(1, rows.length)), least, most), zoom, ZOOM_H);
  const edges = Array.from({ length: cells.length + 1 }, (_, i) => i * cellW);
  const header = { cells, edges, mode, height, kind: columns.kind, title: columns.title };
  const width = cells.length * cellW;
  const scrolls = labelW + width + SHEET_PAD > available;
  const gridH = rows.length * cellH;
  return { ...header, scrolls, tall: height + gridH > TALLEST, cellH, labelW, width, gridH };
}

/** Lays out a strip of tokens, each as wide as its text, in one line; closer together where room is short. */
export function planStrip(columns: TokenColumns, available = Infinity, both = false): HeaderPlan {
  const cells = headerCells(columns, both);
  const number = (cell: HeaderCell) => (columns.numbers ? cellTextWidth(cell.number, NUMBER_PX) : 0);
  const texts = cells.map((cell) => Math.max(widest([cell], STRIP_PX), number(cell)));
  const edgesWith = (space: number) =>
    texts.reduce((edges, text) => [...edges, edges[edges.length - 1] + text + space], [0]);
  const wide = edgesWith(13);
  const edges = wide[wide.length - 1] <= available ? wide : edgesWith(6);
  const height = headerHeight(cells, "flat", columns.kind, Infinity);
  return { cells, edges, mode: "flat", height, kind: columns.kind, title: columns.title };
}

/** The column or row that holds `x`, -1 outside. */
export function locate(edges: readonly number[], x: number): number {
  const end = edges.findIndex((edge) => x < edge);
  return end < 1 ? -1 : end - 1;
}

/** Every how many rows a label fits: 1, 2, 5, 10, 20, ... */
export function labelStep(cellH: number, line = 12): number {
  const need = line / cellH;
  for (let ten = 1; ; ten *= 10) for (const k of [1, 2, 5]) if (k * ten >= need) return k * ten;
}
