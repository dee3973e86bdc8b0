import { el } from "./dom";

const LARGEST = 1e9;
const ASKED = "Type a number above 0, or nothing for the scale's own.";

/** The end of the colour scale, to be typed over: Enter takes it, Escape does not, nothing typed gives it back. */
export class LimitField {
  readonly node = el("input", "pw-limit");
  #shown = "";

  constructor(typed: (limit: number) => void, say: (text: string) => void) {
    const { node } = this;
    Object.assign(node, { type: "text", inputMode: "decimal", autocomplete: "off", title: ASKED });
    const take = () => {
      const text = node.value.trim().replace(",", ".");
      if (text === this.#shown) return;
      const limit = text === "" ? 0 : Number(text);
      const wrong = !(limit >= 0 && limit <= LARGEST) || (limit === 0 && text !== "");
      node.setAttribute("aria-invalid", String(wrong));
      if (wrong) say(ASKED);
      else typed(limit);
    };
    node.addEventListener("change", take);
    node.addEventListener("keydown", (event) => {
      event.stopPropagation(); // JupyterLab has shortcuts of its own
      if (event.key === "Enter") take();
      else if (event.key === "Escape") this.#restore();
    });
  }

  show(text: string, unit: string, typed: boolean): void {
    this.#shown = text;
    this.#restore();
    this.node.classList.toggle("pw-typed", typed);
    this.node.setAttribute("aria-label", `end of the colours, plus and minus${unit && `, ${unit}`}`);
  }

  #restore(): void {
    this.node.value = this.#shown;
    this.node.removeAttribute("aria-invalid");
  }
}
