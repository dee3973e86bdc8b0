import type {
  AttentionState,
  CopyState,
  HeatmapState,
  Model,
  PairsState,
  PredictionsState,
  RenderProps,
  ShelfState,
  TokensState,
  ViewState,
} from "./model";
import { AttentionStore, HeatmapStore, PositionStore, Store } from "./store";
import { AttentionView } from "./views/attention";
import { CopyView } from "./views/copy";
import { HeatmapView } from "./views/heatmap";
import { PairsView } from "./views/pairs";
import { PredictionsView } from "./views/predictions";
import { ShelfView } from "./views/shelf";
import { TokensView } from "./views/tokens";

class PredictionsStore extends Store {
  constructor(model: Model<PredictionsState>) {
    super();
    this.watch(model, ["title", "note", "quantity", "tables"], "traits");
  }
}

class ShelfStore extends Store {
  constructor(model: Model<ShelfState>) {
    super();
    this.watch(model, ["entries", "current", "a", "b", "told", "removed"], "traits");
  }
}

interface Ending {
  end: () => void;
}

/** Makes a model's store once and returns what draws a view of it. One entry per kind of view. */
const KINDS: Record<string, (model: Model<never>) => (props: RenderProps<never>) => Ending> = {
  heatmap(model: Model<HeatmapState>) {
    const store = new HeatmapStore(model);
    return (props: RenderProps<HeatmapState>) => new HeatmapView(props, store);
  },
  tokens(model: Model<TokensState>) {
    const store = new PositionStore(model, "selected", ["columns", "editing"], "select");
    return (props: RenderProps<TokensState>) => new TokensView(props, store);
  },
  attention(model: Model<AttentionState>) {
    const store = new AttentionStore(model);
    return (props: RenderProps<AttentionState>) => new AttentionView(props, store);
  },
  pairs(model: Model<PairsState>) {
    const traits = ["title", "unit", "pairs", "mean", "low", "high", "note"] as const;
    const store = new PositionStore(model, "selected", traits, "select");
    return (props: RenderProps<PairsState>) => new PairsView(props, store);
  },
  predictions(model: Model<PredictionsState>) {
    const store = new PredictionsStore(model);
    return (props: RenderProps<PredictionsState>) => new PredictionsView(props, model, store);
  },
  copy() {
    return (props: RenderProps<CopyState>) => new CopyView(props);
  },
  shelf(model: Model<ShelfState>) {
    const store = new ShelfStore(model);
    return (props: RenderProps<ShelfState>) => new ShelfView(props, model, store);
  },
};

/** The anywidget module: each model gets its own closure, so that what arrives is merged once whatever the views. */
export default () => {
  let draw: ((props: RenderProps<never>) => Ending) | undefined;
  return {
    initialize({ model }: { model: Model<ViewState> }): void {
      const make = KINDS[model.get("kind")];
      if (!make) throw new Error(`No view of kind "${model.get("kind")}"; known: ${Object.keys(KINDS).join(", ")}.`);
      draw = make(model as unknown as Model<never>);
    },
    render(props: RenderProps<ViewState>): (() => void) | undefined {
      const view = draw?.(props as unknown as RenderProps<never>);
      return props.signal ? undefined : view?.end;
    },
  };
};
