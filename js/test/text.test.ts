import { expect, test } from "vitest";
import cases from "../../tests/shown_tokens.json";
import { counted, decimal, percent, quoted, signed, tight, visible } from "../src/text";

test.each(cases as [string, string][])("the token %j is shown as %s", (token, shown) => {
  expect(visible(token)).toBe(shown);
});

test("half a character is named", () => {
  expect(visible("a\ud800")).toBe("a\u27e8d800\u27e9");
});

test("one of a thing is in the singular", () => {
  expect([0, 1, 2].map((n) => counted(n, "row"))).toEqual(["0 rows", "1 row", "2 rows"]);
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
