import { el } from "./dom";

/** Puts texts on the clipboard; where a page may not, shows them in `box` to be copied by hand. */
export class Clipboard {
  readonly box = el("textarea", "pw-copy-text");

  constructor() {
    this.box.readOnly = true;
    this.box.hidden = true;
    this.box.setAttribute("aria-label", "Copy this by hand");
  }

  /** Resolves to whether the text is on the clipboard. */
  async write(text: string): Promise<boolean> {
    this.box.hidden = true;
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      this.box.value = text;
      this.box.hidden = false;
      this.box.focus();
      this.box.select();
      return false;
    }
  }
}
