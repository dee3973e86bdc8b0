import { expect, test } from "vitest";
import { heatmapState, mount, press } from "./helpers";
import { nextFrame } from "./setup";

const means = { row_means: Float32Array.of(0.5, 0.25, NaN), col_means: Float32Array.of(0.1, 0.2, 0.4, 0.3) };
const bars = (root: Element, css: string, along: "width" | "height") =>
  [...root.querySelectorAll(`${css} .pw-mean`)].map((node) => node.querySelector("i")?.style[along] ?? "");

test("the kernel's means are bars beside the rows and below the columns, and numbers", () => {
  const { root } = mount(heatmapState(means));
  expect(bars(root, ".pw-rowmeans", "width")).toEqual(["7px", "3.5px", ""]);
  expect(bars(root, ".pw-colmeans", "height")).toEqual(["1.3px", "2.6px", "5.2px", "3.9px"]);
  expect(root.querySelector(".pw-rowmeans")!.textContent).toBe("0.500.25");
  expect([...root.querySelectorAll(".pw-key dt")].map((dt) => dt.textContent)).toContain("mean");
});

test("the table has them in a last column and a last row", () => {
  const { root } = mount(heatmapState(means));
  press(root.querySelector("[role=grid]")!, "t");
  expect(root.querySelector("thead th:last-child")!.textContent).toBe("mean |recovered|");
  expect([...root.querySelectorAll("tbody .pw-meancell")].map((td) => td.textContent)).toEqual(["0.50", "0.25", ""]);
  expect([...root.querySelectorAll("tfoot .pw-meancell")].map((td) => td.textContent)).toEqual([
    "0.10",
    "0.20",
    "0.40",
    "0.30",
  ]);
});

test("they come with the cells", async () => {
  const { model, root } = mount(heatmapState(means));
  const one = Float32Array.of(0.9);
  model.deliver({ type: "cells" }, [
    Int32Array.of(0), one, one, one, Uint8Array.of(0), Float32Array.of(1, 0.25, 0.75), means.col_means,
  ]); // prettier-ignore
  await nextFrame();
  expect(bars(root, ".pw-rowmeans", "width")).toEqual(["14px", "3.5px", "10.5px"]);
});

test("a bar is as long as its mean is of the colours' end, and no longer than that", () => {
  const noise = { row_means: Float32Array.of(1e-8, 2e-8, 0), col_means: Float32Array.of(1e-8, 0, 3e-8, 0) };
  const { root } = mount(heatmapState(noise));
  expect(new Set([...bars(root, ".pw-rowmeans", "width"), ...bars(root, ".pw-colmeans", "height")])).toEqual(
    new Set(["0px"]),
  );
  const far = mount(heatmapState({ ...means, limit: 0.4 }));
  expect(bars(far.root, ".pw-rowmeans", "width")).toEqual(["14px", "8.8px", ""]);
  expect(bars(far.root, ".pw-colmeans", "height")).toEqual(["3.3px", "6.5px", "13px", "9.8px"]);
});

test("small maps and maps without them show none", () => {
  for (const state of [{ ...means, compact: true }, { ...means, means: false }, {}]) {
    const { root } = mount(heatmapState(state));
    expect(root.querySelector<HTMLElement>(".pw-rowmeans")!.hidden).toBe(true);
    expect(root.querySelectorAll(".pw-mean")).toHaveLength(0);
  }
});
