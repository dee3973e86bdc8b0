import type { Cells } from "./cells";
import { el } from "./dom";
import { type GridPlan, MEANS_H, MEANS_W } from "./geometry";
import { printed } from "./paint";

const BAR_W = 14;
const BAR_H = 13;
const ROOM = 4; // characters beside a bar
const WIDE_ENOUGH = 24; // for a number below a bar
const TALL_ENOUGH = 12; // for a number beside one

/** Bars right of the rows and below the columns: the kernel's means of their absolute values, full where the colours end. */
export class Means {
  readonly above = el("div", "pw-meanhead", "mean");
  readonly right = el("div", "pw-rowmeans");
  readonly before = el("div", "pw-corner pw-meanhead", "mean");
  readonly below = el("div", "pw-colmeans");
  readonly corner = el("div", "pw-meanend"); // what scrolls below the columns goes under it too
  readonly nodes = [this.above, this.right, this.before, this.below, this.corner];

  draw(plan: GridPlan, { rowMeans, colMeans }: Cells, limit: number): void {
    this.right.style.width = `${MEANS_W}px`;
    this.below.style.height = `${MEANS_H}px`;
    this.before.style.width = `${plan.labelW}px`;
    const bar = (mean: number, along: "width" | "height", full: number, numbered: boolean) => {
      const node = el("div", "pw-mean");
      if (Number.isNaN(mean)) return node;
      const size = el("i");
      size.style[along] = `${(full * Math.min(1, mean / limit || 0)).toFixed(1)}px`;
      node.append(size);
      if (numbered) node.append(el("span", "", printed(mean, limit, ROOM)));
      return node;
    };
    const rows = Array.from(rowMeans, (mean, r) => {
      const node = bar(mean, "width", BAR_W, plan.cellH >= TALL_ENOUGH);
      Object.assign(node.style, { top: `${r * plan.cellH}px`, height: `${plan.cellH}px` });
      return node;
    });
    const cols = Array.from(colMeans, (mean, c) => {
      const [left, right] = [plan.edges[c], plan.edges[c + 1]];
      const node = bar(mean, "height", BAR_H, right - left >= WIDE_ENOUGH);
      Object.assign(node.style, { left: `${left}px`, width: `${right - left - 1}px` });
      return node;
    });
    this.right.replaceChildren(...rows);
    this.below.replaceChildren(...cols);
  }
}
