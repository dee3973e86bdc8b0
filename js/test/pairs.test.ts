import { describe, expect, test } from "vitest";
import { swarm } from "../src/views/pairs";
import { heatmapState, live, mount, press } from "./helpers";
import { drawn, nextFrame } from "./setup";

const pair = (value: number, clean = "a b", corrupted = "a c") => ({ value, clean, corrupted });
const state = {
  kind: "pairs",
  group: "",
  title: "layer 2, to",
  unit: "recovered",
  pairs: [pair(0.9), pair(-0.2, "<b>Mary</b>"), pair(0.4)],
  mean: 0.37,
  low: -0.1,
  high: 0.8,
  note: "mean 0.37",
  selected: -1,
};
const list = (root: Element) => root.querySelector<HTMLElement>("[role=listbox]")!;
const dots = (root: Element) => [...root.querySelectorAll<SVGElement>("[role=option]")];
const x = (root: Element, css: string, name: string) => Number(root.querySelector(css)!.getAttribute(name));

describe("pairs", () => {
  test("a dot per pair, on one line with zero, the mean and its interval", () => {
    const { root } = mount(state);
    const [first, second, third] = dots(root).map((dot) => Number(dot.getAttribute("cx")));
    const [zero, mean] = [x(root, ".pw-dots-zero", "x1"), x(root, ".pw-dots-mean", "x1")];
    const unit = (first - second) / 1.1;
    expect(third - second).toBeCloseTo(0.6 * unit);
    expect(zero - second).toBeCloseTo(0.2 * unit);
    expect(mean - zero).toBeCloseTo(0.37 * unit);
    expect(x(root, ".pw-dots-interval", "x") - zero).toBeCloseTo(-0.1 * unit);
    expect(x(root, ".pw-dots-interval", "width")).toBeCloseTo(0.9 * unit);
  });

  test("texts are texts", () => {
    const { root } = mount(state);
    dots(root)[1].dispatchEvent(new Event("pointerenter"));
    expect(root.querySelector(".pw-tip")!.textContent).toContain("<b>Mary</b>");
    expect(root.querySelector("b")).toBeNull();
  });

  test("arrow keys go along the values, Enter opens a pair", async () => {
    const { model, root } = mount(state);
    press(list(root), "ArrowRight");
    expect(live(root)).toContain("pair 3 of 3, recovered 0.40");
    expect(list(root).getAttribute("aria-activedescendant")).toBe(dots(root)[2].id);
    press(list(root), "Home");
    expect(live(root)).toContain("pair 2 of 3, recovered \u22120.20, clean: <b>Mary</b>");
    press(list(root), "Enter");
    expect(model.sent).toEqual([{ type: "select", pos: 1 }]);
    await nextFrame();
    expect(dots(root).map((dot) => dot.getAttribute("aria-selected"))).toEqual(["false", "true", "false"]);
    press(list(root), "End");
    expect(live(root)).toContain("pair 1 of 3");
  });

  test("a pair's other value stands beside the first where there is one", () => {
    const pairs = [
      { ...pair(1.51), own: 0.94 },
      { ...pair(0.2), own: null },
    ];
    const { root } = mount({ ...state, unit: "recovered, of the mean gap", own: "recovered, of its own gap", pairs });
    const said = dots(root).map((dot) => dot.getAttribute("aria-label"));
    expect(said[0]).toContain("recovered, of the mean gap 1.51, recovered, of its own gap 0.94, clean");
    expect(said[1]).toContain("recovered, of the mean gap 0.20, clean");
    dots(root)[0].dispatchEvent(new Event("pointerenter"));
    const tip = [...root.querySelectorAll(".pw-tip-line")].map((line) => line.textContent);
    expect(tip.slice(0, 2)).toEqual(["recovered, of the mean gap1.51", "recovered, of its own gap0.94"]);
  });

  test("without pairs there is nothing, without an interval no bar", async () => {
    const { model, root } = mount({ ...state, pairs: [] });
    expect(root.hidden).toBe(true);
    model.set("pairs", [pair(0.5)]);
    model.set("low", null);
    await nextFrame();
    expect(root.hidden).toBe(false);
    expect(root.querySelector(".pw-dots-interval")).toBeNull();
  });

  test("equal values stand above each other, and none leaves the strip", () => {
    expect(swarm([10, 10, 10], 4, 20)).toEqual([0, -8, 8]);
    expect(swarm([10, 30], 4, 20)).toEqual([0, 0]);
    const crowd = swarm(new Array<number>(40).fill(5), 4, 20);
    expect(Math.max(...crowd.map(Math.abs))).toBeLessThanOrEqual(20);
  });
});

