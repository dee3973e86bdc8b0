import { expect, test, vi } from "vitest";
import type { AttentionState, HeatmapState, Model, TokensState } from "../src/model";
import { AttentionStore, HeatmapStore, PositionStore } from "../src/store";
import { heatmapState, mount, TestModel, tokens as columns } from "./helpers";

const ended = () => {
  throw new Error("Cannot send");
};

function model<S>(state: object): Model<S> {
  const made = new TestModel(state);
  made.send = ended;
  return made as unknown as Model<S>;
}

const tokens = () => new PositionStore<TokensState, "selected">(model({ selected: -1 }), "selected", [], "select");
const attention = () => new AttentionStore(model<AttentionState>({ dest: 0, chosen: 0 }));
const heatmap = () => new HeatmapStore(model<HeatmapState>(heatmapState({ gathers: true })));

test.each<[string, () => unknown, unknown]>([
  ["a position", () => did(tokens(), (store) => store.choose(2)).position, 2],
  ["a destination", () => did(attention(), (store) => store.choose(1)).position, 1],
  ["what is shown", () => did(attention(), (store) => store.show(3)).chosen, 3],
  ["a cell", () => did(heatmap(), (store) => store.select(1, 2)).selected, [1, 2]],
  ["a limit", () => did(heatmap(), (store) => store.fixLimit(2)).limit, 2],
  ["a cell gathered", () => [...did(heatmap(), (store) => store.gather(1, 2)).gathered], [6]],
  ["cells gathered", () => [...did(heatmap(), (store) => store.gather(0, 1, [0, 0])).gathered], [0, 1]],
])("a view whose kernel has ended still marks what is chosen: %s", (_, marked, expected) => {
  const debug = vi.spyOn(console, "debug").mockImplementation(() => {});
  expect(marked()).toEqual(expected);
  expect(debug).toHaveBeenCalledOnce();
  debug.mockRestore();
});

function did<S>(store: S, what: (store: S) => void): S {
  what(store);
  return store;
}

const shelf = { kind: "shelf", group: "", current: 1, a: -1, b: -1, told: "", undo: true, redo: true };
const run = { ...shelf, entries: [{ id: 1, name: "z", detail: "" }] };
const copy = { kind: "copy", group: "", label: "Copy code", hint: "" };
const picks = { kind: "tokens", group: "", columns: columns(["a"]), selected: -1, editing: "edited" };

test.each<[string, object, (root: HTMLElement) => unknown]>([
  ["shelf", run, (root) => root.querySelectorAll("button").forEach((button) => button.click())],
  ["copy", copy, (root) => root.querySelector("button")!.click()],
  ["alignment", picks, (root) => [...root.querySelectorAll("button")].find((b) => b.textContent === "Reset")!.click()],
])("a button whose kernel has ended breaks nothing: %s", (_, state, pressed) => {
  const debug = vi.spyOn(console, "debug").mockImplementation(() => {});
  const failed = vi.fn((event: Event) => event.preventDefault());
  window.addEventListener("error", failed);
  const { model, root } = mount(state);
  model.send = ended;
  pressed(root);
  window.removeEventListener("error", failed);
  expect(failed).not.toHaveBeenCalled();
  expect(debug).toHaveBeenCalled();
  debug.mockRestore();
});
