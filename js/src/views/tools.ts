import { type Part, PARTS } from "../copying";
import { el } from "../dom";

const KEYS: Readonly<Record<string, Part>> = { c: "cell", r: "row", l: "column", a: "table" };
const ZOOMS: Readonly<Record<string, -1 | 0 | 1>> = { "-": -1, "+": 1, "=": 1, "0": 0 };
const key = (part: Part): string =>
  Object.keys(KEYS)
    .find((k) => KEYS[k] === part)!
    .toUpperCase();

export interface Does {
  table(): void;
  copy(part: Part): void;
  /** One step in or out, or, by 0, back to what the room asks for. */
  zoom(step: -1 | 0 | 1): void;
}

/** The line below a map: which keys there are, and the same as buttons. */
export class Tools {
  readonly node = el("div", "pw-hints");
  readonly #keys = el("span", "pw-keys");
  readonly #table: HTMLButtonElement;
  readonly #told = el("span", "pw-told");

  constructor(readonly does: Does) {
    this.#table = button("Show table", "T", () => does.table());
    const copy = group("copy", "Copy");
    for (const part of PARTS) copy.append(button(part, key(part), () => does.copy(part), `copy ${part}`));
    const zoom = group("zoom", "Zoom");
    zoom.append(
      button("out", "-", () => does.zoom(-1), "zoom out"),
      button("in", "+", () => does.zoom(1), "zoom in"),
    );
    this.#told.setAttribute("aria-hidden", "true"); // the live region says it
    this.node.append(this.#keys, this.#table, copy, zoom, this.#told);
  }

  /** `verb` is what Enter does to a cell. */
  name(verb: string, gathers: boolean): void {
    const gather = gathers ? "   Space gather   \u21e7Space range" : "";
    this.#keys.textContent = `\u2191\u2193\u2190\u2192 move   Enter ${verb}${gather}   T table   C copy   + \u2212 zoom`;
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
    else if (name in ZOOMS) this.does.zoom(ZOOMS[name]);
    else return false;
    return true;
  }
}

function group(name: string, text: string): HTMLElement {
  const node = el("span", "pw-tools", text);
  node.setAttribute("role", "group");
  node.setAttribute("aria-label", name);
  return node;
}

function button(text: string, shortcut: string, pressed: () => void, name = text): HTMLButtonElement {
  const node = el("button", "pw-textbutton", text);
  node.type = "button";
  if (name !== text) node.setAttribute("aria-label", name);
  node.setAttribute("aria-keyshortcuts", shortcut);
  node.title = `key ${shortcut.replace("-", "\u2212")}`;
  node.addEventListener("click", pressed);
  return node;
}
