import { el } from "./dom";

export interface TableSpec {
  caption: string;
  corner: string;
  rows: readonly string[];
  cols: readonly string[];
  cell(row: number, col: number): string;
}

/** The same values as an ordinary table, for reading with a screen reader and for copying. */
export function table({ caption, corner, rows, cols, cell }: TableSpec): HTMLTableElement {
  const node = el("table", "pw-table");
  node.append(el("caption", "", caption));
  const head = node.createTHead().insertRow();
  for (const text of [corner, ...cols]) {
    const th = el("th");
    th.append(el("bdi", "", text));
    th.scope = "col";
    head.append(th);
  }
  const body = node.createTBody();
  rows.forEach((name, r) => {
    const line = body.insertRow();
    const th = el("th", "", name);
    th.scope = "row";
    line.append(th);
    cols.forEach((_, c) => line.append(el("td", "", cell(r, c))));
  });
  return node;
}
