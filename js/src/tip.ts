import { el } from "./dom";

export interface TipLine {
  name: string;
  value: string;
  strong?: boolean;
  className?: string;
}

/** One tooltip beside a rectangle of the page, in the top layer where the browser has one, so that no panel cuts it off. */
export class Tip {
  readonly node = el("div", "pw-tip");

  constructor() {
    this.node.popover = "manual";
    this.node.hidden = true;
    this.node.setAttribute("aria-hidden", "true"); // the live region says it
  }

  #near: (() => DOMRect) | null = null;

  /** `near` is asked again when the page scrolls. */
  show(near: () => DOMRect, heading: string, lines: readonly TipLine[]): void {
    this.node.replaceChildren(el("div", "pw-tip-head", heading));
    for (const { name, value, strong, className } of lines) {
      const line = el("div", `pw-tip-line ${strong ? "pw-strong" : ""} ${className ?? ""}`);
      line.append(el("span", "pw-dim", name), el("span", "pw-tip-value", value));
      this.node.append(line);
    }
    this.node.hidden = false;
    if (this.node.isConnected && this.node.showPopover && !this.node.matches(":popover-open")) this.node.showPopover();
    this.#near = near;
    this.follow();
  }

  /** Stands beside what it is about, wherever that has scrolled to. */
  follow(): void {
    if (!this.#near) return;
    const near = this.#near();
    const { width, height } = this.node.getBoundingClientRect();
    const gap = 8;
    const right = near.right + gap;
    const x = right + width <= innerWidth ? right : Math.max(4, near.left - gap - width);
    const y = Math.max(4, Math.min(near.top - 4, innerHeight - height - 4));
    Object.assign(this.node.style, { left: `${x}px`, top: `${y}px` });
  }

  hide(): void {
    this.#near = null;
    if (this.node.isConnected && this.node.hidePopover && this.node.matches(":popover-open")) this.node.hidePopover();
    this.node.hidden = true;
  }
}
