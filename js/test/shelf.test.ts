import { describe, expect, test } from "vitest";
import { active, heatmapState, mount, press } from "./helpers";
import { drawn, nextFrame } from "./setup";

const entries = [
  { id: 2, name: "z by layer and head, noise", detail: "logit difference \u00b7 16 cells" },
  { id: 1, name: "resid_pre by layer and token, denoise", detail: "<b>52</b> cells" },
];
const state = { kind: "shelf", group: "", entries, current: 1, a: 2, b: -1, told: "", undo: true, redo: false };
const named = (root: Element, label: string) =>
  [...root.querySelectorAll("button")].find((button) => button.getAttribute("aria-label")?.startsWith(label))!;

describe("shelf", () => {
  test("lists the runs as text and marks the one on screen", () => {
    const { root } = mount(state);
    const lines = [...root.querySelectorAll(".pw-shelf-line")];
    expect(lines.map((line) => line.getAttribute("aria-current"))).toEqual([null, "true"]);
    expect(lines[1].textContent).toContain("<b>52</b> cells");
    expect(root.querySelector("b")).toBeNull();
    expect(named(root, "Compare run 2 as A").getAttribute("aria-pressed")).toBe("true");
    expect(named(root, "Compare run 1 as A").getAttribute("aria-pressed")).toBe("false");
  });

  test("says what was asked for, once each", () => {
    const { model, root } = mount(state);
    for (const label of ["Bring back run 1", "Compare run 1 as B", "Remove run 2", "Clear"]) named(root, label).click();
    expect(model.sent).toEqual([
      { type: "show", id: 1 },
      { type: "b", id: 1 },
      { type: "remove", id: 2 },
      { type: "clear", id: -1 },
    ]);
  });

  test("the focus stays where it was when the list is drawn again", async () => {
    const { model, root } = mount(state);
    named(root, "Compare run 1 as B").focus();
    model.set("b", 1);
    await nextFrame();
    expect(document.activeElement?.getAttribute("aria-label")).toBe("Compare run 1 as B");
    expect(document.activeElement?.getAttribute("aria-pressed")).toBe("true");
  });

  test("what was removed can be brought back, and nothing is cleared where only the run on screen is left", async () => {
    const { model, root } = mount(state);
    expect(named(root, "Bring back the")).toBeUndefined();
    named(root, "Clear").focus();
    model.set("removed", 2);
    model.set("entries", [entries[1]]);
    await nextFrame();
    expect(named(root, "Clear")).toBeUndefined();
    expect(document.activeElement).toBe(named(root, "Bring back the 2 runs removed last"));
    named(root, "Bring back the 2").click();
    expect(model.sent).toEqual([{ type: "restore", id: -1 }]);
    model.set("removed", 1);
    model.set("entries", []);
    await nextFrame();
    expect(named(root, "Bring back the run removed last").textContent).toBe("Bring back");
  });

  test("a long list stays where it was scrolled, until another run comes", async () => {
    const { model, root } = mount(state);
    const list = () => root.querySelector(".pw-shelf-list")!;
    list().scrollTop = 40;
    model.set("current", 2);
    await nextFrame();
    expect(list().scrollTop).toBe(40);
    model.set("entries", [{ ...entries[0], id: 3 }, ...entries]);
    await nextFrame();
    expect(list().scrollTop).toBe(0);
  });

  test("an empty shelf says what it is for", () => {
    const { root } = mount({ ...state, entries: [] });
    expect(root.textContent).toContain("Runs are kept here");
    expect(root.querySelectorAll("button").length).toBe(0);
  });

  test("undo and redo keys work in the Explorer around it, but not in its fields", async () => {
    const around = document.createElement("div");
    around.className = "pw-x-root";
    const field = document.createElement("input");
    const { model, root } = mount(state);
    document.body.append(around);
    around.append(root.parentElement!, field);
    await nextFrame();
    expect(press(around, "z", { ctrlKey: true }).defaultPrevented).toBe(true);
    press(field, "z", { ctrlKey: true });
    press(around, "Z", { ctrlKey: true, shiftKey: true });
    press(around, "z");
    expect(model.sent).toEqual([{ type: "undo", id: -1 }]);
  });
});

describe("rings", () => {
  const marks = new Uint8Array(12);
  marks[1] = 1;
  marks[6] = 2;
  const words = { ...heatmapState().words, mark_1: "first said", mark_2: "second said", mark_1_short: "one" };

  test("are drawn, dashed for the second, explained, spoken and in the table", () => {
    const { root } = mount(heatmapState({ marks, words }));
    const rings = drawn(root.querySelector("canvas")!).filter((shape) => shape.what === "ring");
    expect(rings.map((ring) => ring.style)).toEqual(["solid", "dashed"]);
    expect(root.querySelector(".pw-key")?.textContent).toContain("first said");
    const grid = root.querySelector("[role=grid]")!;
    press(grid, "ArrowRight");
    expect(active(root)).toContain("first said");
    press(grid, "t");
    expect(root.querySelector(".pw-table tbody tr td:nth-of-type(2)")?.textContent).toBe("0.10 one");
  });

  test("are gone when there are none", async () => {
    const { model, root } = mount(heatmapState({ marks, words }));
    model.set("marks", null);
    await nextFrame();
    expect(drawn(root.querySelector("canvas")!).some((shape) => shape.what === "ring")).toBe(false);
    expect(root.querySelector(".pw-key")?.textContent).not.toContain("first said");
  });
});
