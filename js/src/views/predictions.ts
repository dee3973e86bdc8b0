import { coalesce, el } from "../dom";
import type { PredictionRow, PredictionsState, RenderProps } from "../model";
import { createRoot, type Root } from "../root";
import type { Store } from "../store";
import { percent, quoted, signed, visible } from "../text";

const MARKS = { "": "", answer: "\u25cf", foil: "\u25cb" } as const;

/** The most likely next tokens of each run, with bars, percentages and the answer and foil marked. */
export class PredictionsView {
  readonly #root: Root;
  readonly end: () => void;
  readonly #content = el("div");

  constructor(
    props: RenderProps<PredictionsState>,
    readonly model: RenderProps<PredictionsState>["model"],
    store: Store,
  ) {
    const built = createRoot(props, "pw-predictions", () => undefined); // width and theme reach it through CSS alone
    this.#root = built.root;
    this.end = built.end;
    this.#root.node.prepend(this.#content);
    const redraw = coalesce(() => !this.#root.signal.aborted && this.draw());
    this.#root.signal.addEventListener("abort", store.subscribe(redraw));
    this.draw();
  }

  draw(): void {
    const tables = this.model.get("tables");
    const columns = el("div", "pw-tables");
    columns.append(...tables.map(({ name, label, rows }) => column(name, label, rows)));
    const marks = new Set(tables.flatMap((t) => t.rows.map((r) => r.mark)));
    const used = (["answer", "foil"] as const).filter((m) => marks.has(m));
    const title = this.model.get("title");
    this.#content.replaceChildren(...(title ? [el("h2", "pw-title", title)] : []), columns);
    if (used.length) this.#content.append(el("p", "pw-note", used.map((m) => `${MARKS[m]} ${m}`).join("    ")));
    this.#root.node.hidden = tables.length === 0;
  }
}

function column(name: string, label: string, rows: readonly PredictionRow[]): HTMLElement {
  const node = el("table", `pw-predicted pw-run-${name}`);
  node.append(el("caption", `pw-${name}`, label));
  const body = node.createTBody();
  for (const row of rows) body.append(line(row));
  return node;
}

function line({ token, prob, logit, mark }: PredictionRow): HTMLElement {
  const node = el("tr", mark ? "pw-marked" : "");
  node.title = `${quoted(token)}${mark ? ` (${mark})` : ""}: probability ${prob.toPrecision(3)}, logit ${signed(logit)}`;
  const name = el("td", "pw-predicted-token");
  const bar = el("i", "pw-probbar");
  bar.style.width = `${(100 * Math.max(0, Math.min(1, prob))).toFixed(2)}%`;
  const text = el("bdi", "", visible(token));
  const sign = el("span", "pw-mark", MARKS[mark] ?? "");
  if (mark) sign.setAttribute("role", "img");
  if (mark) sign.setAttribute("aria-label", mark);
  name.append(bar, sign, text);
  node.append(name, el("td", "pw-percent", percent(prob)));
  return node;
}
