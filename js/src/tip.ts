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
  #around: () => DOMRect = () => new DOMRect();

  /**
   * Shows lines beside `near`, and where there is room beside all of `around`, which they would hide a part of. Both
   * are asked again when the page scrolls.
   */
  show(near: () => DOMRect, heading: string, lines: readonly TipLine[], around = near): void {
    this.node.replaceChildren(el("div", "pw-tip-head", heading));
    for (const { name, value, strong, className } of lines) {
      const line = el("div", `pw-tip-line ${strong ? "pw-strong" : ""} ${className ?? ""}`);
      line.append(el("span", "pw-dim", name), el("span", "pw-tip-value", value));
      this.node.append(line);
    }
    this.node.hidden = false;
    if (this.node.isConnected && this.node.showPopover && !this.node.matches(":popover-open")) this.node.showPopover();
    [this.#near, this.#around] = [near, around];
    this.follow();
  }

  /** Stands beside what it is about, wherever that has scrolled to. */
  follow(): void {
    if (!this.#near) return;
    const { x, y } = spot(this.#near(), this.#around(), this.node.getBoundingClientRect(), innerWidth, innerHeight);
    Object.assign(this.node.style, { left: `${x}px`, top: `${y}px` });
  }

  hide(): void {
    this.#near = null;
    if (this.node.isConnected && this.node.hidePopover && this.node.matches(":popover-open")) this.node.hidePopover();
    this.node.hidden = true;
  }
}

const GAP = 8;
const EDGE = 4;

interface Box {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

/**
 * Where a box of a size stands on a page of a size: right of `around`, else left of it, below or above it, where it is
 * whole; else so beside `near`.
 */
export function spot(
  near: Box,
  around: Box,
  { width, height }: { width: number; height: number },
  pageWidth: number,
  pageHeight: number,
): { x: number; y: number } {
  const within = (at: number, most: number) => Math.max(EDGE, Math.min(at, most - EDGE));
  const [across, down] = [within(near.left, pageWidth - width), within(near.top - 4, pageHeight - height)];
  const beside = (box: Box) => [
    { x: box.right + GAP, y: down },
    { x: box.left - GAP - width, y: down },
    { x: across, y: box.bottom + GAP },
    { x: across, y: box.top - GAP - height },
  ];
  const whole = ({ x, y }: { x: number; y: number }) =>
    x >= EDGE && y >= EDGE && x + width <= pageWidth - EDGE && y + height <= pageHeight - EDGE;
  return (
    [...beside(around), ...beside(near)].find(whole) ?? { x: across, y: within(near.bottom + GAP, pageHeight - height) }
  );
}
