import { expect, test, vi } from "vitest";
import type { Model, TokensState } from "../src/model";
import { PositionStore } from "../src/store";

test("a view whose kernel has ended still marks what is chosen", () => {
  const debug = vi.spyOn(console, "debug").mockImplementation(() => {});
  const send = () => {
    throw new Error("Cannot send");
  };
  const model = { get: () => -1, on: () => {}, off: () => {}, send } as unknown as Model<TokensState>;
  const store = new PositionStore<TokensState, "selected">(model, "selected", [], "select");
  store.choose(2);
  expect(store.position).toBe(2);
  expect(debug).toHaveBeenCalledOnce();
});
