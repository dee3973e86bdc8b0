import { describe, expect, test } from "vitest";
import { planGrid } from "../src/geometry";
import { covers, indices, spanInView, spanToDraw } from "../src/span";
import { tokens } from "./helpers";

const plan = (rows: number, cols: number, zoom = 1) =>
  planGrid({
    columns: tokens(Array.from({ length: cols }, (_, i) => ` t${i}`)),
    rows: Array.from({ length: rows }, (_, i) => String(i)),
    rowTitle: "layer",
    available: 1000,
    compact: false,
    zoom,
  });

describe("what is drawn", () => {
  test("is all of a map that is soon drawn, and of one whose view is not known", () => {
    const [small, large] = [plan(12, 15), plan(48, 500, 6)];
    const view = { left: 0, top: 0, width: 900, height: 400 };
    expect(spanToDraw(small, view)).toEqual({ r0: 0, r1: 12, c0: 0, c1: 15 });
    expect(spanToDraw(large, { ...view, width: 0 })).toEqual({ r0: 0, r1: 48, c0: 0, c1: 500 });
  });

  test("of a large one is what is in view with some around it, wherever it is scrolled to", () => {
    const large = plan(48, 500, 6);
    const [cellW, cellH] = [large.edges[1], large.cellH];
    for (const [row, col] of [
      [0, 0],
      [20, 250],
      [47, 499],
    ] as const) {
      const view = { left: col * cellW - 450, top: row * cellH - 200, width: 900, height: 400 };
      const [seen, drawn] = [spanInView(large, view), spanToDraw(large, view)];
      expect(covers(drawn, seen)).toBe(true);
      expect([...indices(seen, 500)]).toContain(row * 500 + col);
      expect([...indices(drawn, 500)].length).toBeLessThan((48 * 500) / 8);
    }
  });

  test("indices go row by row", () => {
    expect([...indices({ r0: 1, r1: 3, c0: 2, c1: 4 }, 10)]).toEqual([12, 13, 22, 23]);
  });
});

describe("zooming", () => {
  test("multiplies cells between a least and a most size, and 1 is what the room asks for", () => {
    const sizes = [-9, -1, 0, 1, 9].map((step) => plan(48, 500, 1.5 ** step));
    expect(sizes.map((p) => p.edges[1])).toEqual([2, 9, 14, 21, 96]);
    expect(sizes.map((p) => p.cellH)).toEqual([4, 7, 10, 15, 48]);
    expect(sizes.map((p) => [p.scrolls, p.tall])).toEqual([
      [true, false],
      [true, false],
      [true, false],
      [true, true],
      [true, true],
    ]);
  });
});
