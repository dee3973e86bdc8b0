// What jsdom lacks and every browser has: a canvas that remembers what was drawn, resize observers, media queries.
import { afterEach } from "vitest";

export interface Drawn {
  what: "rect" | "text" | "triangle" | "ring" | "circle" | "line";
  x: number;
  y: number;
  w: number;
  h: number;
  style: unknown;
  text?: string;
}

class Recorder {
  drawn: Drawn[] = [];
  fillStyle: unknown = "";
  strokeStyle: unknown = "";
  lineWidth = 1;
  font = "10px monospace";
  textAlign = "";
  textBaseline = "";
  #dashed = false;
  #path: Omit<Drawn, "style"> | null = null;
  #lines: Omit<Drawn, "style">[] = [];
  clearRect() {
    this.drawn = [];
  }
  setTransform() {}
  translate() {}
  beginPath() {
    this.#path = null;
    this.#lines = [];
  }
  moveTo(x: number, y: number) {
    this.#path = { what: "triangle", x, y, w: 0, h: 0 };
  }
  lineTo(x: number, y: number) {
    const from = this.#path;
    if (from) this.#lines.push({ what: "line", x: from.x, y: from.y, w: x - from.x, h: y - from.y });
  }
  stroke() {
    for (const line of this.#lines) this.drawn.push({ ...line, style: this.strokeStyle });
  }
  roundRect(x: number, y: number, w: number, h: number) {
    this.#path = { what: "rect", x, y, w, h };
  }
  fill() {
    if (this.#path) this.drawn.push({ ...this.#path, style: this.fillStyle });
  }
  fillRect(x: number, y: number, w: number, h: number) {
    this.drawn.push({ what: "rect", x, y, w, h, style: this.fillStyle });
  }
  fillText(text: string, x: number, y: number) {
    this.drawn.push({ what: "text", x, y, w: 0, h: 0, style: this.fillStyle, text });
  }
  measureText(text: string) {
    return { width: [...text].length * 0.6 * parseFloat(this.font) };
  }
  setLineDash(dashes: number[]) {
    this.#dashed = dashes.length > 0;
  }
  strokeRect(x: number, y: number, w: number, h: number) {
    this.drawn.push({ what: "ring", x, y, w, h, style: this.#dashed ? "dashed" : "solid" });
  }
  arc(x: number, y: number, r: number) {
    this.drawn.push({ what: "circle", x, y, w: 2 * r, h: 2 * r, style: this.strokeStyle });
  }
  createPattern() {
    return { setTransform() {} };
  }
}

const recorders = new WeakMap<HTMLCanvasElement, Recorder>();

/** What is drawn on a canvas since it was last cleared. */
export const drawn = (canvas: HTMLCanvasElement): Drawn[] => recorders.get(canvas)?.drawn ?? [];

HTMLCanvasElement.prototype.getContext = function (this: HTMLCanvasElement) {
  if (!recorders.has(this)) recorders.set(this, new Recorder());
  return recorders.get(this);
} as unknown as typeof HTMLCanvasElement.prototype.getContext;

globalThis.DOMMatrix ??= class {
  scale() {
    return this;
  }
} as unknown as typeof DOMMatrix;

globalThis.ResizeObserver ??= class {
  observe() {}
  unobserve() {}
  disconnect() {}
};

let dark = false;
const media = new EventTarget();
globalThis.matchMedia = (query: string) =>
  Object.assign(Object.create(media) as MediaQueryList, {
    matches: dark && query.includes("dark"),
    addEventListener: media.addEventListener.bind(media),
  });

/** Sets what the system prefers, as a person would in the system's settings. */
export function systemTheme(theme: "light" | "dark"): void {
  dark = theme === "dark";
  media.dispatchEvent(new Event("change"));
}

export const nextFrame = (): Promise<void> =>
  new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => resolve())));

afterEach(() => {
  document.body.replaceChildren();
  document.body.removeAttribute("data-jp-theme-light");
  document.body.className = "";
  dark = false;
});
