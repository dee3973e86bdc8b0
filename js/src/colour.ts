import palette from "../../patchwidgets/palette.json";
import type { RunName } from "./model";
import type { Theme } from "./theme";

export type Rgb = readonly [number, number, number];

export const surface = (theme: Theme) => palette.surface[theme];
export const stops = (theme: Theme): readonly string[] => palette.diverging[theme];

export const parse = (hex: string): Rgb => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)) as unknown as Rgb;
export const css = ([r, g, b]: Rgb): string => `rgb(${r},${g},${b})`;
const mix = (a: Rgb, b: Rgb, t: number): Rgb => a.map((x, i) => Math.round(x + (b[i] - x) * t)) as unknown as Rgb;

/** Relative luminance, WCAG 2. */
export function luminance(rgb: Rgb): number {
  const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

const [WHITE, BLACK] = ["#ffffff", "#05070a"];

/** Black or white, whichever reads better on the colour. */
export function inkOn(rgb: Rgb): string {
  const [paper, black] = [luminance(rgb) + 0.05, luminance(parse(BLACK)) + 0.05];
  return 1.05 / paper >= paper / black ? WHITE : BLACK;
}

const HALF = 256;

/** The fixed symmetric scale: zero in the middle, colours at their strongest at +-limit and beyond. */
export class Scale {
  readonly #colours: Rgb[] = [];
  readonly #fills: string[];
  readonly #inks: string[];

  constructor(
    theme: Theme,
    readonly limit: number,
  ) {
    const colours = stops(theme).map(parse);
    for (let i = 0; i <= 2 * HALF; i++) {
      const x = (i / (2 * HALF)) * (colours.length - 1);
      const k = Math.min(Math.floor(x), colours.length - 2);
      this.#colours.push(mix(colours[k], colours[k + 1], x - k));
    }
    this.#fills = this.#colours.map(css);
    this.#inks = this.#colours.map(inkOn);
  }

  /** The place of a value on the scale, clamped; -1 for what has no value. */
  index(value: number): number {
    if (Number.isNaN(value)) return -1;
    const t = this.limit > 0 ? value / this.limit : Math.sign(value);
    return HALF + Math.round(HALF * Math.max(-1, Math.min(1, t)));
  }

  fill(value: number): string {
    return this.#fills[this.index(value)] ?? "transparent";
  }

  ink(value: number): string {
    return this.#inks[this.index(value)] ?? "currentColor";
  }

  /** The colour of a value that is not NaN. */
  rgb(value: number): Rgb {
    return this.#colours[this.index(value)];
  }

  /** The colours in order as a gradient of CSS; `fromZero` leaves the negative ones out. */
  gradient(direction: string, fromZero = false): string {
    const steps = Array.from({ length: 17 }, (_, i) => this.#fills[i * 32]).slice(fromZero ? 8 : 0);
    return `linear-gradient(${direction}, ${steps.join(", ")})`;
  }
}

/** Strength of attention in a run's own colour; by the square root, so that small weights can be seen. */
export function weightColour(theme: Theme, run: RunName, weight: number): { fill: string; ink: string } {
  const ground = parse(stops(theme)[(stops(theme).length - 1) / 2]);
  const rgb = mix(ground, parse(palette.runs[theme][run]), Math.sqrt(Math.max(0, Math.min(1, weight))));
  return { fill: css(rgb), ink: inkOn(rgb) };
}
