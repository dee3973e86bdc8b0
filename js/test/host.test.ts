import { expect, test, vi } from "vitest";
import { mountAll, StaticModel } from "../src/host";
import widget from "../src/widget";
import { heatmapState, pointAt, tokens } from "./helpers";

const saved = () => {
  const { normalized, effect, patched, status, ...state } = heatmapState();
  const data = (name: string, value: unknown) => {
    const { buffer } = value as Uint8Array<ArrayBuffer>;
    return { path: [name], data: btoa(String.fromCharCode(...new Uint8Array(buffer))) };
  };
  const buffers = [
    data("normalized", normalized),
    data("effect", effect),
    data("patched", patched),
    data("status", status),
  ];
  return { state, buffers };
};

test("binary traits come back as the numbers they were", () => {
  const view = new StaticModel(saved()).get("normalized") as DataView;
  expect(view.getFloat32(4 * 11, true)).toBeCloseTo(0.5);
});

test("a selection is taken over where a kernel would have set it", () => {
  const model = new StaticModel({ state: { selected: [] }, buffers: [] });
  const changed = vi.fn();
  model.on("change:selected", changed);
  model.send({ type: "select", row: 1, col: 2 });
  expect(model.get("selected")).toEqual([1, 2]);
  model.send({ type: "select", pos: 4 });
  expect(model.get("selected")).toBe(4);
  model.send({ type: "dest", pos: 3 });
  expect(model.get("dest")).toBe(3);
  model.send({ type: "unknown" });
  expect(changed).toHaveBeenCalledTimes(2);
});

test("callbacks can be taken off one by one, by event and altogether", () => {
  const model = new StaticModel({ state: {}, buffers: [] });
  const [a, b] = [vi.fn(), vi.fn()];
  model.on("change:x", a);
  model.on("change:x", b);
  model.off("change:x", a);
  model.set("x", 1);
  model.off("change:x");
  model.set("x", 2);
  model.on("change:x", a);
  model.off();
  model.set("x", 3);
  expect([a.mock.calls.length, b.mock.calls.length]).toEqual([0, 1]);
});

test("a page's views are drawn into their places and answer without a kernel", () => {
  document.body.innerHTML = '<div data-pw-view="0"></div><div data-pw-view="1"></div>';
  const strip = { state: { kind: "tokens", group: "", columns: tokens([" a", " b"]), selected: -1 }, buffers: [] };
  const [heatmap] = mountAll([saved(), strip], widget as never);
  expect(document.querySelector("[data-pw-view='1'] .pw-tokens")).not.toBeNull();
  expect(document.querySelector(".pw-keys")!.textContent).toContain("Enter select ");
  expect(document.querySelector("[role=grid]")!.getAttribute("aria-label")).toContain("Enter selects,");
  const plot = document.querySelector("[data-pw-view='0'] .pw-plot")!;
  pointAt(plot, "click", 3, 3);
  expect(heatmap.get("selected")).toEqual([0, 0]);
  expect(document.querySelector<HTMLElement>(".pw-chosen")!.hidden).toBe(false);
  expect(document.querySelector(".pw-live")!.textContent).toMatch(/^selected layer 0, /);
});
