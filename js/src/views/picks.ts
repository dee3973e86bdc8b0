import { el } from "../dom";
import { type HeaderPlan, locate } from "../geometry";
import type { Header } from "../header";
import type { Model, TokensState } from "../model";
import { quoted } from "../text";
import { tell } from "../tell";

const RUNS = ["clean", "corrupted"] as const;
type Run = (typeof RUNS)[number];

const HINT = "Click one clean and one corrupted token, or move with the arrows and press Enter.";

/** The editor of an alignment: one token of each run can be picked, and the kernel asked to pair or unpair them. */
export class Picks {
  readonly node = el("div", "pw-edit");
  readonly #pair = button("Pair", "P: let the two tokens stand for each other");
  readonly #unpair = button("Unpair", "U: let the token stand alone");
  readonly #reset = button("Reset", "return to the alignment proposed");
  readonly #hint = el("span", "pw-edit-hint", HINT);
  #plan!: HeaderPlan;
  #at: Record<Run, number> = { clean: -1, corrupted: -1 };
  #caret: { run: Run; column: number } = { run: "clean", column: 0 };

  constructor(
    readonly model: Model<TokensState>,
    readonly header: Header,
    readonly say: (text: string) => void,
    signal: AbortSignal,
  ) {
    this.node.append(this.#pair, this.#unpair, this.#reset, this.#hint);
    this.#pair.addEventListener("click", () => this.#ask("pair"), { signal });
    this.#unpair.addEventListener("click", () => this.#ask("unpair"), { signal });
    this.#reset.addEventListener("click", () => this.#ask("reset"), { signal });
  }

  get on(): boolean {
    return !this.model.withoutKernel && (this.model.get("editing") ?? "off") !== "off";
  }

  /** Takes a new layout; other columns are other tokens, and nothing of them is picked. */
  draw(plan: HeaderPlan, same: boolean): void {
    this.#plan = plan;
    if (!same) this.#at = { clean: -1, corrupted: -1 };
    this.#caret.column = Math.max(0, Math.min(this.#caret.column, plan.cells.length - 1));
    this.node.hidden = !this.on;
    this.#show();
  }

  /** Picks the token under a point of the sheet; the upper half is the clean one. */
  click(x: number, y: number): void {
    const column = locate(this.#plan.edges, x);
    if (column >= 0) this.#pick(y < this.#plan.height / 2 ? "clean" : "corrupted", column);
  }

  /** Does what a key means here; returns whether it means anything. */
  key(event: KeyboardEvent): boolean {
    if (event.ctrlKey || event.altKey || event.metaKey) return false;
    const key = event.key.toLowerCase();
    const { run, column } = this.#caret;
    const last = this.#plan.cells.length - 1;
    const columns: Record<string, number> = { arrowleft: column - 1, arrowright: column + 1, home: 0, end: last };
    if (key in columns) this.#move(run, Math.max(0, Math.min(last, columns[key])));
    else if (key === "arrowup" || key === "arrowdown") this.#move(key === "arrowup" ? "clean" : "corrupted", column);
    else if (key === "enter" || key === " ") this.#pick(run, column);
    else if (key === "p") this.#ask("pair");
    else if (key === "u") this.#ask("unpair");
    else if (key === "escape" && (this.#at.clean >= 0 || this.#at.corrupted >= 0)) {
      this.#at = { clean: -1, corrupted: -1 };
      this.#show();
    } else return false;
    return true;
  }

  /** The column the keyboard is at. */
  get column(): number {
    return this.#caret.column;
  }

  #move(run: Run, column: number): void {
    this.#caret = { run, column };
    this.#show();
    this.say(`${run} ${this.#name(run, column)}${this.#at[run] === column ? ", picked" : ""}`);
  }

  #pick(run: Run, column: number): void {
    this.#caret = { run, column };
    if (this.#plan.cells[column].gap === run) this.say(`the ${run} prompt has no token here`);
    else {
      this.#at[run] = this.#at[run] === column ? -1 : column;
      this.say(`${this.#at[run] < 0 ? "not picked" : "picked"}: ${run} ${this.#name(run, column)}`);
    }
    this.#show();
  }

  #ask(what: "pair" | "unpair" | "reset"): void {
    const { clean, corrupted } = this.#at;
    const picked = Number(clean >= 0) + Number(corrupted >= 0);
    if (picked < { pair: 2, unpair: 1, reset: 0 }[what]) return this.say(HINT);
    tell(this.model, { type: what, clean, corrupted });
  }

  #name(run: Run, column: number): string {
    const token = this.model.get("columns")[run][column];
    const clean = this.model.get("columns").clean[column];
    if (token === null) return "no token";
    return run === "corrupted" && token === clean ? `${quoted(token)}, as clean` : quoted(token);
  }

  #show(): void {
    for (const run of RUNS) {
      this.header.markToken("pw-picked", run, this.on ? this.#at[run] : -1);
      this.header.markToken("pw-caret", run, this.on && this.#caret.run === run ? this.#caret.column : -1);
    }
    this.#pair.disabled = this.#at.clean < 0 || this.#at.corrupted < 0;
    this.#unpair.disabled = this.#at.clean < 0 && this.#at.corrupted < 0;
    this.#reset.disabled = this.model.get("editing") !== "edited";
  }
}

function button(name: string, title: string): HTMLButtonElement {
  const node = el("button", "pw-edit-button", name);
  node.type = "button";
  node.title = title;
  return node;
}
