import { describe, expect, test, vi } from "vitest";
import { hover } from "../src/bus";
import { STATUS } from "../src/cells";
import { Scale } from "../src/colour";
import { active, heatmapState, live, mount, pointAt, press, tokens } from "./helpers";
import { drawn, nextFrame, systemTheme } from "./setup";

const canvasOf = (root: Element) => root.querySelector("canvas")!;
const plotOf = (root: Element) => root.querySelector(".pw-plot")!;
const gridOf = (root: Element) => root.querySelector<HTMLElement>("[role=grid]")!;
const cellW = (root: Element) => parseFloat(root.querySelector<HTMLElement>(".pw-col")!.style.width);
const cellH = (root: Element) => parseFloat(root.querySelector<HTMLElement>(".pw-rowlabel")!.style.height);
const at = (root: Element, row: number, col: number): [number, number] => [
  (col + 0.5) * cellW(root),
  (row + 0.5) * cellH(root),
];

/** The colours of the drawn cells by row and column; what has no fill is missing. */
function fills(root: Element): Map<string, unknown> {
  const found = new Map<string, unknown>();
  for (const { what, x, y, w, style } of drawn(canvasOf(root))) {
    if (what === "rect" && w > cellW(root) / 2)
      found.set(`${Math.round(y / cellH(root))},${Math.round(x / cellW(root))}`, style);
  }
  return found;
}

const cellsMessage = (at: number[], values: number[], status: number[]) => [
  Int32Array.from(at),
  Float32Array.from(values),
  Float32Array.from(values),
  Float32Array.from(values),
  Uint8Array.from(status),
];

test("a map of one row says so", () => {
  const { root } = mount(heatmapState({ rows: ["0"], row_keys: [{ layer: 0 }], status: new Uint8Array(4) }));
  expect(gridOf(root).getAttribute("aria-label")).toContain("1 row by 4 columns.");
});

