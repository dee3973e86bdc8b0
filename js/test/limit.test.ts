import { expect, test, vi } from "vitest";
import { Scale } from "../src/colour";
import { heatmapState, live, mount, press } from "./helpers";
import { drawn, nextFrame } from "./setup";

const field = (root: Element) => root.querySelector<HTMLInputElement>(".pw-limit")!;
const type = (root: Element, text: string) => {
  field(root).value = text;
  return press(field(root), "Enter");
};
const last = (root: Element) =>
  drawn(root.querySelector("canvas")!)
    .filter(({ what }) => what === "rect")
    .at(-1)!.style;

test("a typed limit recolours every view of the model at once and goes to the kernel", async () => {
  const { model, root, another } = mount(heatmapState({ words: { unit: "recovered" } }));
  const second = another();
  expect([field(root).value, field(root).getAttribute("aria-label")]).toEqual([
    "1",
    "end of the colours, plus and minus, recovered",
  ]);
  type(root, "0,5");
  expect(model.sent).toEqual([{ type: "limit", value: 0.5 }]);
  await nextFrame();
  for (const view of [root, second]) {
    expect(last(view)).toBe(new Scale("light", 0.5).fill(0.5));
    expect(field(view).value).toBe("0.5");
    expect([...view.querySelectorAll(".pw-tick")].map((tick) => tick.textContent)).toContain("\u22120.5");
  }
});

test("nothing typed gives the scale back its own", async () => {
  const { model, root } = mount(heatmapState({ limit: 2, fixed_limit: 0.5 }));
  expect(field(root).value).toBe("0.5");
  type(root, " ");
  await nextFrame();
  expect(model.sent).toEqual([{ type: "limit", value: 0 }]);
  expect(field(root).value).toBe("2");
});

test("what is no number above 0 is told and not taken; Escape puts back what was there", () => {
  const { model, root } = mount(heatmapState());
  for (const text of ["0", "-1", "x", "1e99", "Infinity", "<b>"]) {
    type(root, text);
    expect(field(root).getAttribute("aria-invalid")).toBe("true");
    expect(live(root)).toBe("Type a number above 0, or nothing for the scale's own.");
  }
  press(field(root), "Escape");
  expect([field(root).value, field(root).hasAttribute("aria-invalid")]).toEqual(["1", false]);
  expect(model.sent).toEqual([]);
});

test("a refusal can be read beside the colours, which stay as they were, until the field is asked again", () => {
  const { root } = mount(heatmapState());
  const refused = root.querySelector<HTMLElement>(".pw-refused")!;
  expect([refused.hidden, refused.textContent]).toEqual([true, "a number above 0"]);
  field(root).focus();
  type(root, "abc");
  expect([refused.hidden, field(root).value]).toEqual([false, "abc"]);
  field(root).blur();
  expect([refused.hidden, field(root).value, field(root).hasAttribute("aria-invalid")]).toEqual([false, "1", false]);
  field(root).focus();
  expect(refused.hidden).toBe(true);
  type(root, "0");
  type(root, "1");
  expect([refused.hidden, field(root).hasAttribute("aria-invalid")]).toEqual([true, false]);
});

test("what is being typed stays while cells arrive", async () => {
  const { model, root } = mount(heatmapState());
  field(root).focus();
  field(root).value = "0.";
  model.set("words", { unit: "destroyed" });
  await nextFrame();
  expect([field(root).value, document.activeElement]).toEqual(["0.", field(root)]);
});

test("what is typed is no shortcut of the page", () => {
  const { root } = mount(heatmapState());
  const outside = vi.fn();
  document.addEventListener("keydown", outside);
  for (const key of ["Enter", "Escape", "t", "1"]) press(field(root), key);
  expect(outside).not.toHaveBeenCalled();
  document.removeEventListener("keydown", outside);
});

test("values that are never negative have no colours and no ticks below zero", () => {
  const ticks = (root: Element) => [...root.querySelectorAll<HTMLElement>(".pw-tick")];
  const state = heatmapState();
  const { root } = mount({ ...state, words: { ...state.words, from_zero: "yes" } });
  expect(ticks(root).map((tick) => [tick.textContent, tick.style.top])).toEqual([
    ["0.5", "50%"],
    ["0", "100%"],
  ]);
});
