import { float32, int32, uint8 } from "./codec";
import type { Bytes, HeatmapState, Model } from "./model";

export const STATUS = { measured: 0, implied: 1, estimated: 2, pending: 3, unavailable: 4 } as const;
export const STATUS_WORDS = [
  "measured",
  "implied: exactly 0 without computing",
  "estimated, not measured",
  "not measured yet",
  "not available",
] as const;

/** Whether pending cells are still to come, by the state of their run. */
export const awaited = (state: string): boolean => state === "running" || state === "empty";

const ENDS: Readonly<Record<string, string>> = {
  cancelled: "the run was cancelled",
  error: "the run ended in an error",
};

/** Why cells that are pending stay so, "" where nothing is known of it. */
export const whyUnmeasured = (state: string): string => ENDS[state] ?? "";

/** Marks that may stand together: a ring (1, 2) or a word without one (3), an unsure mean, and another word. */
const RINGS = 3;
const UNSURE = 4;
const WORD = 8;

/** The values of one heatmap, row-major; what has no value is NaN. */
export class Cells {
  readonly normalized: Float32Array;
  readonly effect: Float32Array;
  readonly patched: Float32Array;
  readonly status: Uint8Array;
  /** The interval of each cell; NaN where there is none. */
  readonly low: Float32Array;
  readonly high: Float32Array;
  /** 1 and 2 for cells that are ringed, 3 and 8 for words alone, and 4 where the interval includes zero. */
  readonly marks: Uint8Array;
  /** The number of each cell's cluster, 0 for none. */
  readonly stages: Int32Array;
  /** The kernel's mean of the absolute values per row and per column; empty where it gave none. */
  rowMeans: Float32Array = new Float32Array(0);
  colMeans: Float32Array = new Float32Array(0);

  constructor(
    readonly rows: number,
    readonly cols: number,
  ) {
    const n = rows * cols;
    this.normalized = new Float32Array(n).fill(NaN);
    this.effect = new Float32Array(n).fill(NaN);
    this.patched = new Float32Array(n).fill(NaN);
    this.status = new Uint8Array(n).fill(STATUS.pending);
    this.low = new Float32Array(n).fill(NaN);
    this.high = new Float32Array(n).fill(NaN);
    this.marks = new Uint8Array(n);
    this.stages = new Int32Array(n);
  }

  static from(model: Model<HeatmapState>): Cells {
    const columns = model.get("columns");
    const cols = columns.kind === "tokens" ? columns.clean.length : columns.labels.length;
    const cells = new Cells(model.get("rows").length, cols);
    const n = cells.status.length;
    cells.normalized.set(float32(model.get("normalized")).subarray(0, n));
    cells.effect.set(float32(model.get("effect")).subarray(0, n));
    cells.patched.set(float32(model.get("patched")).subarray(0, n));
    cells.status.set(uint8(model.get("status")).subarray(0, n));
    cells.low.set(float32(model.get("low")).subarray(0, n));
    cells.high.set(float32(model.get("high")).subarray(0, n));
    cells.marks.set(uint8(model.get("marks")).subarray(0, n));
    cells.stages.set(int32(model.get("stages")).subarray(0, n));
    cells.rowMeans = float32(model.get("row_means")).slice(0, cells.rows);
    cells.colMeans = float32(model.get("col_means")).slice(0, cells.cols);
    return cells;
  }

  /** Merges one `{type: "cells"}` message; indices outside the grid belong to an older grid and are left out. */
  merge(buffers: readonly Bytes[]): void {
    const at = int32(buffers[0]);
    const [normalized, effect, patched] = buffers.slice(1, 4).map(float32);
    const status = uint8(buffers[4]);
    at.forEach((i, k) => {
      if (i < 0 || i >= this.status.length) return;
      this.normalized[i] = normalized[k];
      this.effect[i] = effect[k];
      this.patched[i] = patched[k];
      this.status[i] = status[k];
    });
    if (buffers.length < 7) return;
    this.rowMeans = float32(buffers[5]).slice(0, this.rows);
    this.colMeans = float32(buffers[6]).slice(0, this.cols);
  }

  /** The ring of a cell, 0 for none. */
  ring(i: number): number {
    return this.marks[i] & RINGS;
  }

  /** Whether a cell's interval includes zero. */
  unsure(i: number): boolean {
    return (this.marks[i] & UNSURE) !== 0;
  }

  /** The marks of a cell, each by itself. */
  marksOf(i: number): number[] {
    return [this.ring(i), this.marks[i] & UNSURE, this.marks[i] & WORD].filter((mark) => mark > 0);
  }

  /** The marks that occur. */
  marked(): number[] {
    const there = new Set<number>();
    for (let i = 0; i < this.marks.length; i++) if (this.marks[i]) for (const mark of this.marksOf(i)) there.add(mark);
    return [...there].sort((a, b) => a - b);
  }

  /** The statuses that occur, so that the key explains what is there and nothing else. */
  present(): Set<number> {
    return new Set(this.status);
  }
}