describe("intervals in a heatmap", () => {
  const fill = (value: number) => new Float32Array(12).fill(value);
  const marks = new Uint8Array(12);
  marks[3] = 4;
  marks[5] = 5;
  const words = {
    unit: "recovered",
    interval: "95% interval",
    interval_from: "bootstrap over 8 pairs",
    mark_1: "sufficient but not necessary",
    mark_1_short: "sufficient only",
    mark_4: "the interval includes 0",
    mark_4_short: "unsure",
  };
  const state = { ...heatmapState({ words }), low: fill(-0.1), high: fill(0.3), marks };
  const canvas = (root: Element) => root.querySelector("canvas")!;

  test("a circle is drawn where the interval includes zero, beside a ring where there is one", () => {
    const { root } = mount(state);
    expect(drawn(canvas(root)).filter(({ what }) => what === "circle").length).toBe(2);
    expect(drawn(canvas(root)).filter(({ what }) => what === "ring").length).toBe(1);
    const names = [...root.querySelectorAll(".pw-key-entry dt")].map((node) => node.textContent);
    expect(names).toEqual(["sufficient only", "unsure"]);
  });

  test("words without a ring, for a map of shares alone", () => {
    const marks = Uint8Array.from([8, 3, 1, 2, 8, 8, 8, 8, 8, 8, 8, 8]);
    const words = {
      unit: "share of kinds",
      alone: "yes",
      mark_1: "found by all",
      mark_1_short: "all",
      mark_2: "found by one",
      mark_2_short: "one",
      mark_3: "found by some",
      mark_3_short: "some",
      mark_8: "found by none",
      mark_8_short: "none",
    };
    const { root } = mount(heatmapState({ words, marks }));
    expect(drawn(canvas(root)).filter(({ what }) => what === "ring").length).toBe(2);
    expect(drawn(canvas(root)).filter(({ what }) => what === "circle").length).toBe(0);
    const grid = root.querySelector<HTMLElement>("[role=grid]")!;
    press(grid, "ArrowRight");
    const said = root.querySelector("[role=gridcell]")!.getAttribute("aria-label");
    expect(said).toContain("share of kinds 0.10, measured, found by some");
    const tip = root.querySelector(".pw-tip")!.textContent!;
    expect(tip).toContain("share of kinds0.10");
    expect(tip).not.toContain("patched");
    press(grid, "t");
    const cells = [...root.querySelectorAll(".pw-table td")].map((node) => node.textContent);
    expect(cells.slice(0, 4)).toEqual(["0.00 none", "0.10 some", "0.20 all", "0.30 one"]);
  });

  test("a share tells how many of how many it is, but not where nothing is counted", () => {
    const words = { unit: "share of kinds", alone: "yes", counted: "kinds that reach it", mark_1_short: "all" };
    const patched = fill(4);
    patched.set([0, 3, 2, NaN]);
    const { root } = mount(heatmapState({ words, effect: fill(2), patched }));
    const grid = root.querySelector<HTMLElement>("[role=grid]")!;
    press(grid, "ArrowRight");
    expect(root.querySelector("[role=gridcell]")!.getAttribute("aria-label")).toContain(
      "share of kinds 0.10, 2 of 3 kinds that reach it, measured",
    );
    const tip = [...root.querySelectorAll(".pw-tip-line")].map((line) => line.textContent);
    expect(tip).toEqual(["share of kinds0.10", "measured", "2 of 3 kinds that reach it"]);
    const printed = drawn(root.querySelector("canvas")!).flatMap(({ what, text }) => (what === "text" ? [text] : []));
    expect(printed.slice(0, 3)).toEqual(["2/3", "2/2", "2/4"]);
    press(grid, "t");
    const cells = [...root.querySelectorAll(".pw-table td")].map((node) => node.textContent);
    expect(cells.slice(0, 5)).toEqual(["0.00", "0.10 (2 of 3)", "0.20 (2 of 2)", "0.30", "0.10 (2 of 4)"]);
  });

  test("tooltip, speech and table tell the interval and the mark", () => {
    const { root } = mount(state);
    const grid = root.querySelector<HTMLElement>("[role=grid]")!;
    press(grid, "End");
    const said = "recovered 0.30, 95% interval \u22120.10 to 0.30, measured, the interval includes 0";
    expect(root.querySelector("[role=gridcell]")!.getAttribute("aria-label")).toContain(said);
    const tip = root.querySelector(".pw-tip")!.textContent!;
    for (const text of ["95% interval\u22120.10 to 0.30", "bootstrap over 8 pairs", "the interval includes 0"])
      expect(tip).toContain(text);
    press(grid, "t");
    const cells = [...root.querySelectorAll(".pw-table td")].map((node) => node.textContent);
    expect(cells[3]).toBe("0.30 (\u22120.10 to 0.30) unsure");
    expect(cells[5]).toBe("0.20 (\u22120.10 to 0.30) sufficient only unsure");
    expect(cells[0]).toBe("0.00 (\u22120.10 to 0.30)");
  });
});
