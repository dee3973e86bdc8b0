import { coalesce, el } from "../dom";
import type { PredictionRow, PredictionsState, RenderProps } from "../model";
import { createRoot, type Root } from "../root";
import type { Store } from "../store";
import { percent, precise, quoted, signed, visible } from "../text";

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
    const [title, note] = [this.model.get("title"), this.model.get("note") ?? ""];
    const rows = tables.flatMap((t) => t.rows);
    // With logits the longest bar is the largest number on show.
    const largest = this.model.get("quantity") === "logit" ? Math.max(0, ...rows.map((r) => r.logit)) : null;
    const columns = el("div", "pw-tables");
    const shown = [...(largest === null ? [] : rows.map((r) => r.logit)), ...tables.map((t) => t.difference ?? 0)];
    const size = Math.max(...shown.map(Math.abs)); // all have the decimals that suit the largest
    const told = (value: number) => signed(value, size < 100 ? 1 : size);
    columns.append(...tables.map((t) => column(t, largest, told)));
    const used = (["answer", "foil"] as const).filter((m) => rows.some((r) => r.mark === m));
    this.#content.replaceChildren(...(title ? [el("h2", "pw-title", title)] : []), columns);
    if (used.length) this.#content.append(el("p", "pw-note", used.map((m) => `${MARKS[m]} ${m}`).join("    ")));
    if (note) this.#content.append(el("p", "pw-note", note));
    this.#root.node.hidden = tables.length === 0 && !note;
  }
}

type Table = PredictionsState["tables"][number];

type Told = (value: number) => string;

function column({ name, label, rows, difference }: Table, largest: number | null, told: Told): HTMLElement {
  const node = el("table", `pw-predicted pw-run-${name}`);
  node.append(el("caption", `pw-${name}`, label));
  const body = node.createTBody();
  for (const row of rows) body.append(line(row, largest, told));
  if (difference !== undefined) {
    const foot = node.createTFoot().insertRow();
    foot.title = `answer minus foil: ${signed(difference)}`;
    const name = el("td", "", `${MARKS.answer} \u2212 ${MARKS.foil}`);
    name.setAttribute("aria-label", "answer minus foil");
    foot.append(name, el("td", "pw-percent", told(difference)));
  }
  const numbers = [...node.querySelectorAll<HTMLElement>(".pw-percent")];
  const longest = Math.max(0, ...numbers.map((number) => number.textContent!.length));
  if (numbers[0]) numbers[0].style.width = `${longest + 0.5}ch`; // the first row's widths are the table's
  return node;
}

function line({ token, prob, logit, mark }: PredictionRow, largest: number | null, told: Told): HTMLElement {
  const node = el("tr", mark ? "pw-marked" : "");
  const chance = prob === undefined ? "" : `probability ${precise(prob)}, `;
  node.title = `${quoted(token)}${mark ? ` (${mark})` : ""}: ${chance}logit ${signed(logit)}`;
  const name = el("td", "pw-predicted-token");
  const part = largest === null ? (prob ?? 0) : logit / (largest || 1);
  const bar = el("i", "pw-probbar");
  bar.style.width = `${(100 * Math.max(0, Math.min(1, part))).toFixed(2)}%`;
  const text = el("bdi", "", visible(token));
  const sign = el("span", "pw-mark", MARKS[mark] ?? "");
  if (mark) sign.setAttribute("role", "img");
  if (mark) sign.setAttribute("aria-label", mark);
  name.append(bar, sign, text);
  node.append(name, el("td", "pw-percent", largest === null ? percent(prob ?? NaN) : told(logit)));
  return node;
}
