import { type Part, PARTS } from "../copying";
import { el } from "../dom";

const KEYS: Readonly<Record<string, Part>> = { c: "cell", r: "row", l: "column", a: "table" };
const key = (part: Part): string =>
  Object.keys(KEYS)
    .find((k) => KEYS[k] === part)!
    .toUpperCase();

export interface Does {
  table(): void;
  copy(part: Part): void;
}

/** The line below a map: which keys there are, and the same as buttons. */
export class Tools {
  readonly node = el("div", "pw-hints");
  readonly #keys = el("span", "pw-keys");
  readonly #table: HTMLButtonElement;
  readonly #told = el("span", "pw-told");

  constructor(readonly does: Does) {
    this.#table = button("Show table", "T", () => does.table());
    const copy = el("span", "pw-tools");
    copy.setAttribute("role", "group");
    copy.setAttribute("aria-label", "copy");
    copy.append("Copy");
    for (const part of PARTS) {
      const each = button(part, key(part), () => does.copy(part));
      each.setAttribute("aria-label", `copy ${part}`);
      copy.append(each);
    }
    this.#told.setAttribute("aria-hidden", "true"); // the live region says it
    this.node.append(this.#keys, this.#table, copy, this.#told);
  }

  /** `verb` is what Enter does to a cell. */
  name(verb: string): void {
    this.#keys.textContent = `\u2191\u2193\u2190\u2192 move   Enter ${verb}   T table   C copy`;
  }

  showsTable(on: boolean): void {
    this.#table.textContent = on ? "Show map" : "Show table";
    this.tell("");
  }

  tell(text: string): void {
    this.#told.textContent = text;
  }

  /** Does what a letter stands for, if it stands for anything. */
  key(letter: string): boolean {
    const name = letter.toLowerCase();
    if (name === "t") this.does.table();
    else if (name in KEYS) this.does.copy(KEYS[name]);
    else return false;
    return true;
  }
}

function button(text: string, shortcut: string, pressed: () => void): HTMLButtonElement {
  const node = el("button", "pw-textbutton", text);
  node.type = "button";
  node.setAttribute("aria-keyshortcuts", shortcut);
  node.title = `key ${shortcut}`;
  node.addEventListener("click", pressed);
  return node;
}
