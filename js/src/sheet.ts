import { el, place } from "./dom";
import { type GridPlan, labelStep, locate, MEANS_W, SHEET_PAD } from "./geometry";
import { Header } from "./header";
import { Means } from "./means";
import type { View } from "./span";

/** The scrolling sheet of a heatmap: corner, header, sticky row labels, the canvas and the marks above it. */
export class Sheet {
  readonly node = el("div", "pw-scroll");
  readonly canvas = el("canvas", "pw-canvas");
  readonly plot = el("div", "pw-plot");
  readonly cursor = el("div", "pw-cursor");
  readonly header = new Header();
  readonly means = new Means();
  #corner = el("div", "pw-corner");
  #labels = el("div", "pw-rowlabels");
  #rowLabels: HTMLElement[] = [];
  #row = el("div", "pw-cross pw-cross-row");
  #col = el("div", "pw-cross pw-cross-col");
  #hotRow = el("div", "pw-band");
  #hotCol = el("div", "pw-band");
  #line = el("div", "pw-line");
  #chosen = el("div", "pw-chosen");
  #plan!: GridPlan;
  #means = false;
  readonly #name = `pw-${Math.random().toString(36).slice(2)}`; // every view has the bundle to itself: nothing here counts them all;

  constructor() {
    const sheet = el("div", "pw-sheet");
    this.canvas.setAttribute("aria-hidden", "true");
    const marks = [this.#hotRow, this.#hotCol, this.#line, this.#row, this.#col, this.#chosen];
    for (const mark of marks) mark.hidden = true;
    const ariaRow = el("div");
    ariaRow.setAttribute("role", "row");
    this.cursor.setAttribute("role", "gridcell");
    this.focused(false);
    ariaRow.append(this.cursor);
    this.plot.append(this.canvas, ...marks, ariaRow);
    const { above, right, before, below, corner } = this.means;
    sheet.append(this.#corner, this.header.node, above, this.#labels, this.plot, right, before, below, corner);
    this.node.append(sheet);
    for (const part of [this.#corner, this.#labels, this.header.node, above, right, before, below])
      part.setAttribute("aria-hidden", "true");
  }

  draw(plan: GridPlan, rows: readonly string[], rowTitle: string, line: number, means: boolean): void {
    this.#plan = plan;
    this.#means = means;
    this.node.classList.toggle("pw-with-means", means);
    this.node.classList.toggle("pw-tall", plan.tall);
    Object.assign(this.plot.style, { width: `${plan.width}px`, height: `${plan.gridH}px` });
    for (const node of this.means.nodes) node.hidden = !means;
    this.header.draw(plan);
    this.#corner.replaceChildren(el("span", "", rowTitle));
    this.#corner.style.width = this.#labels.style.width = `${plan.labelW}px`;
    this.#corner.style.height = `${plan.height}px`;
    this.#labels.style.height = `${plan.gridH}px`;
    const step = labelStep(plan.cellH);
    this.#rowLabels = rows.map((text, r) => {
      const label = el("div", "pw-rowlabel", text);
      label.style.top = `${r * plan.cellH}px`;
      label.style.height = `${plan.cellH}px`;
      const crowdsLast = r !== rows.length - 1 && rows.length - 1 - r < step;
      label.classList.toggle("pw-spare", step > 1 && (r % step !== 0 || crowdsLast) && r !== rows.length - 1);
      return label;
    });
    this.#labels.replaceChildren(...this.#rowLabels);
    this.#line.hidden = line < 0 || line >= rows.length;
    if (!this.#line.hidden) place(this.#line, -plan.labelW, (line + 1) * plan.cellH - 1, plan.width + plan.labelW, 2);
  }

  /** The selected cell with its dotted lines; `null` for none. */
  select(cell: readonly [number, number] | null): void {
    for (const mark of [this.#row, this.#col, this.#chosen]) mark.hidden = cell === null;
    this.header.mark("pw-on", new Set(cell ? [cell[1]] : []));
    this.#rowLabels.forEach((label, r) => label.classList.toggle("pw-on", r === cell?.[0]));
    if (!cell) return;
    const { edges, cellH, gridH, width } = this.#plan;
    const [row, col] = cell;
    const [x, w] = [edges[col], edges[col + 1] - edges[col]];
    place(this.#row, 0, row * cellH - 0.5, width, cellH);
    place(this.#col, x - 0.5, 0, w, gridH);
    place(this.#chosen, x - 2, row * cellH - 2, w + 3, cellH + 3);
  }

  /** What is hovered here or in a linked view: whole rows and columns. */
  hot(rows: ReadonlySet<number>, cols: ReadonlySet<number>): void {
    const { edges, cellH, gridH, width } = this.#plan;
    this.header.mark("pw-hot", cols);
    this.#rowLabels.forEach((label, r) => label.classList.toggle("pw-hot", rows.has(r)));
    const [row] = rows;
    const [col] = cols;
    this.#hotRow.hidden = row === undefined;
    this.#hotCol.hidden = col === undefined;
    if (row !== undefined) place(this.#hotRow, 0, row * cellH, width, cellH - 1);
    if (col !== undefined) place(this.#hotCol, edges[col], 0, edges[col + 1] - edges[col] - 1, gridH);
  }

  /** Whether the keyboard's cell is seen; screen readers find it in any case. */
  focused(on: boolean): void {
    this.cursor.classList.toggle("pw-off", !on);
  }

  /**
   * Puts the keyboard's cell at a place of the grid. The grid has one cell in the page, the active one: its number
   * changes with its place, so that screen readers read the new one.
   */
  putCursor(row: number, col: number, label: string, selected: boolean): void {
    const { edges, cellH } = this.#plan;
    place(this.cursor, edges[col] - 1, row * cellH - 1, edges[col + 1] - edges[col] + 1, cellH + 1);
    this.cursor.setAttribute("aria-label", label);
    this.cursor.setAttribute("aria-selected", String(selected));
    this.cursor.setAttribute("aria-colindex", String(col + 1));
    this.cursor.parentElement!.setAttribute("aria-rowindex", String(row + 1));
    this.cursor.id = `${this.#name}-${row}-${col}`;
    this.node.setAttribute("aria-activedescendant", this.cursor.id);
  }

  /** The part of the grid that labels, header and means leave in view. */
  get view(): View {
    const { labelW, height, tall, scrolls, width: whole, gridH } = this.#plan;
    if (!tall && !scrolls) return { left: 0, top: 0, width: whole, height: gridH }; // to ask lays out the page
    const { scrollLeft: left, scrollTop, clientWidth, clientHeight } = this.node;
    const width = clientWidth - labelW - (this.#means ? MEANS_W : 0) - SHEET_PAD;
    return tall
      ? { left, top: scrollTop, width, height: clientHeight - height }
      : { left, top: 0, width, height: gridH };
  }

  /** Scrolls a cell into view, of the page and from under the sheet's own labels. */
  reveal(row: number, col: number): void {
    this.cursor.scrollIntoView?.({ block: "nearest", inline: "nearest" });
    const { edges, cellH } = this.#plan;
    const { left, top, width, height } = this.view;
    const shift = (from: number, to: number, start: number, room: number) =>
      from < start ? from - start : Math.max(0, Math.min(to - start - room, from - start));
    const [x, y] = [shift(edges[col], edges[col + 1], left, width), shift(row * cellH, (row + 1) * cellH, top, height)];
    if (x) this.node.scrollLeft += x;
    if (y) this.node.scrollTop += y;
  }

  /** Where the middle of the view is, as shares of the grid's width and height. */
  get middle(): [number, number] {
    const { left, top, width, height } = this.view;
    return [(left + width / 2) / this.#plan.width, (top + height / 2) / this.#plan.gridH];
  }

  /** Where a cell's middle is, in the same shares. */
  middleOf(row: number, col: number): [number, number] {
    const { edges, cellH, width, gridH } = this.#plan;
    return [(edges[col] + edges[col + 1]) / 2 / width, ((row + 0.5) * cellH) / gridH];
  }

  /** Scrolls so that a place is in the middle of the view, as far as there is something to scroll. */
  centre([x, y]: readonly [number, number]): void {
    const { width, height } = this.view;
    this.node.scrollLeft = x * this.#plan.width - width / 2;
    this.node.scrollTop = y * this.#plan.gridH - height / 2;
  }

  /** The cell under a point of the page, or null. */
  at(clientX: number, clientY: number): [number, number] | null {
    const { left, top } = this.plot.getBoundingClientRect();
    const col = locate(this.#plan.edges, clientX - left);
    const row = Math.floor((clientY - top) / this.#plan.cellH);
    return col < 0 || row < 0 || row >= this.#rowLabels.length ? null : [row, col];
  }

  rect(row: number, col: number): DOMRect {
    const { left, top } = this.plot.getBoundingClientRect();
    const { edges, cellH } = this.#plan;
    return new DOMRect(left + edges[col], top + row * cellH, edges[col + 1] - edges[col], cellH);
  }
}
