import { el } from "./dom";

export interface TableSpec {
  caption: string;
  corner: string;
  rows: readonly string[];
  cols: readonly string[];
  cell(row: number, col: number): string;
  /** A last column and a last row that are not cells. */
  means?: { title: string; rows: readonly string[]; cols: readonly string[] };
}

/** The same values as an ordinary table, for reading with a screen reader and for copying. */
export function table({ caption, corner, rows, cols, cell, means }: TableSpec): HTMLTableElement {
  const node = el("table", "pw-table");
  node.append(el("caption", "", caption));
  const head = node.createTHead().insertRow();
  for (const text of [corner, ...cols, ...(means ? [means.title] : [])]) {
    const th = el("th");
    th.append(el("bdi", "", text));
    th.scope = "col";
    head.append(th);
  }
  const body = node.createTBody();
  rows.forEach((name, r) => {
    const line = body.insertRow();
    line.append(rowHead(name));
    cols.forEach((_, c) => line.append(el("td", "", cell(r, c))));
    if (means) line.append(el("td", "pw-meancell", means.rows[r]));
  });
  if (means) {
    const foot = node.createTFoot().insertRow();
    foot.append(rowHead(means.title), ...means.cols.map((text) => el("td", "pw-meancell", text)), el("td"));
  }
  return node;
}

function rowHead(name: string): HTMLElement {
  const th = el("th", "", name);
  th.scope = "row";
  return th;
}
