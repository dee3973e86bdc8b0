import { describe, expect, test } from "vitest";
import { printed, printing } from "../src/paint";

describe("a printed number", () => {
  test.each([
    [0.61, 1, 4, "0.61"],
    [0.61, 1, 3, ".61"],
    [0.996, 1, 4, "1.00"],
    [0.996, 1, 3, "1.0"],
    [-0.61, 1, 4, "\u2212.61"],
    [-0.61, 1, 3, "\u2212.6"],
    [-0.996, 1, 3, "\u22121"],
    [1.7, 1, 3, "1.7"],
    [12.34, 20, 3, "12"],
    [0.064, 0.09, 3, ".06"],
    [-123, 200, 3, ""],
    [12.3, 1, 3, "12"],
    [-123.4, 1, 4, "\u2212123"],
    [12345, 1, 3, "1e4"],
    [-98765, 1, 4, "\u22121e5"],
    [-98765, 1, 3, ""],
  ])("of %d on a scale of %d in %d characters is %s", (value, limit, room, text) => {
    expect(printed(value, limit, room)).toBe(text);
  });

  test("is never missing from a cell where another of the same scale has one", () => {
    for (let room = 3; room < 6; room++) {
      for (let hundredths = -140; hundredths <= 140; hundredths++) {
        const text = printed(hundredths / 100, 1, room);
        expect(text.length).toBeGreaterThan(0);
        expect(text.length).toBeLessThanOrEqual(room);
      }
    }
  });
});

test("cells with a font have room for the shortest number, and narrower ones print none", () => {
  for (let width = 8; width < 60; width++) {
    const print = printing(width, 22);
    if (width < 20) expect(print).toBeNull();
    else expect(print!.room).toBeGreaterThanOrEqual(3);
    if (print) expect(print.font).toContain(`${print.size}px`);
  }
  expect(printing(60, 10)).toBeNull();
});
