import { expect, test } from "vitest";
import { decimal, percent, quoted, signed, tight, visible } from "../src/text";

test.each([
  [" Mary", "\u00b7Mary"],
  ["  two", "\u00b7\u00b7two"],
  ["end ", "end\u00b7"],
  ["    ", "\u00b7\u00b7\u00b7\u00b7"],
  ["a b", "a b"],
  ["\n\n", "\u21b5\u21b5"],
  [" \t", "\u00b7\u21e5"],
  ["\u200b", "\u27e8200b\u27e9"],
  ["\u202eabc", "\u27e8202e\u27e9abc"],
  ["", "\u2205"],
  ["\u{1f469}\u200d\u{1f52c}", "\u{1f469}\u200d\u{1f52c}"],
  ["\u2764\ufe0f\u200d\u{1f525}", "\u2764\ufe0f\u200d\u{1f525}"],
  ["a\u200db\ufe0f", "a\u27e8200d\u27e9b\u27e8fe0f\u27e9"],
  ["\u200d", "\u27e8200d\u27e9"],
  ["\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u27e8200c\u27e9\u062e"],
  ["a\u00a0b\u3000", "a\u27e8a0\u27e9b\u27e83000\u27e9"],
  ["\u034f\u3164\u2028", "\u27e834f\u27e9\u27e83164\u27e9\u27e82028\u27e9"],
  ["\u0301", "\u25cc\u0301"],
  ["<b>", "<b>"],
])("the token %j is shown as %s", (token, shown) => {
  expect(visible(token)).toBe(shown);
});

test("a quoted token keeps its spaces", () => {
  expect(quoted(" John")).toBe("' John'");
});

test.each([
  [0.614, 1, "0.61"],
  [-0.25, 1, "\u22120.25"],
  [-0.001, 1, "0.00"],
  [12.345, 20, "12.3"],
  [0.0123, 0.05, "0.012"],
  [1234.4, 2000, "1234"],
  [NaN, 1, "\u2013"],
  [Infinity, 1, "\u221e"],
])("%d on a scale of %d is printed as %s", (value, limit, text) => {
  expect(decimal(value, limit)).toBe(text);
});

test("differences carry their sign, and zero none", () => {
  expect(signed(3.86)).toBe("+3.86");
  expect(signed(-3.86)).toBe("\u22123.86");
  expect(signed(0.001)).toBe("0.00");
});

test("narrow cells drop the leading zero alone", () => {
  expect(tight("0.61")).toBe(".61");
  expect(tight("\u22120.25")).toBe("\u2212.25");
  expect(tight("10.25")).toBe("10.25");
});

test.each([
  [0.923, "92%"],
  [0.0994, "9.9%"],
  [0.0996, "10%"],
  [0.0214, "2.1%"],
  [0.0001, "<0.1%"],
  [0, "0.0%"],
])("the probability %d is printed as %s", (p, text) => {
  expect(percent(p)).toBe(text);
});
