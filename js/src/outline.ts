import { surface } from "./colour";
import type { Canvas } from "./paint";
import { indices } from "./span";
import type { Theme } from "./theme";

/** The outlines of clusters: the sides of their cells towards any other, in ink on a line of the page's colour. */
export function outlines({ g, cells, plan, span, theme, gap, snap }: Canvas): void {
  if (!cells.stages.some((stage) => stage > 0)) return;
  const { stages, rows, cols } = cells;
  const inset = Math.min(plan.edges[1], plan.cellH) >= 10 ? 1.25 : 0.5;
  g.beginPath();
  for (const i of indices(span, cols)) {
    if (!stages[i]) continue;
    const [r, c] = [Math.floor(i / cols), i % cols];
    const other = (row: number, col: number) =>
      row < 0 || col < 0 || row >= rows || col >= cols || stages[row * cols + col] !== stages[i];
    const [up, down, left, right] = [other(r - 1, c), other(r + 1, c), other(r, c - 1), other(r, c + 1)];
    // A side runs on to its neighbour's where the cluster does, so that corners meet.
    const [x0, x1] = [
      snap(plan.edges[c]) + (left ? inset : -inset),
      snap(plan.edges[c + 1]) - gap - (right ? inset : -inset),
    ];
    const [y0, y1] = [
      snap(r * plan.cellH) + (up ? inset : -inset),
      snap((r + 1) * plan.cellH) - gap - (down ? inset : -inset),
    ];
    const line = (ax: number, ay: number, bx: number, by: number) => {
      g.moveTo(ax, ay);
      g.lineTo(bx, by);
    };
    if (up) line(x0, y0, x1, y0);
    if (down) line(x0, y1, x1, y1);
    if (left) line(x0, y0, x0, y1);
    if (right) line(x1, y0, x1, y1);
  }
  strokes(g, theme, [2 * inset + 1.5, inset + 0.5]);
}

/** Strokes the path twice: in the page's colour, and narrower in ink, so that it is seen on every cell. */
function strokes(g: CanvasRenderingContext2D, theme: Theme, [under, over]: readonly [number, number]): void {
  g.lineCap = "square";
  for (const [colour, width] of [
    [surface(theme).page, under],
    [surface(theme).ink, over],
  ] as const) {
    g.strokeStyle = colour;
    g.lineWidth = width;
    g.stroke();
  }
  g.lineCap = "butt";
}

/** The marks of gathered cells: brackets in the four corners, in ink on a line of the page's colour. */
export function brackets({ g, gathered, cells, plan, span, theme, gap, snap }: Canvas): void {
  if (gathered.size === 0) return;
  g.beginPath();
  for (const i of indices(span, cells.cols)) {
    if (!gathered.has(i)) continue;
    const [r, c] = [Math.floor(i / cells.cols), i % cells.cols];
    const [x0, x1] = [snap(plan.edges[c]) + 2, snap(plan.edges[c + 1]) - gap - 2];
    const [y0, y1] = [snap(r * plan.cellH) + 2, snap((r + 1) * plan.cellH) - gap - 2];
    const arm = Math.max(1, Math.min(6, (x1 - x0) / 3, (y1 - y0) / 3));
    for (const [x, y, dx, dy] of [
      [x0, y0, arm, arm],
      [x1, y0, -arm, arm],
      [x0, y1, arm, -arm],
      [x1, y1, -arm, -arm],
    ]) {
      g.moveTo(x + dx, y);
      g.lineTo(x, y);
      g.lineTo(x, y + dy);
    }
  }
  strokes(g, theme, [4, 2]);
}
