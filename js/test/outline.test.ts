import { expect, test } from "vitest";
import { active, heatmapState, mount, press } from "./helpers";
import { drawn } from "./setup";

const canvasOf = (root: Element) => root.querySelector("canvas")!;
const gridOf = (root: Element) => root.querySelector<HTMLElement>("[role=grid]")!;

/** The grid lines that an outline runs along, each as "x,y-x,y" in corners of cells. */
function sides(root: Element): Set<string> {
  const cellW = parseFloat(root.querySelector<HTMLElement>(".pw-col")!.style.width);
  const cellH = parseFloat(root.querySelector<HTMLElement>(".pw-rowlabel")!.style.height);
  const corner = (x: number, y: number) => `${Math.round(x / cellW)},${Math.round(y / cellH)}`;
  return new Set(
    drawn(canvasOf(root))
      .filter(({ what }) => what === "line")
      .map(({ x, y, w, h }) => `${corner(x, y)}-${corner(x + w, y + h)}`),
  );
}

test("a cluster is outlined along the sides its cells have towards others, and along no other", () => {
  // Rows of four: an angle of three cells, and a pair beside it that is a cluster of its own.
  const stages = Int32Array.from([1, 1, 2, 0, 1, 0, 2, 0, 0, 0, 0, 0]);
  const { root } = mount(
    heatmapState({ stages, words: { title: "A map", stages: "2 candidate stages: here, there" } }),
  );
  expect(sides(root)).toEqual(
    new Set([
      ...["0,0-1,0", "1,0-2,0", "2,0-2,1", "1,1-2,1", "1,1-1,2", "0,2-1,2", "0,0-0,1", "0,1-0,2"],
      ...["2,0-3,0", "3,0-3,1", "3,1-3,2", "2,2-3,2", "2,1-2,2"],
    ]),
  );
  const entry = [...root.querySelectorAll(".pw-key-entry")].find((line) => line.textContent!.startsWith("outlined"))!;
  expect(entry.textContent).toContain("2 candidate stages: here, there");
});

test("a screen reader hears which cluster a cell is in", () => {
  const stages = Int32Array.from([0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  const { model, root } = mount(heatmapState({ stages }));
  press(gridOf(root), "ArrowRight");
  expect(active(root)).toContain("candidate stage 3");
  model.set("stages", null);
  press(gridOf(root), "ArrowRight");
  expect(active(root)).not.toContain("candidate stage");
});

test("without clusters nothing is outlined", () => {
  const { root } = mount(heatmapState());
  expect(sides(root).size).toBe(0);
  expect(root.textContent).not.toContain("outlined");
});
