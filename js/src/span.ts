import type { GridPlan } from "./geometry";

/** Rows from r0 to before r1, columns from c0 to before c1. */
export interface Span {
  r0: number;
  r1: number;
  c0: number;
  c1: number;
}

/** What of a sheet is in view, in pixels of the grid. */
export interface View {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** So many of the screen's pixels are drawn at once; larger maps are drawn where they are seen. */
const BUDGET = 2.5e6;
/** Browsers refuse larger canvases. */
const LONGEST = 16000;

/** The cells to draw: those in view, half as much on either side and a quarter above and below; or all where all are few enough. */
export function spanToDraw(plan: GridPlan, view: View, dpr = globalThis.devicePixelRatio || 1): Span {
  const [rows, cols] = [Math.round(plan.gridH / plan.cellH), plan.edges.length - 1];
  const [w, h] = [plan.width * dpr, plan.gridH * dpr];
  if (view.width <= 0 || (w * h <= BUDGET && Math.max(w, h) <= LONGEST)) return { r0: 0, r1: rows, c0: 0, c1: cols };
  const seen = spanInView(plan, view);
  const more = { c: Math.ceil((seen.c1 - seen.c0) / 2), r: Math.ceil((seen.r1 - seen.r0) / 4) };
  return {
    r0: Math.max(0, seen.r0 - more.r),
    r1: Math.min(rows, seen.r1 + more.r),
    c0: Math.max(0, seen.c0 - more.c),
    c1: Math.min(cols, seen.c1 + more.c),
  };
}

/** The cells in view, wholly or in part. */
export function spanInView(plan: GridPlan, { left, top, width, height }: View): Span {
  const [rows, cols, cellW] = [Math.round(plan.gridH / plan.cellH), plan.edges.length - 1, plan.edges[1]];
  const within = (index: number, count: number) => Math.max(0, Math.min(count, index));
  return {
    r0: within(Math.floor(top / plan.cellH), rows),
    r1: within(Math.ceil((top + height) / plan.cellH), rows),
    c0: within(Math.floor(left / cellW), cols),
    c1: within(Math.ceil((left + width) / cellW), cols),
  };
}

export const covers = (drawn: Span, seen: Span): boolean =>
  drawn.r0 <= seen.r0 && drawn.r1 >= seen.r1 && drawn.c0 <= seen.c0 && drawn.c1 >= seen.c1;

/** The flat indices of a span's cells, row by row. */
export function* indices({ r0, r1, c0, c1 }: Span, cols: number): Generator<number> {
  for (let r = r0; r < r1; r++) for (let c = c0; c < c1; c++) yield r * cols + c;
}
