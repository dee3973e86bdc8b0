import { Scale, weightColour } from "../colour";
import { el } from "../dom";
import { smallBar } from "../legend";
import type { AttentionChoice, AttentionRun, AttentionState, Model } from "../model";
import { decimal, signed } from "../text";
import type { Theme } from "../theme";

/** One thing the attention view can show over its columns: weights of runs, or differences on a scale of their own. */
export class Choice {
  readonly #scale: Scale | null;

  constructor(
    readonly told: AttentionChoice,
    readonly values: Float32Array,
    readonly theme: Theme,
  ) {
    this.#scale = told.limit > 0 ? new Scale(theme, told.limit) : null;
  }

  get runs(): AttentionRun[] {
    return this.told.runs;
  }

  get differs(): boolean {
    return this.#scale !== null;
  }

  colour(run: AttentionRun, value: number): { fill: string; ink: string } {
    if (this.#scale) return { fill: this.#scale.fill(value), ink: this.#scale.ink(value) };
    return weightColour(this.theme, run.name === "difference" ? "patched" : run.name, value);
  }

  say(value: number): string {
    return this.#scale ? signed(value) : decimal(value);
  }

  /** What the shades mean, and numbers from which size up are printed, "" where none is. */
  legend(from: string): string {
    const shade = this.#scale
      ? "Blue: more in the first of the two, orange: less."
      : `Shade: square root of the weight${from && `, numbers from ${from} up`}.`;
    return this.#scale && from ? `${shade} Numbers from ${from} up.` : shade;
  }

  bar(): HTMLElement[] {
    return this.#scale ? [smallBar(this.#scale)] : [];
  }
}

/** The choices of a state, without their values: the weights first. */
export function choicesOf(state: Model<AttentionState>): AttentionChoice[] {
  const first = { label: "Weights", note: state.get("note") ?? "", runs: state.get("runs"), limit: 0 };
  return [first, ...(state.get("more") ?? [])];
}

/** The choice shown of a state whose `patterns` hold those of all choices, [run, n, n], one after another. */
export function chosenOf(state: Model<AttentionState>, chosen: number, all: Float32Array, theme: Theme): Choice {
  const choices = choicesOf(state);
  const n = state.get("columns").clean.length;
  const index = chosen < choices.length ? chosen : 0;
  const before = choices.slice(0, index).reduce((sum, choice) => sum + choice.runs.length, 0);
  const told = choices[index];
  return new Choice(told, all.subarray(before * n * n, (before + told.runs.length) * n * n), theme);
}

/** A button per choice, the shown one pressed; hidden where there is but one. */
export class ChoiceBar {
  readonly node = el("div", "pw-choices");

  constructor(private readonly choose: (index: number) => void) {
    this.node.setAttribute("role", "toolbar");
    this.node.setAttribute("aria-label", "What the attention view shows");
  }

  draw(choices: readonly AttentionChoice[], chosen: number): void {
    this.node.hidden = choices.length < 2;
    // The buttons stay where their words do: one that is focused keeps the focus.
    if (choices.map(({ label }) => label).join() !== [...this.node.children].map((b) => b.textContent).join()) {
      this.node.replaceChildren(...choices.map(({ label }, i) => this.#button(label, i)));
    }
    const shown = chosen < choices.length ? chosen : 0;
    [...this.node.children].forEach((button, i) => button.setAttribute("aria-pressed", String(i === shown)));
  }

  #button(label: string, index: number): HTMLElement {
    const button = el("button", "pw-choice", label);
    button.type = "button";
    button.addEventListener("click", () => this.choose(index));
    return button;
  }
}
