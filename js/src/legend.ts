import { awaited, STATUS, whyUnmeasured } from "./cells";
import type { Scale } from "./colour";
import { el } from "./dom";
import { VARIES } from "./header";
import { decimal } from "./text";

/**
 * The vertical colour bar: unit, ticks, the limit to type over, and what the corner mark means when a value needs it.
 * `fromZero` is for values that are never negative.
 */
export function colourBar(
  scale: Scale,
  unit: string,
  height: number,
  hasBeyond: boolean,
  end: readonly HTMLElement[],
  fromZero = false,
): HTMLElement {
  const node = el("div", "pw-legend");
  const name = el("div", "pw-unit", unit);
  name.title = unit;
  node.append(name);
  const body = el("div", "pw-bar");
  body.style.height = `${height}px`;
  const strip = el("div", "pw-strip");
  strip.style.background = scale.gradient("to top", fromZero);
  body.append(strip);
  const below = height >= 120 ? [0.5, 0, -0.5, -1] : [0, -1];
  const ticks = fromZero ? [0.5, 0] : below;
  for (const t of ticks) {
    const tick = el("span", "pw-tick", tickText(t * scale.limit, scale.limit));
    tick.style.top = `${((fromZero ? 100 : 50) * (1 - t)).toFixed(1)}%`;
    body.append(tick);
  }
  body.append(...end);
  node.append(body);
  if (hasBeyond) {
    const mark = el("div", "pw-beyond");
    mark.append(el("i", "pw-corner-mark"), el("span", "", "beyond"));
    mark.title = `A corner mark: the value is beyond the scale's end of ${decimal(scale.limit, scale.limit)}; the number is exact.`;
    node.append(mark);
  }
  return node;
}

/** The same in one line, for small maps whose scale is their own. */
export function smallBar(scale: Scale): HTMLElement {
  const node = el("div", "pw-smallbar");
  const strip = el("i", "pw-strip");
  strip.style.background = scale.gradient("to right");
  node.append(
    el("span", "", tickText(-scale.limit, scale.limit)),
    strip,
    el("span", "", tickText(scale.limit, scale.limit)),
  );
  return node;
}

export const tickText = (value: number, limit: number): string => {
  const text = decimal(value, limit);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
};

type Words = Readonly<Record<string, string>>;

/** The three ranges a reader asks about, and where on the scale their swatch is taken from. */
const MEANINGS = [
  { word: "high", at: 0.8 },
  { word: "near_zero", at: 0 },
  { word: "negative", at: -0.6 },
] as const;

interface StatusEntry {
  status: number;
  className: string;
  /** Its own word, and its name where that is another. */
  word: string;
  name?: string;
  text: string;
}

const STATUS_KEY: readonly StatusEntry[] = [
  {
    status: STATUS.implied,
    className: "pw-implied",
    word: "implied",
    text: "exactly 0, not computed: the prompts do not differ before here",
  },
  { status: STATUS.estimated, className: "pw-estimated", word: "estimated", text: "an estimate, not a measurement" },
  { status: STATUS.pending, className: "pw-pending", word: "pending", text: "not measured yet" },
  { status: STATUS.unavailable, className: "pw-unavailable", word: "unavailable", text: "no such cell" },
];

/** The same once the run is over: what is pending then stays so. */
function ended(entry: StatusEntry, state: string): StatusEntry {
  if (entry.status !== STATUS.pending) return entry;
  const text = whyUnmeasured(state) || "there is no value here";
  return { ...entry, className: "pw-unmeasured", name: "not measured", text };
}

/** What a map shows, as far as its key tells of it. */
export interface Shown {
  scale: Scale;
  words: Words;
  state: string;
  present: ReadonlySet<number>;
  marked: readonly number[];
  means: boolean;
  gathered: boolean;
  varies: boolean;
}

/** What stands below a map: what a cell means, the key, and where the numbers are from. */
export function foot(shown: Shown): HTMLElement[] {
  const { words } = shown;
  const line = (name: string) => (words[name] ? [el("p", `pw-${name}`, words[name])] : []);
  return [...line("sentence"), key(shown), ...line("origin")];
}

/** What high, near-zero and negative cells mean, and every other drawing that occurs, each with its swatch. */
function key({ scale, words, state, present, marked, means, gathered, varies }: Shown): HTMLElement {
  const node = el("dl", "pw-key");
  const entry = (name: string, text: string, swatch: HTMLElement) => {
    const term = el("dt");
    term.append(swatch, el("span", "", name));
    const line = el("div", "pw-key-entry");
    line.append(term, el("dd", "", text));
    node.append(line);
  };
  const coloured = (value: number) => {
    const swatch = el("i", "pw-swatch");
    swatch.style.background = scale.fill(value);
    return swatch;
  };
  if (present.has(STATUS.measured) || present.has(STATUS.estimated)) {
    const { limit } = scale;
    // A text such as "near 1: sufficient" brings its own name.
    for (const { word, at } of MEANINGS) {
      if (!words[word]) continue;
      const [, name, text] = /^([^:]{1,14}): (.*)$/s.exec(words[word]) ?? ["", word.replace("_", " "), words[word]];
      entry(name, text, coloured(at * limit));
    }
  }
  const zeros = present.has(STATUS.implied) ? ", implied ones as 0" : "";
  if (means)
    entry(
      "mean",
      `the mean of the absolute values of a row or a column${zeros}, its bar full where the colours end; none before all are measured`,
      el("i", "pw-swatch pw-meanbar"),
    );
  for (const told of awaited(state) ? STATUS_KEY : STATUS_KEY.map((told) => ended(told, state))) {
    const { status, className, name, word, text } = told;
    if (present.has(status)) entry(name ?? word, words[word] ?? text, el("i", `pw-swatch ${className}`));
  }
  if (varies) entry("varied", VARIES, el("i", "pw-swatch pw-varies", "\u2026"));
  if (words["stages"]) entry("outlined", words["stages"], el("i", "pw-swatch pw-stage"));
  if (gathered) entry("gathered", "to be patched together", el("i", "pw-swatch pw-gathered"));
  for (const mark of marked) {
    const name = words[`mark_${mark}_short`] ?? "marked";
    entry(name, words[`mark_${mark}`] ?? "", el("i", `pw-swatch pw-ring-${mark}`));
  }
  return node;
}
