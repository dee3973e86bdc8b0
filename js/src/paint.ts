import { type Cells, STATUS } from "./cells";
import { css, type Rgb, type Scale, surface } from "./colour";
import { fit, type Surface, textWidth } from "./dom";
import { type GridPlan, MONO } from "./geometry";
import { brackets, outlines } from "./outline";
import { indices, type Span } from "./span";
import { decimal, decimals, tight } from "./text";
import type { Theme } from "./theme";

/** Values below this part of the limit print no number: the colour says near zero. Small maps print fewer. */
const WORTH_PRINTING = { full: 0.045, compact: 0.08 };

/** Up to so many cells have rounded corners. */
const ROUNDED = 1500;

/** Up to this much past the limit the colour is as good as exact, and no mark is drawn. */
const TOLERATED = 1.05;

type Fill = CanvasPattern | string;
type Draw = (tile: CanvasRenderingContext2D, size: number) => void;

/** What `draw` draws on a tile, repeated every `pitch` CSS pixels. */
function tiled({ g, dpr }: Surface, colour: string, pitch: number, draw: Draw): Fill {
  const size = Math.max(4, Math.round(pitch * dpr));
  const tile = document.createElement("canvas");
  tile.width = tile.height = size;
  const t = tile.getContext("2d");
  if (!t) return colour;
  t.strokeStyle = t.fillStyle = colour;
  t.lineWidth = Math.max(1, dpr);
  draw(t, size);
  const pattern = g.createPattern(tile, "repeat");
  if (!pattern) return colour;
  pattern.setTransform(new DOMMatrix().scale(1 / dpr));
  return pattern;
}

/** Parallel lines, or two sets of them that cross. */
const hatch =
  (crossed: boolean): Draw =>
  (t, size) => {
    t.beginPath();
    for (const shift of [-size, 0, size]) {
      t.moveTo(shift - 1, size + 1);
      t.lineTo(shift + size + 1, -1);
      if (crossed) {
        t.moveTo(shift - 1, -1);
        t.lineTo(shift + size + 1, size + 1);
      }
    }
    t.stroke();
  };

/** Dots, in every second place of a chequer. */
const stipple: Draw = (t, size) => {
  const side = Math.max(1, Math.round(size / 5));
  for (const at of [0, Math.round(size / 2)]) t.fillRect(at, at, side, side);
};

/** The shortest number worth printing, `.61`. Where there is no room for it no cell has a number. */
const SHORTEST = 3;

/** How numbers fit into cells: the font and its size, and the longest text it leaves room for. */
export interface Printing {
  font: string;
  size: number;
  room: number;
}

/** How numbers fit into cells of this size; null where none does. */
export function printing(cellW: number, cellH: number): Printing | null {
  if (cellH < 11) return null;
  for (let size = Math.min(11, Math.max(9, Math.floor(cellH * 0.62))); size >= 9; size--) {
    const font = `${size}px ${MONO}`;
    const room = Math.floor((cellW - 3) / (textWidth("00000", font) / 5));
    if (room >= SHORTEST) return { font, size, room };
  }
  return null;
}

/**
 * A printed value as `room` allows: `0.61`, `.61`, with a decimal less (`1.0` of 1.00, `\u2212.6` of \u22120.61), a value of
 * about one or more with none, one of a thousand or more as its power of ten (`1e4` of 12345). Equal colours all have their number: nothing is printed only where no number would be true.
 */
export function printed(value: number, limit: number, room: number): string {
  const least = Math.abs(value) >= 0.95 ? 0 : 1;
  for (let digits = decimals(limit); digits >= Math.min(least, decimals(limit)); digits--) {
    const text = decimal(value, limit, digits);
    for (const form of [text, tight(text)]) if (form.length <= room) return form;
  }
  const power = Math.abs(value) < 1000 ? "" : value.toExponential(0).replace("+", "").replace("-", "\u2212");
  return power.length <= room ? power : "";
}

export interface Painting {
  cells: Cells;
  values: Float32Array;
  plan: GridPlan;
  /** The cells to draw; the canvas is put where they are. */
  span: Span;
  scale: Scale;
  theme: Theme;
  /** Whether pending cells are still to come, and marked as such. */
  awaited: boolean;
  compact: boolean;
  gathered: ReadonlySet<number>;
  /** What a cell prints in place of its value; null where the value is printed. */
  text: ((i: number) => string) | null;
}

/** Whether a value is so far past the scale's end that its colour alone would mislead. */
export const beyond = (value: number, limit: number): boolean => Math.abs(value) > TOLERATED * limit;

