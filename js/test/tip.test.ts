import { describe, expect, test } from "vitest";
import { spot } from "../src/tip";

const box = (left: number, top: number, width: number, height: number) => new DOMRect(left, top, width, height);
const size = { width: 100, height: 60 };
const at = (near: DOMRect, around = near) => spot(near, around, size, 800, 600);

describe("the tooltip stands", () => {
  test("right of its cell where there is room, else left of it", () => {
    expect(at(box(200, 100, 30, 20))).toEqual({ x: 238, y: 96 });
    expect(at(box(750, 100, 30, 20))).toEqual({ x: 642, y: 96 });
  });

  test("beside the whole of a small map, at its cell's height", () => {
    expect(at(box(420, 200, 20, 16), box(400, 100, 300, 200))).toEqual({ x: 292, y: 196 });
    expect(at(box(220, 200, 20, 16), box(200, 100, 300, 200))).toEqual({ x: 508, y: 196 });
  });

  test("below or above a map as wide as the page, at its cell", () => {
    expect(at(box(300, 200, 20, 16), box(10, 100, 780, 200))).toEqual({ x: 300, y: 308 });
    expect(at(box(750, 500, 20, 16), box(10, 400, 780, 190))).toEqual({ x: 696, y: 332 });
  });

  test("beside its cell where it can be nowhere beside the map, and on the page in any case", () => {
    expect(at(box(300, 200, 20, 16), box(0, 0, 800, 600))).toEqual({ x: 328, y: 196 });
    const { x, y } = at(box(0, 0, 800, 600));
    expect(x >= 0 && y >= 0 && x + 100 <= 800 && y + 60 <= 600).toBe(true);
  });
});
