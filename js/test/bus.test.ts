import { expect, test, vi } from "vitest";
import { hover, matches, onHover } from "../src/bus";

test("a hover reaches the views of its group and no others", () => {
  const [same, other, none] = [vi.fn(), vi.fn(), vi.fn()];
  const { signal } = new AbortController();
  onHover(() => "a", same, signal);
  onHover(() => "b", other, signal);
  onHover(() => "", none, signal);
  hover("a", { pos: 3 });
  hover("", { pos: 4 });
  expect(same.mock.calls).toEqual([[{ pos: 3 }]]);
  expect(other).not.toHaveBeenCalled();
  expect(none).not.toHaveBeenCalled();
});

test("a view that has ended hears nothing", () => {
  const mark = vi.fn();
  const ending = new AbortController();
  onHover(() => "a", mark, ending.signal);
  ending.abort();
  hover("a", null);
  expect(mark).not.toHaveBeenCalled();
});

test("what is marked shares all its keys with what is hovered", () => {
  expect(matches({ layer: 3 }, { layer: 3, pos: 5 })).toBe(true);
  expect(matches({ layer: 3, head: 1 }, { layer: 3, pos: 5 })).toBe(false);
  expect(matches({}, { layer: 3 })).toBe(false);
  expect(matches(undefined, { layer: 3 })).toBe(false);
  expect(matches({ layer: 3 }, null)).toBe(false);
});