describe("drawing", () => {
  test("what one frame brings is drawn once, and asks for no layout of the page", async () => {
    const asked = vi.spyOn(Element.prototype, "clientWidth", "get").mockReturnValue(500);
    const styles = vi.spyOn(globalThis, "getComputedStyle").mockReturnValue({ width: "500px" } as CSSStyleDeclaration);
    const { root, model } = mount(heatmapState());
    const cleared = vi.spyOn(canvasOf(root).getContext("2d")!, "clearRect");
    const scrolled = vi.spyOn(Element.prototype, "scrollLeft", "get");
    for (const spy of [asked, styles]) spy.mockClear();
    model.set("words", { title: "A map" });
    model.set("effect", new Float32Array(12).fill(0.2));
    model.set("quantity", "effect");
    model.deliver({ type: "cells" }, cellsMessage([6], [0.7], [0]));
    await nextFrame();
    for (const spy of [asked, styles, scrolled]) expect(spy).not.toHaveBeenCalled();
    expect(cleared).toHaveBeenCalledTimes(1);
    expect(fills(root).get("1,2")).toBe(new Scale("light", 1).fill(0.7));
    for (const spy of [asked, styles, scrolled, cleared]) spy.mockRestore();
  });

  test("a cell has the colour of its value", () => {
    const { root } = mount(heatmapState());
    const scale = new Scale("light", 1);
    expect(fills(root).get("2,3")).toBe(scale.fill(0.5));
    expect(fills(root).get("0,1")).toBe(scale.fill(0.1));
  });

  test("the quantity chosen is the one coloured and printed", () => {
    const { root } = mount(heatmapState({ quantity: "effect", limit: 5 }));
    expect(fills(root).get("2,3")).toBe(new Scale("light", 5).fill(2.5));
    expect(drawn(canvasOf(root)).some(({ text }) => text === "2.50")).toBe(true);
  });

  test("numbers near zero are left to the colour", () => {
    const { root } = mount(heatmapState());
    const texts = drawn(canvasOf(root)).flatMap(({ text }) => text ?? []);
    expect(texts).toContain("0.10");
    expect(texts).not.toContain("0.00");
  });

  test("the five statuses are drawn unlike each other, and only found values as values", () => {
    const status = Uint8Array.from([0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0]);
    const normalized = Float32Array.from({ length: 12 }, (_, i) => (i === 1 ? 0 : i === 3 || i === 4 ? NaN : 0.5));
    const { root } = mount(heatmapState({ status, normalized, state: "running" }));
    const colour = new Scale("light", 1).fill(0.5);
    const found = fills(root);
    expect(found.get("0,0")).toBe(colour);
    expect(found.get("0,2")).toBe(colour);
    expect(found.has("0,3")).toBe(false);
    expect(typeof found.get("0,1")).toBe("object"); // a hatch
    expect(typeof found.get("1,0")).toBe("object");
    expect(found.get("0,1")).not.toBe(found.get("1,0"));
    const marks = drawn(canvasOf(root)).filter(({ y, w }) => y < cellH(root) && w < 3);
    expect(marks.filter(({ x }) => x > 2 * cellW(root) && x < 3 * cellW(root)).length).toBeGreaterThan(3); // an estimate's dots
    expect(marks.filter(({ x }) => x > 3 * cellW(root))).toHaveLength(1); // what is still to come
  });

  test.each([
    ["cancelled", "not measured: the run was cancelled", "the run was cancelled"],
    ["error", "not measured: the run ended in an error", "the run ended in an error"],
    ["done", "not measured", "there is no value here"],
  ])("what a run that is %s has not measured is drawn, told and in the key", (state, told, text) => {
    const status = Uint8Array.from([0, 1, 4, 3, 3, 0, 0, 0, 0, 0, 0, 0]);
    const normalized = Float32Array.from({ length: 12 }, (_, i) => (i > 1 && i < 5 ? NaN : 0));
    const { model, root } = mount(heatmapState({ status, normalized, state: "running" }));
    const names = () => [...root.querySelectorAll(".pw-key dt")].map((term) => term.textContent);
    expect([fills(root).has("0,3"), names().includes("pending")]).toEqual([false, true]);
    model.set("state", state);
    model.set("words", { title: "A map" }); // what is drawn again is the state's too
    return nextFrame().then(() => {
      const [dotted, implied, unavailable] = ["0,3", "0,1", "0,2"].map((cell) => fills(root).get(cell));
      expect(typeof dotted).toBe("object");
      expect(new Set([dotted, implied, unavailable]).size).toBe(3);
      expect(fills(root).get("1,0")).toBe(dotted);
      expect(names()).toContain("not measured");
      expect(root.querySelector(".pw-unmeasured")!.closest("div")!.querySelector("dd")!.textContent).toBe(text);
      press(gridOf(root), "Home");
      press(gridOf(root), "End");
      expect(active(root)).toBe(`layer 0, position 3 ' to', ${told}`);
    });
  });

  test("the key speaks of implied cells in means only where there are some", async () => {
    const means = { row_means: new Float32Array(3), col_means: new Float32Array(4) };
    const told = (root: Element) => root.querySelector(".pw-meanbar")!.closest("div")!.querySelector("dd")!.textContent;
    expect(told(mount(heatmapState(means)).root)).not.toContain("implied");
    const status = new Uint8Array(12).fill(STATUS.implied, 0, 1);
    expect(told(mount(heatmapState({ ...means, status })).root)).toContain("implied ones as 0");
  });

  test("a value past the end of the scale keeps its number and gets a corner mark", () => {
    const normalized = new Float32Array(12);
    normalized[5] = 1.7;
    const { root } = mount(heatmapState({ normalized }));
    const marks = drawn(canvasOf(root));
    expect(marks.filter(({ what }) => what === "triangle")).toHaveLength(1);
    expect(marks.some(({ text }) => text === "1.70")).toBe(true);
    expect(root.querySelector(".pw-beyond")).not.toBeNull();
  });

  test("the key explains what is there and nothing else", () => {
    const names = (root: Element) => [...root.querySelectorAll(".pw-key dt")].map((dt) => dt.textContent);
    expect(names(mount(heatmapState()).root)).toEqual(["near 1", "near 0"]);
    const status = new Uint8Array(12).fill(STATUS.implied);
    expect(names(mount(heatmapState({ status })).root)).toEqual(["implied"]);
  });

  test("a switch of theme redraws in the other palette", async () => {
    const { root } = mount(heatmapState());
    systemTheme("dark");
    expect(root.dataset["pwTheme"]).toBe("dark");
    expect(fills(root).get("2,3")).toBe(new Scale("dark", 1).fill(0.5));
  });

  test("a small map has its scale beside its title and no key", () => {
    const { root } = mount(heatmapState({ compact: true, limit: 0.6 }));
    expect(root.querySelector(".pw-smallbar")?.textContent).toBe("\u22120.60.6");
    expect(root.querySelector<HTMLElement>(".pw-foot")!.hidden).toBe(true);
  });

  test("a note stands below the map, as text, and goes again", async () => {
    const { model, root } = mount(heatmapState({ compact: true, words: { note: "Above <b>the line</b>" } }));
    const note = root.querySelector<HTMLElement>(".pw-note")!;
    expect([note.hidden, note.textContent]).toEqual([false, "Above <b>the line</b>"]);
    model.set("words", {});
    await nextFrame();
    expect(note.hidden).toBe(true);
  });

  test("with a kernel the hints say that Enter opens", () => {
    expect(mount(heatmapState()).root.querySelector(".pw-keys")!.textContent).toContain("Enter open ");
  });

  test("the line stands below its row", () => {
    const { root } = mount(heatmapState({ line: 1 }));
    const line = root.querySelector<HTMLElement>(".pw-line")!;
    expect(line.hidden).toBe(false);
    expect(parseFloat(line.style.top) + 1).toBe(2 * cellH(root));
  });
});

