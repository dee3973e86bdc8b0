import { expect, test } from "vitest";
import { active, heatmapState, live, mount, press } from "./helpers";
import { drawn } from "./setup";

const gridOf = (root: Element) => root.querySelector<HTMLElement>("[role=grid]")!;
const plotOf = (root: Element) => root.querySelector(".pw-plot")!;

function click(root: Element, row: number, col: number, keys: MouseEventInit = {}): void {
  const width = parseFloat(root.querySelector<HTMLElement>(".pw-col")!.style.width);
  const height = parseFloat(root.querySelector<HTMLElement>(".pw-rowlabel")!.style.height);
  const at = { clientX: (col + 0.5) * width, clientY: (row + 0.5) * height };
  plotOf(root).dispatchEvent(new MouseEvent("click", { bubbles: true, ...at, ...keys }));
}

test("Ctrl, Cmd and Space gather a cell and let it go; a plain click opens", () => {
  const { model, root } = mount(heatmapState({ gathers: true }));
  click(root, 1, 2, { ctrlKey: true });
  click(root, 1, 3, { metaKey: true });
  expect(model.sent).toEqual([
    { type: "gather", row: 1, col: 2 },
    { type: "gather", row: 1, col: 3 },
  ]);
  expect(live(root)).toContain("gathered; 2 cells gathered");
  expect(active(root)).toContain(", gathered");
  press(gridOf(root), " ");
  expect(model.sent[2]).toEqual({ type: "gather", row: 1, col: 3 });
  expect(live(root)).toContain("1 cell gathered");
  expect(active(root)).not.toContain("gathered");
  click(root, 0, 0);
  expect(model.sent[3]).toEqual({ type: "select", row: 0, col: 0 });
});

test.each(["Ctrl", "Space"])(
  "the first cell gathered by %s takes the selected one along, a later one does not",
  (how) => {
    const { model, root } = mount(heatmapState({ gathers: true }));
    click(root, 1, 2);
    if (how === "Ctrl") click(root, 1, 3, { ctrlKey: true });
    else for (const key of ["ArrowRight", " "]) press(gridOf(root), key);
    expect(model.sent[1]).toEqual({ type: "gather", row: 1, col: 3 });
    expect(live(root)).toContain("2 cells gathered");
    click(root, 1, 2, { ctrlKey: true });
    expect(live(root)).toContain("1 cell gathered");
    click(root, 2, 3, { ctrlKey: true });
    expect(live(root)).toContain("2 cells gathered");
    expect(active(root)).toContain(", gathered");
  },
);

test("Shift gathers all from the cell that was last clicked", () => {
  const { model, root } = mount(heatmapState({ gathers: true }));
  click(root, 2, 2);
  click(root, 1, 1, { shiftKey: true });
  expect(model.sent[1]).toEqual({ type: "gather", row: 1, col: 1, from: [2, 2] });
  expect(live(root)).toContain("4 cells gathered");
});

test("Shift and Space gather all from the last cell that is gathered or open", () => {
  const { model, root } = mount(heatmapState({ gathers: true }));
  const keys = (...each: string[]) => each.forEach((key) => press(gridOf(root), key));
  const space = () => press(gridOf(root), " ", { shiftKey: true });
  keys("ArrowDown", "ArrowRight", " ", "ArrowDown", "ArrowRight");
  expect(space().defaultPrevented).toBe(true);
  expect(model.sent[1]).toEqual({ type: "gather", row: 2, col: 2, from: [1, 1] });
  expect(live(root)).toContain("4 cells gathered");
  keys("ArrowRight");
  space();
  expect(model.sent[2]).toEqual({ type: "gather", row: 2, col: 3, from: [2, 2] });
  model.set("gathered", []);
  keys("ArrowUp");
  space(); // nothing is gathered any more, and nothing open
  expect(model.sent[3]).toEqual({ type: "gather", row: 1, col: 3, from: [1, 3] });
  keys("Home", "Enter", "ArrowUp");
  space();
  expect(model.sent[5]).toEqual({ type: "gather", row: 0, col: 0, from: [1, 0] });
  expect(root.querySelector(".pw-keys")!.textContent).toContain("\u21e7Space range");
});

test("gathered cells are bracketed, told in the key, and are what the kernel says", async () => {
  const { model, root } = mount(heatmapState({ gathers: true }));
  const lines = () => drawn(root.querySelector("canvas")!).filter(({ what }) => what === "line").length;
  expect(lines()).toBe(0);
  model.set("gathered", [0, 5]);
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  expect(lines()).toBe(2 * 2 * 8); // two cells, drawn twice, eight arms each
  expect(root.querySelector(".pw-key")!.textContent).toContain("to be patched together");
  expect(root.querySelector(".pw-keys")!.textContent).toContain("Space gather");
});

test("where nothing gathers, Space and Ctrl open as ever", () => {
  const { model, root } = mount(heatmapState());
  click(root, 1, 2, { ctrlKey: true });
  press(gridOf(root), " ");
  expect(model.sent).toEqual([
    { type: "select", row: 1, col: 2 },
    { type: "select", row: 1, col: 2 },
  ]);
  expect(root.textContent).not.toContain("gather");
});
