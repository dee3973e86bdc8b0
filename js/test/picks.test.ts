import { describe, expect, test } from "vitest";
import { live, mount, pointAt, press, tokens } from "./helpers";
import { nextFrame } from "./setup";

describe("alignment editor", () => {
  const columns = {
    ...tokens(["[BOS]", "The", "famous", "Eiffel", "is"], ["[BOS]", "The", null, "Leaning", "is"], 0),
    numbers: ["0", "1", "2/\u2013", "3/2", "4/3"],
  };
  const state = { kind: "tokens", group: "g", columns, selected: -1, editing: "proposed" };
  const token = (root: Element, run: string, column: number) =>
    root.querySelectorAll(".pw-col")[column].querySelector(`.pw-${run}`)!;
  const at = (root: Element, run: string, column: number) => {
    const box = root.querySelectorAll<HTMLElement>(".pw-col")[column];
    const x = parseFloat(box.style.left) + parseFloat(box.style.width) / 2;
    const height = parseFloat(root.querySelector<HTMLElement>(".pw-header")!.style.height);
    pointAt(root.querySelector(".pw-strip-sheet")!, "click", x, run === "clean" ? 2 : height - 2);
  };
  const button = (root: Element, name: string) =>
    [...root.querySelectorAll<HTMLButtonElement>(".pw-edit-button")].find((b) => b.textContent === name)!;
  const picked = (root: Element) => [...root.querySelectorAll(".pw-picked")].map((node) => node.textContent);

  test("shows both prompts whole, with a mark where one has no token and the positions of both", () => {
    const { root } = mount(state);
    const texts = [...root.querySelectorAll(".pw-col")].map((box) => [...box.children].map((t) => t.textContent));
    expect(texts).toEqual([
      ["BOS", "BOS"],
      ["The", "The"],
      ["famous", ""],
      ["Eiffel", "Leaning"],
      ["is", "is"],
    ]);
    expect([...root.querySelectorAll(".pw-gap")].map((node) => node.className)).toEqual([
      expect.stringContaining("pw-corrupted"),
    ]);
    const gap = root.querySelector<HTMLElement>(".pw-gap")!;
    expect([gap.title, gap.querySelectorAll(".pw-nothing").length]).toEqual(["no token here", 1]);
    expect([...root.querySelectorAll(".pw-differs")].map((box) => box.textContent)).toEqual([
      "famous",
      "EiffelLeaning",
    ]);
    expect([...root.querySelectorAll(".pw-number")].map((n) => n.textContent)).toEqual(columns.numbers);
    expect(root.querySelector("[role=group]")!.getAttribute("aria-label")).toContain("'famous' / no corrupted token");
  });

  test("columns are wide enough for their positions", () => {
    const { root } = mount({ ...state, columns: { ...columns, numbers: columns.numbers.map((n) => `10${n}/10${n}`) } });
    const boxes = [...root.querySelectorAll<HTMLElement>(".pw-col")].map((box) => parseFloat(box.style.width));
    const plain = [...mount(state).root.querySelectorAll<HTMLElement>(".pw-col")].map((b) => parseFloat(b.style.width));
    expect(boxes[4]).toBeGreaterThan(plain[4]);
  });

  test("a click picks one token of each run, and the buttons ask by column", () => {
    const { model, root } = mount(state);
    expect(button(root, "Pair").disabled && button(root, "Unpair").disabled && button(root, "Reset").disabled).toBe(
      true,
    );
    at(root, "clean", 2);
    expect(button(root, "Pair").disabled).toBe(true);
    at(root, "corrupted", 3);
    expect(picked(root)).toEqual(["famous", "Leaning"]);
    button(root, "Pair").click();
    expect(model.sent).toEqual([{ type: "pair", clean: 2, corrupted: 3 }]);
    at(root, "clean", 2);
    expect(picked(root)).toEqual(["Leaning"]);
    button(root, "Unpair").click();
    expect(model.sent[1]).toEqual({ type: "unpair", clean: -1, corrupted: 3 });
  });

  test("a gap cannot be picked", () => {
    const { model, root } = mount(state);
    at(root, "corrupted", 2);
    expect(picked(root)).toEqual([]);
    expect(live(root)).toBe("the corrupted prompt has no token here");
    press(root.querySelector("[role=group]")!, "p");
    expect(model.sent).toEqual([]);
  });

  test("the keys do the same and are announced", () => {
    const { model, root } = mount(state);
    const group = root.querySelector("[role=group]")!;
    for (const key of ["ArrowRight", "ArrowRight"]) press(group, key);
    expect(live(root)).toBe("clean 'famous'");
    expect(token(root, "clean", 2).classList.contains("pw-caret")).toBe(true);
    press(group, "Enter");
    for (const key of ["ArrowDown", "ArrowRight", " "]) press(group, key);
    expect(live(root)).toBe("picked: corrupted 'Leaning'");
    press(group, "P");
    expect(model.sent).toEqual([{ type: "pair", clean: 2, corrupted: 3 }]);
    press(group, "Escape");
    expect(picked(root)).toEqual([]);
    expect(press(group, "a").defaultPrevented).toBe(false);
  });

  test("new columns forget what was picked, and an edited alignment can be reset", async () => {
    const { model, root } = mount(state);
    at(root, "clean", 3);
    model.set("editing", "edited");
    model.set("columns", tokens(["The", "Eiffel"], ["The", null]));
    await nextFrame();
    expect(picked(root)).toEqual([]);
    button(root, "Reset").click();
    expect(model.sent).toEqual([{ type: "reset", clean: -1, corrupted: -1 }]);
  });

  test("without an alignment there is no editor, and a click chooses the position", () => {
    const { model, root } = mount({ ...state, editing: "off" });
    expect(root.querySelector<HTMLElement>(".pw-edit")!.hidden).toBe(true);
    at(root, "clean", 3);
    expect(model.sent).toEqual([{ type: "select", pos: 3 }]);
  });

  test("tokens are text", () => {
    const { root } = mount({ ...state, columns: tokens(["<b>x</b>", "\u202ey"], ["<i>", null]) });
    expect(root.querySelector("b, i")).toBeNull();
    press(root.querySelector("[role=group]")!, "Enter");
    expect(live(root)).toBe("picked: clean '<b>x</b>'");
  });
});