describe("data", () => {
  test("a partial update is drawn in every view of the model", async () => {
    const { model, root, another } = mount(heatmapState());
    const second = another();
    model.deliver({ type: "cells" }, cellsMessage([11], [-1], [0]));
    await nextFrame();
    const colour = new Scale("light", 1).fill(-1);
    expect(fills(root).get("2,3")).toBe(colour);
    expect(fills(second).get("2,3")).toBe(colour);
    expect(fills(root).get("2,2")).toBe(new Scale("light", 1).fill(0.4));
  });

  test("a view opened later has what the messages brought", () => {
    const { model, another } = mount(heatmapState());
    model.deliver({ type: "cells" }, cellsMessage([11], [-1], [0]));
    expect(fills(another()).get("2,3")).toBe(new Scale("light", 1).fill(-1));
  });

  test("a whole trait replaces what the messages brought", async () => {
    const { model, root } = mount(heatmapState());
    model.deliver({ type: "cells" }, cellsMessage([11], [-1], [0]));
    model.set("normalized", new Float32Array(12).fill(0.2));
    await nextFrame();
    expect(fills(root).get("2,3")).toBe(new Scale("light", 1).fill(0.2));
  });

  test("an empty map appears when it gets its grid", async () => {
    const { model, root } = mount(heatmapState({ rows: [], columns: tokens([]) }));
    const { rows, columns } = heatmapState();
    model.set("rows", rows);
    model.set("columns", columns);
    await nextFrame();
    expect(root.hidden).toBe(false);
    expect(fills(root).get("2,3")).toBe(new Scale("light", 1).fill(0.5));
  });

  test("messages of another kind are left alone", () => {
    const { model } = mount(heatmapState());
    expect(() => model.deliver({ type: "other" })).not.toThrow();
  });

  test("a view that has ended is gone and hears nothing", async () => {
    const { model, root, end } = mount(heatmapState());
    end();
    expect(root.isConnected).toBe(false);
    model.set("rows", ["0"]);
    await nextFrame();
    expect(document.querySelector(".pw-root")).toBeNull();
  });
});

describe("choosing", () => {
  test("a click sends exactly one message and writes no trait", () => {
    const { model, root } = mount(heatmapState());
    const set = vi.spyOn(model, "set");
    pointAt(plotOf(root), "click", ...at(root, 2, 1));
    expect(model.sent).toEqual([{ type: "select", row: 2, col: 1 }]);
    expect(set).not.toHaveBeenCalled();
  });

  test("the choice is marked at once in both views, and the kernel has the last word", async () => {
    const { model, root, another } = mount(heatmapState());
    const second = another();
    pointAt(plotOf(root), "click", ...at(root, 2, 1));
    const chosen = (view: Element) =>
      [...view.querySelectorAll(".pw-rowlabel")].findIndex((l) => l.classList.contains("pw-on"));
    expect([chosen(root), chosen(second)]).toEqual([2, 2]);
    model.set("selected", [0, 1]);
    expect([chosen(root), chosen(second)]).toEqual([0, 0]);
    model.set("selected", []);
    expect(root.querySelector<HTMLElement>(".pw-chosen")!.hidden).toBe(true);
  });

  test("a choice that comes with a smaller grid is heard before the grid is", () => {
    const { model, root } = mount(heatmapState());
    press(gridOf(root), "End");
    const [get, columns] = [model.get.bind(model), tokens([" When", " Mary"])];
    vi.spyOn(model, "get").mockImplementation((key) => (key === "columns" ? columns : get(key)));
    expect(() => model.set("selected", [0, 1])).not.toThrow();
    vi.restoreAllMocks();
  });

  test("a selection outside the grid marks nothing", () => {
    const { root } = mount(heatmapState({ selected: [9, 9] }));
    expect(root.querySelector<HTMLElement>(".pw-chosen")!.hidden).toBe(true);
  });
});

