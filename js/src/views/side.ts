import { cellTextWidth } from "../geometry";
import type { Scale } from "../colour";
import { el } from "../dom";
import { colourBar, tickText } from "../legend";
import { LimitField } from "../limit";

const LEAST = 58;
const MOST = 120;
const GAP = 14;

/** What stands beside a map: its colours, with the end of their scale to be typed over. */
export class Side {
  readonly node = el("div", "pw-side");
  readonly #limit: LimitField;

  constructor(typed: (limit: number) => void, say: (text: string) => void) {
    this.#limit = new LimitField(typed, say);
  }

  /** Takes the room that a unit needs and returns it, the gap to the map included. What is written later takes no more. */
  room(unit: string): number {
    const width = Math.max(LEAST, Math.min(MOST, cellTextWidth(unit)));
    this.node.style.width = `${width}px`;
    return GAP + width;
  }

  draw(scale: Scale, unit: string, height: number, over: boolean, typed: boolean, fromZero: boolean): void {
    const field = this.#limit.node;
    const typing = document.activeElement === field;
    this.#limit.show(tickText(scale.limit, scale.limit), unit, typed);
    this.node.replaceChildren(colourBar(scale, unit, height, over, [field, this.#limit.refused], fromZero));
    if (typing) field.focus();
  }
}
