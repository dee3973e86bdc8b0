import { Cells } from "./cells";
import type { AttentionState, Bytes, HeatmapState, Model } from "./model";
import { tell } from "./tell";

export type Change = "cells" | "traits" | "selection";

/** State that belongs to the model, not to a view: every view of the model subscribes to the one store. */
export class Store {
  #views = new Set<(change: Change) => void>();

  subscribe(view: (change: Change) => void): () => void {
    this.#views.add(view);
    return () => this.#views.delete(view);
  }

  protected changed(change: Change): void {
    for (const view of this.#views) view(change);
  }

  /** Calls `update` and tells the views whenever one of the model's traits changes. */
  protected watch<S>(
    model: Model<S>,
    traits: readonly (keyof S & string)[],
    change: Change,
    update?: () => void,
  ): void {
    for (const trait of traits) {
      model.on(`change:${trait}`, () => {
        update?.();
        this.changed(change);
      });
    }
  }
}

export class HeatmapStore extends Store {
  cells: Cells;
  selected: number[];
  gathered: ReadonlySet<number>;
  #typed: number;

  constructor(readonly model: Model<HeatmapState>) {
    super();
    this.cells = Cells.from(model);
    this.selected = model.get("selected");
    this.gathered = new Set(model.get("gathered"));
    this.#typed = Number(model.get("fixed_limit") ?? 0);
    const reload = () => {
      this.cells = Cells.from(model);
    };
    this.watch(
      model,
      ["normalized", "effect", "patched", "status", "low", "high", "marks", "stages", "row_means", "col_means"],
      "cells",
      reload,
    );
    this.watch(model, ["rows", "columns"], "traits", reload);
    this.watch(
      model,
      ["row_title", "row_keys", "col_keys", "quantity", "limit", "words", "line", "compact", "state", "group", "means"],
      "traits",
    );
    this.watch(model, ["fixed_limit"], "traits", () => {
      this.#typed = Number(model.get("fixed_limit"));
    });
    this.watch(model, ["selected"], "selection", () => {
      this.selected = model.get("selected");
    });
    this.watch(model, ["gathered"], "cells", () => {
      this.gathered = new Set(model.get("gathered"));
    });
    this.watch(model, ["gathers"], "traits");
    model.on("msg:custom", (message: { type?: string }, buffers: Bytes[]) => {
      if (message?.type !== "cells") return;
      this.cells.merge(buffers);
      this.changed("cells");
    });
  }

  /** The end of the scale: the one typed, else the model's own. */
  get limit(): number {
    return this.#typed > 0 ? this.#typed : this.model.get("limit");
  }

  get limitIsTyped(): boolean {
    return this.#typed > 0;
  }

  /** Draws with another limit at once and tells the kernel; 0 gives the scale back its own. */
  fixLimit(value: number): void {
    this.#typed = value;
    this.changed("traits");
    tell(this.model, { type: "limit", value });
  }

  /** Whether cells can be gathered here: somebody must hold them. */
  get gathers(): boolean {
    return Boolean(this.model.get("gathers")) && !this.model.withoutKernel;
  }

  /**
   * Gathers a cell or lets it go; with `from`, gathers all from that cell to this one. The first cell takes the selected
   * one along. The kernel says what counts.
   */
  gather(row: number, col: number, from?: readonly [number, number]): void {
    const { cols } = this.cells;
    const now = new Set(this.gathered);
    const [fromRow, fromCol] = from ?? [row, col];
    if (!from && now.delete(row * cols + col)) this.gathered = now;
    else {
      const [r, c] = this.selected;
      if (!from && !now.size && c !== undefined) now.add(r * cols + c);
      for (let r = Math.min(row, fromRow); r <= Math.max(row, fromRow); r++)
        for (let c = Math.min(col, fromCol); c <= Math.max(col, fromCol); c++) now.add(r * cols + c);
      this.gathered = now;
    }
    this.changed("cells");
    tell(this.model, { type: "gather", row, col, ...(from ? { from: [fromRow, fromCol] } : {}) });
  }

  /** Marks at once and asks the kernel, which answers by setting `selected`. */
  select(row: number, col: number): void {
    this.selected = [row, col];
    this.changed("selection");
    tell(this.model, { type: "select", row, col });
  }
}

/** One chosen position: the strip's `selected`, the attention view's `dest`. */
export class PositionStore<S, K extends keyof S & string> extends Store {
  position: number;

  constructor(
    readonly model: Model<S>,
    readonly trait: K,
    traits: readonly (keyof S & string)[],
    private readonly message: string,
  ) {
    super();
    const read = () => {
      this.position = Number(model.get(trait));
    };
    this.position = Number(model.get(trait));
    this.watch(model, [trait], "selection", read);
    this.watch(model, traits, "traits");
  }

  choose(position: number): void {
    this.position = position;
    this.changed("selection");
    tell(this.model, { type: this.message, pos: position });
  }
}

/** The chosen destination, and which of the choices is shown. */
export class AttentionStore extends PositionStore<AttentionState, "dest"> {
  chosen: number;

  constructor(model: Model<AttentionState>) {
    super(model, "dest", ["title", "columns", "runs", "patterns", "note", "more"], "dest");
    const read = () => {
      this.chosen = model.get("chosen") ?? 0;
    };
    this.chosen = model.get("chosen") ?? 0;
    this.watch(model, ["chosen"], "traits", read);
  }

  show(choice: number): void {
    this.chosen = choice;
    this.changed("traits");
    tell(this.model, { type: "choose", choice });
  }
}
