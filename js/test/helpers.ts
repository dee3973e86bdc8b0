import { StaticModel } from "../src/host";
import type { HeatmapState, RenderProps, TokenColumns, ViewState } from "../src/model";
import widget from "../src/widget";

/** A static model that remembers what the view sent and can be spoken to as the kernel does. */
export class TestModel extends StaticModel {
  override readonly withoutKernel = false;
  readonly sent: unknown[] = [];
  readonly #messages: ((message: unknown, buffers: unknown[]) => void)[] = [];

  constructor(state: object) {
    super({ state: state as Record<string, unknown>, buffers: [] });
  }

  override on(event: string, callback: (...args: unknown[]) => void): void {
    if (event === "msg:custom") this.#messages.push(callback);
    else super.on(event, callback);
  }

  override send(content: unknown): void {
    this.sent.push(content);
  }

  deliver(message: unknown, buffers: unknown[] = []): void {
    for (const callback of this.#messages) callback(message, buffers);
  }
}

export interface Mounted {
  model: TestModel;
  root: HTMLElement;
  end: () => void;
  another(): HTMLElement;
}

/** Draws one view of a state as a notebook does; `another` draws a second view of the same model. */
export function mount(state: object): Mounted {
  const model = new TestModel(state);
  const module = widget();
  module.initialize({ model: model as never });
  const ending = new AbortController();
  const draw = () => {
    const el = document.createElement("div");
    document.body.append(el);
    module.render({ model, el, signal: ending.signal } as unknown as RenderProps<ViewState>);
    return el.firstElementChild as HTMLElement;
  };
  return { model, root: draw(), end: () => ending.abort(), another: draw };
}

type Texts = (string | null)[];
export const tokens = (clean: Texts, corrupted: Texts = clean, bos: number | null = null): TokenColumns => ({
  kind: "tokens",
  title: "token",
  clean,
  corrupted,
  differs: clean.map((token, i) => token !== corrupted[i]),
  bos,
});

/** Three layers over four positions; the value at row r, column c is (r + c) / 10. */
export function heatmapState(more: Partial<HeatmapState> = {}): HeatmapState {
  const values = Float32Array.from({ length: 12 }, (_, i) => (Math.floor(i / 4) + (i % 4)) / 10);
  return {
    kind: "heatmap",
    group: "",
    rows: ["0", "1", "2"],
    row_title: "layer",
    columns: tokens([" When", " Mary", " gave", " to"], [" When", " Anna", " gave", " to"]),
    row_keys: [{ layer: 0 }, { layer: 1 }, { layer: 2 }],
    col_keys: [{ pos: 0 }, { pos: 1 }, { pos: 2 }, { pos: 3 }],
    normalized: values,
    effect: values.map((v) => 5 * v),
    patched: values.map((v) => 5 * v - 2),
    status: new Uint8Array(12),
    quantity: "normalized",
    limit: 1,
    words: { title: "A map", unit: "recovered", high: "near 1: it moved", near_zero: "near 0: it did not" },
    selected: [],
    line: -1,
    compact: false,
    state: "done",
    ...more,
  };
}

/** A pointer event at the middle of a cell; jsdom puts every element at the origin, so cells count from there. */
export function pointAt(target: Element, type: string, x: number, y: number): void {
  target.dispatchEvent(new MouseEvent(type, { bubbles: true, clientX: x, clientY: y }));
}

export function press(target: Element, key: string, more: KeyboardEventInit = {}): KeyboardEvent {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
  target.dispatchEvent(event);
  return event;
}

/** What a screen reader reads at the grid's cursor. */
export const active = (root: Element): string => {
  const id = root.querySelector("[role=grid]")!.getAttribute("aria-activedescendant")!;
  return document.getElementById(id)!.getAttribute("aria-label")!;
};

export const live = (root: Element): string => root.querySelector(".pw-live")?.textContent ?? "";