describe("keyboard", () => {
  test("arrows move, Enter chooses with one message, and JupyterLab hears none of it", () => {
    const { model, root } = mount(heatmapState());
    const outside = vi.fn();
    document.addEventListener("keydown", outside);
    for (const key of ["ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp"]) press(gridOf(root), key);
    expect(active(root)).toBe("layer 1, position 1 ' Mary' / ' Anna', recovered 0.20, measured");
    expect(press(gridOf(root), "Enter").defaultPrevented).toBe(true);
    expect(model.sent).toEqual([{ type: "select", row: 1, col: 1 }]);
    press(gridOf(root), "End");
    press(gridOf(root), " ");
    expect(model.sent).toHaveLength(2);
    expect(model.sent[1]).toEqual({ type: "select", row: 1, col: 3 });
    expect(outside).not.toHaveBeenCalled();
    document.removeEventListener("keydown", outside);
  });

  test("Home and End go along the row, with Ctrl to the corners", () => {
    const { root } = mount(heatmapState());
    press(gridOf(root), "End", { ctrlKey: true });
    expect(active(root)).toMatch(/^layer 2, position 3 /);
    press(gridOf(root), "Home");
    expect(active(root)).toMatch(/^layer 2, position 0 /);
    press(gridOf(root), "Home", { ctrlKey: true });
    expect(active(root)).toMatch(/^layer 0, position 0 /);
  });

  test("other keys are left to the page", () => {
    const { root } = mount(heatmapState());
    const outside = vi.fn();
    document.addEventListener("keydown", outside);
    for (const [key, more] of [
      ["x", {}],
      ["Enter", { shiftKey: true }],
      ["Escape", {}],
      ["s", { ctrlKey: true }],
    ] as const) {
      expect(press(gridOf(root), key, more).defaultPrevented).toBe(false);
    }
    expect(outside).toHaveBeenCalledTimes(4);
    document.removeEventListener("keydown", outside);
  });

  test("what is announced is never a number that was not found", () => {
    const status = new Uint8Array(12).fill(STATUS.pending);
    const { root } = mount(heatmapState({ status, normalized: new Float32Array(12).fill(NaN), state: "running" }));
    press(gridOf(root), "Home");
    expect(active(root)).toBe("layer 0, position 0 ' When', not measured yet");
  });

  test("T shows the values as a table, Escape and T go back", () => {
    const status = new Uint8Array(12);
    status[0] = STATUS.implied;
    const { root } = mount(heatmapState({ status }));
    press(gridOf(root), "t");
    const box = root.querySelector<HTMLElement>(".pw-tablebox")!;
    expect(box.hidden).toBe(false);
    expect(gridOf(root).parentElement!.hidden).toBe(true);
    expect(document.activeElement).toBe(box);
    const cells = [...box.querySelectorAll("tbody tr")].map((tr) => [...tr.children].map((td) => td.textContent));
    expect(cells[0]).toEqual(["0", "0.00 implied", "0.10", "0.20", "0.30"]);
    expect(cells[2][4]).toBe("0.50");
    expect(box.querySelectorAll("th[scope=col]")[2].textContent).toBe("1 \u00b7Mary / \u00b7Anna");
    press(box, "Escape");
    expect(box.hidden).toBe(true);
    expect(document.activeElement).toBe(gridOf(root));
  });

  test("+ and - zoom, 0 goes back, and a small map stays as it is", () => {
    const { root } = mount(heatmapState());
    const [w, h] = [cellW(root), cellH(root)];
    press(gridOf(root), "+");
    expect([cellW(root), cellH(root)]).toEqual([96, 48]);
    expect(live(root)).toBe("cells of 96 by 48 pixels");
    press(gridOf(root), "+");
    press(gridOf(root), "-");
    expect([cellW(root), cellH(root)]).toEqual([w, h]);
    [...root.querySelectorAll("button")].find((b) => b.getAttribute("aria-label") === "zoom out")!.click();
    expect([cellW(root), cellH(root)]).toEqual([Math.round(w / 1.5), Math.round(h / 1.5)]);
    press(gridOf(root), "0");
    expect([cellW(root), cellH(root)]).toEqual([w, h]);
    const small = mount(heatmapState({ compact: true })).root;
    const before = cellW(small);
    press(gridOf(small), "+");
    expect(cellW(small)).toBe(before);
  });

  test("an empty map is not shown and takes no keys", () => {
    const { model, root } = mount(heatmapState({ rows: [], columns: tokens([]) }));
    expect(root.hidden).toBe(true);
    expect(press(gridOf(root), "Enter").defaultPrevented).toBe(false);
    expect(model.sent).toEqual([]);
  });
});

