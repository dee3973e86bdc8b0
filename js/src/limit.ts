import { el } from "./dom";

const LARGEST = 1e9;
const ASKED = "Type a number above 0, or nothing for the scale's own.";

/**
 * The end of the colour scale, to be typed over: Enter takes it, Escape does not, nothing typed gives it back. What is
 * no end of a scale is refused in `refused`, and the one before stays.
 */
export class LimitField {
  readonly node = el("input", "pw-limit");
  readonly refused = el("div", "pw-refused", "a number above 0");
  #shown = "";

  constructor(typed: (limit: number) => void, say: (text: string) => void) {
    const { node } = this;
    Object.assign(node, { type: "text", inputMode: "decimal", autocomplete: "off", title: ASKED });
    this.refused.hidden = true;
    this.refused.setAttribute("aria-hidden", "true"); // the live region says it
    const take = () => {
      const text = node.value.trim().replace(",", ".");
      if (text === this.#shown) return this.#restore();
      const limit = text === "" ? 0 : Number(text);
      const wrong = !(limit >= 0 && limit <= LARGEST) || (limit === 0 && text !== "");
      node.setAttribute("aria-invalid", String(wrong));
      this.refused.hidden = !wrong;
      if (wrong) return say(ASKED);
      node.value = this.#shown = text;
      typed(limit);
    };
    node.addEventListener("change", take);
    node.addEventListener("input", () => this.#fit());
    node.addEventListener("keydown", (event) => {
      event.stopPropagation(); // JupyterLab has shortcuts of its own
      if (event.key === "Enter") take();
      else if (event.key === "Escape") this.#restore();
    });
    node.addEventListener("blur", () => {
      if (this.refused.hidden) return;
      this.#restore();
      this.refused.hidden = false; // the colours are as they were; why stays to be read
    });
    node.addEventListener("focus", () => (this.refused.hidden = node.getAttribute("aria-invalid") !== "true"));
  }

  show(text: string, unit: string, typed: boolean): void {
    const typing = document.activeElement === this.node && this.node.value !== this.#shown;
    this.#shown = text;
    if (!typing) this.#restore();
    this.node.classList.toggle("pw-typed", typed);
    this.node.setAttribute("aria-label", `end of the colours, plus and minus${unit && `, ${unit}`}`);
  }

  /** Makes the field as wide as its number. */
  #fit(): void {
    this.node.style.width = `calc(${Math.max(3, this.node.value.length)}ch + 9px)`;
  }

  #restore(): void {
    this.node.value = this.#shown;
    this.#fit();
    this.node.removeAttribute("aria-invalid");
    this.refused.hidden = true;
  }
}
