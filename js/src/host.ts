import type { Bytes } from "./model";

/** One view's state as a page carries it: binary traits apart, in base64. */
export interface Saved {
  state: Record<string, unknown>;
  buffers: { path: string[]; data: string }[];
}

type Callback = (...args: unknown[]) => void;

const decode = (base64: string): Bytes => new DataView(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);

/** A model without a kernel: the inlined state, and answers to the views' own requests. */
export class StaticModel {
  readonly withoutKernel: boolean = true;
  readonly #state: Record<string, unknown>;
  readonly #callbacks = new Map<string, Set<Callback>>();

  constructor({ state, buffers }: Saved) {
    this.#state = { ...state };
    for (const { path, data } of buffers) this.#state[path[0]] = decode(data);
  }

  get(key: string): unknown {
    return this.#state[key];
  }

  set(key: string, value: unknown): void {
    this.#state[key] = value;
    for (const callback of [...(this.#callbacks.get(`change:${key}`) ?? [])]) callback(this, value);
  }

  on(event: string, callback: Callback): void {
    const callbacks = this.#callbacks.get(event) ?? new Set();
    this.#callbacks.set(event, callbacks.add(callback));
  }

  off(event?: string | null, callback?: Callback | null): void {
    if (event == null) this.#callbacks.clear();
    else if (callback == null) this.#callbacks.delete(event);
    else this.#callbacks.get(event)?.delete(callback);
  }

  /** There is nobody to save to; the state is the page's. */
  save_changes(): void {}

  /** Does what the kernel would do where no computation is needed: a choice is taken over. */
  send(content: unknown): void {
    const { type, row, col, pos, value } = content as Record<string, unknown>;
    if (type === "select") this.set("selected", pos ?? [row, col]);
    else if (type === "limit") this.set("fixed_limit", value);
    else if (type === "dest") this.set("dest", pos);
  }
}

interface Module {
  initialize(props: { model: never }): void;
  render(props: { model: never; el: HTMLElement; signal: AbortSignal }): unknown;
}

/** Draws every saved view into the page's element that names it: `data-pw-view="0"`. */
export function mountAll(saved: readonly Saved[], factory: () => Module, page: ParentNode = document): StaticModel[] {
  return saved.map((one, i) => {
    const model = new StaticModel(one);
    const module = factory();
    module.initialize({ model: model as never });
    for (const el of page.querySelectorAll<HTMLElement>(`[data-pw-view="${i}"]`)) {
      module.render({ model: model as never, el, signal: new AbortController().signal });
    }
    return model;
  });
}