describe("hover", () => {
  test("the tooltip follows the values of its cell, and goes with its cell", async () => {
    const { model, root } = mount(heatmapState());
    const tip = root.querySelector<HTMLElement>(".pw-tip")!;
    pointAt(plotOf(root), "pointermove", ...at(root, 1, 1));
    expect(tip.textContent).toContain("0.20");
    model.deliver({ type: "cells" }, cellsMessage([5], [0.75], [0]));
    await nextFrame();
    expect(tip.textContent).toContain("0.75");
    model.set("rows", ["0"]);
    await nextFrame();
    expect(tip.hidden).toBe(true);
  });

  test("the tooltip tells place, numbers and status", () => {
    const { root } = mount(heatmapState());
    pointAt(plotOf(root), "pointermove", ...at(root, 2, 3));
    const tip = root.querySelector<HTMLElement>(".pw-tip")!;
    expect(tip.hidden).toBe(false);
    expect([...tip.children].map((line) => line.textContent)).toEqual([
      "layer 2 \u00b7 position 3 ' to'",
      "recovered0.50",
      "effect+2.50",
      "patched0.50",
      "measured",
    ]);
    pointAt(plotOf(root), "pointerleave", 0, 0);
    expect(tip.hidden).toBe(true);
  });

  test("linked views mark the row and the column that match", () => {
    const first = mount(heatmapState({ group: "g" })).root;
    const heads = heatmapState({
      group: "g",
      columns: { kind: "labels", title: "head", labels: ["0", "1", "2", "3"] },
      col_keys: [0, 1, 2, 3].map((head) => ({ head })),
    });
    const second = mount(heads).root;
    const hot = (view: Element, what: string) =>
      [...view.querySelectorAll(what)].flatMap((node, i) => (node.classList.contains("pw-hot") ? [i] : []));
    pointAt(plotOf(first), "pointermove", ...at(first, 1, 2));
    expect([hot(first, ".pw-rowlabel"), hot(first, ".pw-col")]).toEqual([[1], [2]]);
    expect([hot(second, ".pw-rowlabel"), hot(second, ".pw-col")]).toEqual([[1], []]);
    hover("g", null);
    expect(hot(second, ".pw-rowlabel")).toEqual([]);
  });
});

test("tokens, words and labels are text, whatever they look like", () => {
  const hostile = '<img src=x onerror="document.body.dataset.hit=1">';
  const { root } = mount(
    heatmapState({
      columns: tokens([hostile, " a", " b", " c"], [" z", " a", " b", " c"]),
      rows: [hostile, "1", "2"],
      words: { title: hostile, unit: hostile, sentence: hostile, high: hostile, origin: hostile },
    }),
  );
  pointAt(plotOf(root), "pointermove", ...at(root, 0, 0));
  press(gridOf(root), "t");
  expect(root.querySelector("img")).toBeNull();
  expect(document.body.dataset["hit"]).toBeUndefined();
  expect(root.querySelector(".pw-title")?.textContent).toBe(hostile);
  expect(root.querySelector(".pw-col")?.textContent).toContain(hostile);
});

test("a map of plain values tells what they are and nothing else", () => {
  const state = heatmapState({
    quantity: "effect",
    limit: 10,
    words: { title: "Activation", unit: "activation", value: "activation" },
  });
  const { root } = mount(state);
  pointAt(plotOf(root), "pointermove", ...at(root, 1, 2));
  const lines = [...document.querySelectorAll(".pw-tip-line")].map((line) => line.textContent);
  expect(lines.at(-1)).toBe("activation+1.50");
});
