import type { TableSpec } from "./table";

/** What of a map is copied. */
export type Part = "cell" | "row" | "column" | "table";
export const PARTS: readonly Part[] = ["cell", "row", "column", "table"];

/** A float32 in the fewest digits that no other float32 has; nothing for what has no value. */
export function exact(value: number): string {
  if (Number.isNaN(value)) return "";
  for (let digits = 6; digits < 9; digits++) {
    const shorter = Number(value.toPrecision(digits));
    if (Math.fround(shorter) === value) return String(shorter);
  }
  return String(Number(value.toPrecision(9)));
}

/** The number of a cell, or a row, a column or the whole with its names: lines of texts with tabs between. */
export function copied(part: Part, row: number, col: number, { corner, rows, cols }: TableSpec, values: Float32Array) {
  const number = (r: number, c: number) => exact(values[r * cols.length + c]);
  if (part === "cell") return number(row, col);
  const all = (names: readonly string[]) => names.map((_, i) => i);
  const [down, across] = [part === "row" ? [row] : all(rows), part === "column" ? [col] : all(cols)];
  const lines = [[corner, ...across.map((c) => cols[c])]];
  for (const r of down) lines.push([rows[r], ...across.map((c) => number(r, c))]);
  return lines.map((line) => line.map((text) => text.replace(/[\t\r\n]+/g, " ")).join("\t")).join("\n");
}
