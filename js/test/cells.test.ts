import { expect, test } from "vitest";
import { Cells, STATUS } from "../src/cells";
import type { HeatmapState, Model } from "../src/model";
import { heatmapState, TestModel } from "./helpers";

const from = (state: HeatmapState) => Cells.from(new TestModel(state) as unknown as Model<HeatmapState>);

const update = (at: number[], values: number[], status: number[]) => [
  Int32Array.from(at),
  Float32Array.from(values),
  Float32Array.from(values, (v) => 2 * v),
  Float32Array.from(values, (v) => 3 * v),
  Uint8Array.from(status),
];

test("a partial update changes its cells and no others", () => {
  const cells = from(heatmapState());
  const before = [...cells.normalized];
  cells.merge(update([5, 0], [0.75, -0.5], [STATUS.estimated, STATUS.measured]));
  expect(cells.normalized[5]).toBe(0.75);
  expect(cells.effect[5]).toBe(1.5);
  expect(cells.patched[0]).toBe(-1.5);
  expect(cells.status[5]).toBe(STATUS.estimated);
  before[5] = 0.75;
  before[0] = -0.5;
  expect([...cells.normalized]).toEqual(before);
});

test("an update of an older, larger grid leaves out what is outside", () => {
  const cells = from(heatmapState());
  cells.merge(update([99, -1, 11], [1, 1, 1], [0, 0, 0]));
  expect(cells.normalized).toHaveLength(12);
  expect(cells.normalized[11]).toBe(1);
});

test("what the state does not hold is pending and has no value", () => {
  const cells = from(heatmapState({ normalized: null, effect: null, patched: null, status: null }));
  expect(cells.present()).toEqual(new Set([STATUS.pending]));
  expect(cells.normalized.every(Number.isNaN)).toBe(true);
});
