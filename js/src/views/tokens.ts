import { hover, matches, onHover } from "../bus";
import { coalesce, el } from "../dom";
import { type HeaderPlan, locate, planStrip } from "../geometry";
import { Header } from "../header";
import { handled } from "../keys";
import type { Keys, RenderProps, TokensState } from "../model";
import { createRoot, type Root } from "../root";
import type { PositionStore } from "../store";
import { counted } from "../text";
import { Picks } from "./picks";

/** The two prompts, one column per position, with the differing tokens marked; and the editor of their alignment. */
export class TokensView {
  readonly #root: Root;
  readonly end: () => void;
  readonly #scroll = el("div", "pw-strip-scroll");
  readonly #sheet = el("div", "pw-strip-sheet");
  readonly #numbers = el("div", "pw-numbers");
  readonly #header = new Header();
  readonly #picks: Picks;
  #plan!: HeaderPlan;
  #at = -1;
  #shown = "";

  constructor(
    props: RenderProps<TokensState>,
    readonly store: PositionStore<TokensState, "selected">,
  ) {
    const built = createRoot(props, "pw-tokens", () => this.layout());
    this.#root = built.root;
    this.end = built.end;
    const { node, signal } = this.#root;
    this.#sheet.append(this.#header.node, this.#numbers);
    this.#scroll.append(this.#sheet);
    this.#picks = new Picks(store.model, this.#header, this.#root.say, signal);
    node.prepend(this.#scroll, this.#picks.node);
    this.#scroll.tabIndex = 0;
    this.#scroll.setAttribute("role", "group");
    const relayout = coalesce(() => !signal.aborted && this.layout());
    signal.addEventListener(
      "abort",
      store.subscribe((change) => (change === "selection" ? this.#select() : relayout())),
    );
    this.#listen(signal);
    this.layout();
  }

  layout(): void {
    const columns = this.store.model.get("columns");
    const editing = this.#picks.on;
    this.#plan = planStrip(columns, (this.#root.width() || Infinity) - 4, editing);
    this.#root.node.classList.toggle("pw-editing", editing);
    this.#header.draw(this.#plan);
    this.#sheet.style.width = `${this.#plan.edges[this.#plan.edges.length - 1]}px`;
    this.#numbers.replaceChildren(
      ...this.#plan.cells.map((_, i) => {
        const number = el("span", "pw-number", this.#plan.cells[i].number);
        number.style.left = `${(this.#plan.edges[i] + this.#plan.edges[i + 1]) / 2}px`;
        return number;
      }),
    );
    const texts = this.#plan.cells.map((c) => c.full).join(", ");
    const keys = editing
      ? "Arrow keys move, Enter picks a token, P pairs the tokens picked, U unpairs them."
      : "Arrow keys move, Enter chooses.";
    this.#scroll.setAttribute("aria-label", `${counted(this.#plan.cells.length, "token")}: ${texts}. ${keys}`);
    this.#root.node.hidden = this.#plan.cells.length === 0;
    const shown = JSON.stringify(columns);
    this.#picks.draw(this.#plan, shown === this.#shown);
    this.#shown = shown;
    this.#select();
  }

  #select(): void {
    const { position } = this.store;
    this.#header.mark("pw-on", new Set([position]));
    this.#mark("pw-on", position);
  }

  #mark(name: "pw-on" | "pw-hot", position: number): void {
    [...this.#numbers.children].forEach((number, i) => number.classList.toggle(name, i === position));
  }

  #hot(keys: Keys | null): void {
    const position = this.#plan.cells.findIndex((_, i) => matches({ pos: i }, keys));
    this.#header.mark("pw-hot", new Set([position]));
    this.#mark("pw-hot", position);
  }

  #enter(position: number): void {
    if (position === this.#at) return;
    this.#at = position;
    const keys = position < 0 ? null : { pos: position };
    this.#hot(keys);
    hover(this.store.model.get("group"), keys);
  }

  #listen(signal: AbortSignal): void {
    const find = (event: MouseEvent) =>
      locate(this.#plan.edges, event.clientX - this.#sheet.getBoundingClientRect().left);
    this.#sheet.addEventListener("pointermove", (event) => this.#enter(find(event)), { signal });
    this.#sheet.addEventListener("pointerleave", () => this.#enter(-1), { signal });
    this.#sheet.addEventListener("click", (event) => this.#click(find(event), event), { signal });
    this.#scroll.addEventListener("blur", () => this.#enter(-1), { signal });
    this.#scroll.addEventListener("keydown", (event) => this.#key(event), { signal });
    onHover(
      () => this.store.model.get("group"),
      (keys) => this.#hot(keys),
      signal,
    );
  }

  #click(column: number, event: MouseEvent): void {
    const { left, top } = this.#sheet.getBoundingClientRect();
    if (this.#picks.on) this.#picks.click(event.clientX - left, event.clientY - top);
    else if (column >= 0) this.store.choose(column);
  }

  #key(event: KeyboardEvent): void {
    if (this.#picks.on) {
      if (!this.#picks.key(event)) return;
      this.#enter(this.#picks.column);
      return handled(event);
    }
    const last = this.#plan.cells.length - 1;
    const from = this.#at >= 0 ? this.#at : this.store.position;
    const targets: Record<string, number> = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last };
    if (event.key in targets) {
      const to = Math.max(0, Math.min(last, targets[event.key]));
      this.#enter(to);
      this.#root.say(`position ${this.#plan.cells[to].number} ${this.#plan.cells[to].full}`);
    } else if ((event.key === "Enter" || event.key === " ") && this.#at >= 0) this.store.choose(this.#at);
    else return;
    handled(event);
  }
}