/** A painting with what is worked out once for all its cells. */
export interface Canvas extends Painting, Surface {
  hatches: ReadonlyMap<number, Fill>;
  gap: number;
  /** How many cells are drawn. */
  count: number;
  /** To the screen's pixels, so that gaps are equally sharp. */
  snap(x: number): number;
}

/** Draws every cell by its status: first the grounds, then what stands on them. */
export function paint(canvas: HTMLCanvasElement, painting: Painting): void {
  const { plan, theme, cells, span } = painting;
  const [x, y] = [plan.edges[span.c0], span.r0 * plan.cellH];
  const ready = fit(canvas, plan.edges[span.c1] - x, (span.r1 - span.r0) * plan.cellH);
  if (!ready || cells.status.length === 0) return;
  const { g, dpr } = ready;
  const snap = (length: number) => Math.round(length * dpr) / dpr;
  Object.assign(canvas.style, { left: `${snap(x)}px`, top: `${snap(y)}px` });
  g.translate(-snap(x), -snap(y));
  const cellW = plan.edges[1];
  const ink = surface(theme);
  const hatches = new Map<number, Fill>([
    [STATUS.implied, tiled(ready, ink.hatch, 5, hatch(false))],
    [STATUS.unavailable, tiled(ready, ink.block, 6, hatch(true))],
  ]);
  if (!painting.awaited) hatches.set(STATUS.pending, tiled(ready, ink.block, 5, stipple));
  const gap = [4, 8].filter((size) => Math.min(cellW, plan.cellH) >= size).length / 2; // none, half a pixel, one
  const count = (span.r1 - span.r0) * (span.c1 - span.c0);
  const all: Canvas = { ...painting, g, dpr, hatches, gap, count, snap };
  if (count <= ROUNDED && Math.min(cellW, plan.cellH) >= 12) roundGrounds(all);
  else flatGrounds(all);
  marks(all);
  outlines(all);
  brackets(all);
}

/** The colour below a cell's mark, or none for what is not measured. */
function ground({ cells, values, scale }: Painting, i: number): Rgb | null {
  const status = cells.status[i];
  if (status === STATUS.pending) return null;
  const found = (status === STATUS.measured || status === STATUS.estimated) && !Number.isNaN(values[i]);
  return scale.rgb(found ? values[i] : 0);
}

/** Cells with rounded corners, one by one. */
function roundGrounds(all: Canvas): void {
  const { g, cells, plan, gap, snap, hatches, span } = all;
  for (let r = span.r0; r < span.r1; r++) {
    const [y0, y1] = [snap(r * plan.cellH), snap((r + 1) * plan.cellH) - gap];
    for (let c = span.c0; c < span.c1; c++) {
      const i = r * cells.cols + c;
      const [colour, lines] = [ground(all, i), hatches.get(cells.status[i])];
      if (!colour && !lines) continue;
      const [x0, x1] = [snap(plan.edges[c]), snap(plan.edges[c + 1]) - gap];
      g.beginPath();
      g.roundRect(x0, y0, x1 - x0, y1 - y0, 2);
      for (const style of [colour && css(colour), lines]) {
        if (!style) continue;
        g.fillStyle = style;
        g.fill();
      }
    }
  }
}

/** Many small cells: one picture of a pixel per cell, enlarged; hatching by runs; then the gaps are cut. */
function flatGrounds(all: Canvas): void {
  const { g, cells, plan, gap, snap, hatches, span } = all;
  const { r0, r1, c0, c1 } = span;
  const [left, top] = [plan.edges[c0], r0 * plan.cellH];
  const [width, height] = [plan.edges[c1] - left, r1 * plan.cellH - top];
  const picture = document.createElement("canvas");
  picture.width = c1 - c0;
  picture.height = r1 - r0;
  const p = picture.getContext("2d")!;
  const pixels = p.createImageData(c1 - c0, r1 - r0);
  let at = 0;
  for (const i of indices(span, cells.cols)) {
    const colour = ground(all, i);
    if (colour) pixels.data.set([...colour, 255], at);
    at += 4;
  }
  p.putImageData(pixels, 0, 0);
  g.imageSmoothingEnabled = false;
  g.drawImage(picture, left, top, width, height);
  for (const [status, lines] of hatches) {
    g.fillStyle = lines;
    for (let r = r0; r < r1; r++) {
      for (let c = c0; c < c1; c++) {
        const from = c;
        while (c < c1 && cells.status[r * cells.cols + c] === status) c++;
        if (c > from) g.fillRect(plan.edges[from], r * plan.cellH, plan.edges[c] - plan.edges[from], plan.cellH);
      }
    }
  }
  for (let c = c0 + 1; c <= c1; c++) g.clearRect(snap(plan.edges[c]) - gap, top, gap, height);
  for (let r = r0 + 1; r <= r1; r++) g.clearRect(left, snap(r * plan.cellH) - gap, width, gap);
}

