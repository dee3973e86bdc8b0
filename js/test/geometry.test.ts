import { describe, expect, test } from "vitest";
import { headerCells, labelStep, locate, planGrid, planStrip, SHEET_PAD } from "../src/geometry";
import { Header } from "../src/header";
import { tokens } from "./helpers";

const words = [" When", " Mary", " and", " John", " went", " to", " the", " store"];
const columns = tokens(words, [" When", " Anna", ...words.slice(2)]);
const rows = Array.from({ length: 12 }, (_, i) => String(i));
const plan = (available: number, more = {}) =>
  planGrid({ columns, rows, rowTitle: "layer", available, compact: false, ...more });

describe.each([
  [900, "flat"],
  [340, "side"],
  [220, "stack"],
  [90, "stack"],
])("with %d pixels", (available, mode) => {
  const grid = plan(available);

  test("the header's boxes are exactly the grid's columns", () => {
    const header = new Header();
    header.draw(grid);
    const boxes = [...header.node.querySelectorAll<HTMLElement>(".pw-col")];
    expect(boxes).toHaveLength(words.length);
    boxes.forEach((box, i) => {
      expect(parseFloat(box.style.left)).toBe(grid.edges[i]);
      expect(parseFloat(box.style.width)).toBe(grid.edges[i + 1] - grid.edges[i]);
    });
    expect(parseFloat(header.node.style.width)).toBe(grid.width);
  });

  test(`tokens are set ${mode}`, () => {
    expect(grid.mode).toBe(mode);
  });
});

test("columns are whole pixels and fill the room while they can", () => {
  const grid = plan(340);
  expect(grid.edges.every(Number.isInteger)).toBe(true);
  expect(grid.labelW + grid.width).toBeLessThanOrEqual(340);
  expect(grid.labelW + grid.width + SHEET_PAD + words.length).toBeGreaterThan(340);
});

test("a sheet fits in any room until its columns are at their narrowest", () => {
  for (const compact of [false, true]) {
    for (let available = 60; available < 1200; available++) {
      const grid = plan(available, { compact });
      const wide = grid.labelW + grid.width + SHEET_PAD;
      expect(grid.scrolls).toBe(wide > available);
      if (grid.scrolls) expect(grid.edges[1]).toBe(14);
    }
  }
});

test("columns never get too narrow to read: the sheet scrolls instead", () => {
  const grid = plan(90);
  expect(grid.edges[1]).toBe(14);
  expect(grid.labelW + grid.width).toBeGreaterThan(90);
});

test("a differing column has both tokens, clean first, and the others one", () => {
  const header = new Header();
  header.draw(plan(900));
  const texts = [...header.node.querySelectorAll(".pw-col")].map((box) => [...box.children].map((t) => t.textContent));
  expect(texts[1]).toEqual(["\u00b7Mary", "\u00b7Anna"]);
  expect(texts[2]).toEqual(["\u00b7and"]);
  expect(header.node.querySelector(".pw-differs .pw-clean")?.textContent).toBe("\u00b7Mary");
});

test("the beginning of sequence is small and short", () => {
  const header = new Header();
  header.draw(planStrip(tokens(["<|endoftext|>", " When"], undefined, 0)));
  expect(header.node.querySelector(".pw-bos")?.textContent).toBe("BOS");
});

test("a point falls in the column whose edges hold it", () => {
  expect([-1, 0, 9, 10, 29, 30].map((x) => locate([0, 10, 20, 30], x))).toEqual([-1, 0, 0, 1, 2, -1]);
  expect(locate([0], 0)).toBe(-1);
});

test.each([
  [16, 1],
  [10, 2],
  [5, 5],
  [2, 10],
  [1, 20],
])("rows of %d pixels are labelled every %d", (cellH, step) => {
  expect(labelStep(cellH)).toBe(step);
});

test("nothing to show is laid out as nothing", () => {
  const grid = planGrid({ columns: tokens([]), rows: [], rowTitle: "layer", available: 400, compact: false });
  expect([grid.width, grid.gridH, grid.edges]).toEqual([0, 0, [0]]);
});

describe("labels with underscores", () => {
  const parts = ["resid_pre", "attn_out", "mlp_out", "resid_post"];
  const room = (available: number) =>
    planGrid({
      columns: { kind: "labels", title: "", labels: parts },
      rows: ["3"],
      rowTitle: "layer",
      available,
      compact: true,
    });
  const shown = (available: number) => room(available).cells.map((cell) => cell.clean);

  test("stand in one line where there is room", () => {
    expect(shown(600)).toEqual(parts);
    expect(room(600).mode).toBe("flat");
  });

  test("break after the underscore where there is less, and the header grows by a line", () => {
    expect(shown(250)).toEqual(["resid_\npre", "attn_\nout", "mlp_\nout", "resid_\npost"]);
    expect(room(250).mode).toBe("flat");
    expect(room(250).height).toBe(room(600).height + 15);
    expect(room(250).cells[0].full).toBe("resid_pre");
  });

  test("are turned, whole, where a line does not fit either", () => {
    expect(shown(150)).toEqual(parts);
    expect(room(150).mode).toBe("stack");
  });
});

test("a column at which the pairs differ is said to be that, and another ellipsis is a token", () => {
  const columns = {
    ...tokens(["When", "\u2026", "\u2026", "\u2026"], ["When", "\u2026", "\u2026", "Anna"]),
    varies: [[], ["clean" as const], [], ["corrupted" as const]],
    differs: [false, false, false, true],
  };
  const told = ["'When'", "the pairs' own clean token", "'\u2026'", "'\u2026' / the pairs' own corrupted token"];
  expect(headerCells(columns).map(({ full }) => full)).toEqual(told);
  expect(headerCells(columns).map(({ varies }) => varies)).toEqual([false, true, false, true]);
});
