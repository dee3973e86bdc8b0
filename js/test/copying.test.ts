import { afterEach, describe, expect, test, vi } from "vitest";
import { copied, exact } from "../src/copying";
import { heatmapState, live, mount, press } from "./helpers";

describe("numbers", () => {
  test("are the fewest digits that no other float32 has", () => {
    for (const [value, text] of [
      [0.1, "0.1"],
      [1 / 3, "0.33333334"],
      [-16777216, "-16777216"],
      [1e-8, "1e-8"],
      [0, "0"],
    ] as const) {
      expect(exact(Math.fround(value))).toBe(text);
      expect(Math.fround(Number(text))).toBe(Math.fround(value));
    }
    expect(exact(NaN)).toBe("");
  });

  test("of any bits are read back as the same float32", () => {
    const bits = Uint32Array.from({ length: 2000 }, (_, i) => (i * 2654435761) >>> 0);
    for (const value of new Float32Array(bits.buffer)) {
      if (Number.isFinite(value)) expect(Math.fround(Number(exact(value)))).toBe(value);
    }
  });
});

test("names hold no tab and no line break of their own", () => {
  const spec = { caption: "", corner: "a\tb", rows: ["r\n"], cols: ["c\r\n"], cell: () => "" };
  expect(copied("table", 0, 0, spec, Float32Array.of(2))).toBe("a b\tc \nr \t2");
});

describe("a map", () => {
  const settled = () => new Promise((resolve) => setTimeout(resolve));
  const allow = (writeText: (text: string) => Promise<void>) =>
    Object.defineProperty(navigator, "clipboard", { value: { writeText }, configurable: true });
  afterEach(() => Reflect.deleteProperty(navigator, "clipboard"));
  const normalized = Float32Array.from({ length: 12 }, (_, i) => (i === 5 ? NaN : i / 7));

  test("copies the cell, the row, the column and the whole at its cursor", async () => {
    const write = vi.fn(async (_: string) => undefined);
    allow(write);
    const { root } = mount(heatmapState({ normalized }));
    const grid = root.querySelector("[role=grid]")!;
    press(grid, "ArrowDown");
    press(grid, "ArrowRight");
    for (const key of ["c", "r", "l", "a"]) expect(press(grid, key).defaultPrevented).toBe(true);
    await settled();
    const [cell, row, column, whole] = write.mock.calls.map(([text]) =>
      text.split("\n").map((line) => line.split("\t")),
    );
    const heads = ["0 \u00b7When", "1 \u00b7Mary / \u00b7Anna", "2 \u00b7gave", "3 \u00b7to"];
    expect(cell).toEqual([[""]]);
    expect(row[0]).toEqual(["layer", ...heads]);
    expect(row).toHaveLength(2);
    expect(row[1][0]).toBe("1");
    expect(row[1].slice(1).map((text) => (text === "" ? NaN : Math.fround(Number(text))))).toEqual([
      ...normalized.slice(4, 8),
    ]);
    expect(column.map((line) => line[0])).toEqual(["layer", "0", "1", "2"]);
    expect(column.map((line) => line[1])).toEqual([heads[1], exact(normalized[1]), "", exact(normalized[9])]);
    expect(whole).toHaveLength(4);
    expect(whole.slice(1).flatMap((line) => line.slice(1))).toEqual([...normalized].map(exact));
    expect(live(root)).toBe("table copied");
    expect(root.querySelector(".pw-told")!.textContent).toBe("table copied");
  });

  test("shows the text where the page may not copy", async () => {
    allow(() => Promise.reject(new Error("denied")));
    const { root } = mount(heatmapState({ normalized }));
    [...root.querySelectorAll("button")].find((b) => b.getAttribute("aria-label") === "copy row")!.click();
    await settled();
    const box = root.querySelector("textarea")!;
    expect([box.hidden, box.value.split("\n").length]).toEqual([false, 2]);
  });
});