/** What stands on the cells: numbers, the marks of estimates, of values beyond the scale, of no value, of what is to come. */
function marks({ g, cells, values, plan, span, scale, theme, awaited, compact, gap, snap, text }: Canvas): void {
  const ink = surface(theme);
  const print = printing(plan.edges[1], plan.cellH);
  const worth = scale.limit * (compact ? WORTH_PRINTING.compact : WORTH_PRINTING.full);
  if (print) g.font = print.font;
  g.textAlign = "center";
  g.textBaseline = "middle";
  for (const i of indices(span, cells.cols)) {
    const [status, value, column] = [cells.status[i], values[i], i % cells.cols];
    if (status === STATUS.implied || status === STATUS.unavailable || (status === STATUS.pending && !awaited)) continue;
    const [x, y] = [snap(plan.edges[column]), snap(Math.floor(i / cells.cols) * plan.cellH)];
    const [w, h] = [plan.edges[column + 1] - plan.edges[column] - gap, plan.cellH - gap];
    const [cx, cy] = [x + w / 2, y + h / 2];
    if (status === STATUS.pending) {
      g.fillStyle = ink.hatch;
      g.fillRect(snap(cx - 1), snap(cy - 1), 2, 2);
    } else if (Number.isNaN(value)) {
      g.fillStyle = ink.dim;
      g.fillRect(snap(cx - 3), snap(cy), 6, 1);
    } else {
      g.fillStyle = scale.ink(value);
      if (status === STATUS.estimated) dots(g, x, y, w, h);
      const told = print && Math.abs(value) >= worth ? (text?.(i) ?? printed(value, scale.limit, print.room)) : "";
      if (print && told && told.length <= print.room) g.fillText(told, cx, cy + 0.5);
      if (beyond(value, scale.limit)) {
        const free = print ? (h - 0.8 * print.size) / 2 : h; // above a number, which it must not touch
        const inset = free >= 7 ? 2 : 0.5;
        corner(g, x + w - inset, y + inset, Math.max(2, Math.min(5, w / 3, free - inset)));
      }
      if (cells.unsure(i)) circle(g, x, y + h, Math.min(w, h), scale.ink(value));
      if (cells.ring(i) === 1 || cells.ring(i) === 2) ring(g, x, y, w, h, scale.ink(value), cells.ring(i) === 2);
    }
  }
}

/** The ring of a marked cell, dashed for the second mark. */
function ring(
  g: CanvasRenderingContext2D,
  x: number,
  y: number,
  w: number,
  h: number,
  ink: string,
  dashed: boolean,
): void {
  const inset = Math.min(w, h) >= 14 ? 3 : 0.5; // inside the border of a selected cell
  g.strokeStyle = ink;
  g.lineWidth = inset === 3 ? 1.25 : 1;
  g.setLineDash(dashed ? [3, 2] : []);
  g.strokeRect(x + inset, y + inset, w - 2 * inset, h - 2 * inset);
  g.setLineDash([]);
}

/** The mark of an interval that includes zero: a small open circle in the lower left corner. */
function circle(g: CanvasRenderingContext2D, left: number, bottom: number, size: number, ink: string): void {
  const r = Math.min(3, Math.max(1.2, size / 9));
  g.strokeStyle = ink;
  g.lineWidth = 1.2;
  g.beginPath();
  g.arc(left + r + 2, bottom - r - 2, r, 0, 2 * Math.PI);
  g.stroke();
}

/** The mark of an estimate: a row of dots along the cell's foot, clear of the number. */
function dots(g: CanvasRenderingContext2D, x: number, y: number, w: number, h: number): void {
  for (let dx = 2; dx <= w - 3; dx += 4) g.fillRect(x + dx, y + h - 2.5, 1.2, 1.2);
}

/** The mark of a value beyond the scale: a small triangle in the upper right corner. */
function corner(g: CanvasRenderingContext2D, right: number, top: number, size: number): void {
  g.beginPath();
  g.moveTo(right - size, top);
  g.lineTo(right, top);
  g.lineTo(right, top + size);
  g.fill();
}
