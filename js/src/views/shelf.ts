import { coalesce, el } from "../dom";
import { handled } from "../keys";
import type { RenderProps, ShelfEntry, ShelfState } from "../model";
import { createRoot, type Root } from "../root";
import type { Store } from "../store";
import { tell } from "../tell";

const EMPTY = "Runs are kept here, to bring back and to compare.";

/** Past runs, one line each: click to bring one back, A and B to compare two, a cross to remove one. */
export class ShelfView {
  readonly #root: Root;
  readonly end: () => void;
  readonly #content = el("div");
  #newest: number | undefined;

  constructor(
    props: RenderProps<ShelfState>,
    readonly model: RenderProps<ShelfState>["model"],
    store: Store,
  ) {
    const built = createRoot(props, "pw-shelf", () => undefined); // width and theme reach it through CSS alone
    this.#root = built.root;
    this.end = built.end;
    const { node, signal } = this.#root;
    node.prepend(this.#content);
    node.setAttribute("aria-label", "Shelf of past runs");
    const redraw = coalesce(() => !signal.aborted && this.draw());
    signal.addEventListener("abort", store.subscribe(redraw));
    // Keys work in the whole Explorer around the shelf, but for the fields: those undo their own typing.
    requestAnimationFrame(() => {
      const around = node.closest<HTMLElement>(".pw-x-root");
      if (!around || signal.aborted) return;
      around.addEventListener("keydown", (event) => this.#key(event), { signal });
    });
    this.draw();
  }

  draw(): void {
    const focused = document.activeElement?.closest<HTMLElement>(".pw-shelf [data-does]")?.dataset["does"];
    const entries = this.model.get("entries");
    const top = el("div", "pw-top");
    top.append(el("h2", "pw-title", "Shelf"));
    if (entries.some(({ id }) => id !== this.model.get("current")))
      top.append(this.#button("pw-textbutton", "Clear", "clear", -1, "Clear: remove all runs but the one on screen"));
    const removed = this.model.get("removed") ?? 0;
    const what = removed === 1 ? "run" : `${removed} runs`;
    if (removed)
      top.append(this.#button("pw-textbutton", "Bring back", "restore", -1, `Bring back the ${what} removed last`));
    const list = el("ol", "pw-shelf-list");
    list.append(...entries.map((entry) => this.#line(entry)));
    const told = this.model.get("told") || (entries.length ? "" : EMPTY);
    const scrolled = entries[0]?.id === this.#newest ? (this.#content.querySelector("ol")?.scrollTop ?? 0) : 0;
    this.#newest = entries[0]?.id;
    this.#content.replaceChildren(top, list);
    if (told) this.#content.append(el("p", "pw-note", told));
    list.scrollTop = scrolled;
    if (!focused) return;
    const again = this.#content.querySelector<HTMLElement>(`[data-does="${focused}"]`);
    (again ?? top.querySelector("button"))?.focus({ preventScroll: true });
  }

  #line({ id, name, detail }: ShelfEntry): HTMLElement {
    const line = el("li", "pw-shelf-line");
    const current = this.model.get("current") === id;
    if (current) line.setAttribute("aria-current", "true");
    const show = this.#button("pw-shelf-show", "", "show", id, `Bring back run ${id}: ${name}, ${detail}`);
    show.title = `${name}\n${detail}`;
    show.append(
      el("span", "pw-shelf-number", String(id)),
      el("span", "pw-shelf-name", name),
      el("span", "pw-shelf-detail", detail),
    );
    line.append(show);
    if (current) line.append(el("span", "pw-shelf-here", "on screen"));
    for (const side of ["a", "b"] as const) {
      const letter = side.toUpperCase();
      const chosen = this.model.get(side) === id;
      const choose = this.#button("pw-shelf-side", letter, side, id, `Compare run ${id} as ${letter}`);
      choose.setAttribute("aria-pressed", String(chosen));
      line.append(choose);
    }
    line.append(this.#button("pw-shelf-remove", "\u00d7", "remove", id, `Remove run ${id}`));
    return line;
  }

  #button(className: string, text: string, type: string, id: number, label: string): HTMLButtonElement {
    const button = el("button", className, text);
    button.type = "button";
    button.dataset["does"] = `${type}${id}`;
    button.setAttribute("aria-label", label);
    if (!text || text.length === 1) button.title = label;
    button.disabled = Boolean(this.model.withoutKernel);
    button.addEventListener("click", () => tell(this.model, { type, id }));
    return button;
  }

  #key(event: KeyboardEvent): void {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    if ((event.target as HTMLElement).closest("input, textarea, select, [contenteditable=true]")) return;
    const key = event.key.toLowerCase();
    const type = key === "y" || (key === "z" && event.shiftKey) ? "redo" : key === "z" ? "undo" : "";
    if (!type) return;
    if (this.model.get(type as "undo" | "redo")) tell(this.model, { type, id: -1 });
    handled(event);
  }
}
