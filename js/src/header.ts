import { el } from "./dom";
import { type HeaderPlan, labelStep } from "./geometry";

/** What an ellipsis over a column means. */
export const VARIES = "the pairs have different tokens at this position";

/** The token header: one box per column, exactly as wide as the column, clean over corrupted. */
export class Header {
  readonly node = el("div", "pw-header");
  #boxes: HTMLElement[] = [];

  /** `width` of a box is its column's; the boxes stand at the columns' edges. */
  draw(plan: HeaderPlan): void {
    this.node.replaceChildren();
    this.node.dataset["mode"] = plan.mode;
    this.node.style.height = `${plan.height}px`;
    this.node.style.width = `${plan.edges[plan.edges.length - 1]}px`;
    if (plan.kind === "labels") this.node.append(el("span", "pw-coltitle", plan.title));
    const step = plan.mode === "stack" ? labelStep(plan.edges[1]) : 1;
    this.#boxes = plan.cells.map((cell, i) => {
      const box = el("div", "pw-col");
      box.classList.toggle("pw-spare", i % step !== 0);
      box.classList.toggle("pw-bos", cell.bos);
      box.classList.toggle("pw-differs", cell.differs);
      if (cell.varies) box.title = VARIES;
      box.style.left = `${plan.edges[i]}px`;
      box.style.width = `${plan.edges[i + 1] - plan.edges[i]}px`;
      box.append(token(cell.clean, cell.corrupted === null ? "" : "pw-clean", cell.gap === "clean"));
      if (cell.corrupted !== null) box.append(token(cell.corrupted, "pw-corrupted", cell.gap === "corrupted"));
      return box;
    });
    this.node.append(...this.#boxes);
  }

  /** Puts a class on one run's token of a column, or on none, and takes it from the others of that run. */
  markToken(name: string, run: "clean" | "corrupted", column: number): void {
    this.#boxes.forEach((box, i) => box.querySelector(`.pw-${run}`)?.classList.toggle(name, i === column));
  }

  /** Puts a class on the boxes of some columns and takes it from the others. */
  mark(name: "pw-hot" | "pw-on", columns: ReadonlySet<number>): void {
    this.#boxes.forEach((box, i) => box.classList.toggle(name, columns.has(i)));
  }
}

function token(text: string, run: string, gap: boolean): HTMLElement {
  if (gap) return nothing(run);
  const node = el("span", `pw-token ${run} ${[...text].length === 1 ? "pw-upright" : ""}`);
  const words = el("bdi", "", text); // isolated: a right-to-left token does not turn its neighbours
  node.append(words);
  return node;
}

/** What stands where a run has no token: drawn, as any text could be a token's. */
function nothing(run: string): HTMLElement {
  const node = el("span", `pw-token pw-gap pw-upright ${run}`);
  node.title = "no token here";
  node.append(el("span", "pw-nothing"));
  return node;
}
