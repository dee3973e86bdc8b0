/** A new element with a class and text. Text is always text: nothing here parses markup. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = "",
  text?: string,
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

export function place(node: HTMLElement, x: number, y: number, width: number, height: number): void {
  node.hidden = false;
  Object.assign(node.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
}

let ruler: CanvasRenderingContext2D | null | undefined;

/** The width of a text in CSS pixels; by its length where there is no canvas. */
export function textWidth(text: string, font: string): number {
  ruler ??= el("canvas").getContext("2d");
  if (!ruler) return text.length * 0.61 * parseFloat(font.replace(/^\D*/, ""));
  ruler.font = font;
  return ruler.measureText(text).width;
}

/** Runs `draw` once before the next frame however often it is asked. */
export function coalesce(draw: () => void): () => void {
  let asked = 0;
  return () => {
    asked ||= requestAnimationFrame(() => {
      asked = 0;
      draw();
    });
  };
}

export interface Surface {
  g: CanvasRenderingContext2D;
  /** Screen pixels per CSS pixel. */
  dpr: number;
}

/** Sizes a canvas for the screen's pixels and returns its context, scaled so that one unit is one CSS pixel. */
export function fit(canvas: HTMLCanvasElement, width: number, height: number): Surface | null {
  const widest = 16000; // browsers refuse larger canvases
  const dpr = Math.min(globalThis.devicePixelRatio || 1, widest / Math.max(1, width, height));
  const [w, h] = [Math.round(width * dpr), Math.round(height * dpr)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  const g = canvas.getContext("2d");
  if (!g) return null;
  g.setTransform(dpr, 0, 0, dpr, 0, 0);
  g.clearRect(0, 0, width, height);
  return { g, dpr };
}
