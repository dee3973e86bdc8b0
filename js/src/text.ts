const SYMBOLS: Readonly<Record<string, string>> = { "\n": "\u21b5", "\r": "\u240d", "\t": "\u21e5" };

// Controls, joiners, marks of direction, private ones, halves of characters, spaces that are no space, fillers: what has
// no picture of its own. `spelling` in Python spells alike; tests/shown_tokens.json is read by the tests of both.
const HIDDEN =
  /(?! )[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Z}\p{Default_Ignorable_Code_Point}\p{Noncharacter_Code_Point}\u2800]/gu;

// What holds an emoji together is seen in its picture; anywhere else it is named, as it makes another token. Not with
// classes before `$`: Chromium 156 finds no character beyond U+FFFF in them.
const joins = (c: string, before: string, after: string): boolean =>
  c === "\u200d"
    ? /(?:\p{So}|\p{Sk}|\ufe0f)$/u.test(before) && /^\p{So}/u.test(after)
    : c === "\ufe0f" && /(?:\p{So}|\p{Sm}|\p{Po}|\p{Nd})$/u.test(before);

const named = (c: string, at: number, text: string): string =>
  joins(c, text.slice(0, at), text.slice(at + c.length))
    ? c
    : (SYMBOLS[c] ?? `\u27e8${c.codePointAt(0)!.toString(16)}\u27e9`);

/** A text with what cannot be seen in it as symbols, or named by its code point; a mark without a letter gets a ring. */
export const plain = (text: string): string => text.replace(HIDDEN, named).replace(/^\p{M}/u, "\u25cc$&");

/** A token as it is shown: the same, with leading and trailing spaces as middle dots. */
export function visible(token: string): string {
  if (token === "") return "\u2205";
  const [, before, words, after] = /^( *)(.*?)( *)$/su.exec(token)!;
  const dots = (spaces: string) => "\u00b7".repeat(spaces.length);
  return dots(before!) + plain(words!) + dots(after!);
}

/** A token as a screen reader and a tooltip say it, in quotation marks. */
export const quoted = (token: string): string => `'${plain(token)}'`;

/** The decimals that suit a scale of +-`limit`. */
export const decimals = (limit: number): number => {
  if (limit >= 20) return limit >= 100 ? 0 : 1;
  return limit >= 0.1 || !(limit > 0) ? 2 : Math.min(6, 1 - Math.floor(Math.log10(limit) + 1e-9));
};

/** A number with the decimals that suit a scale of +-`limit`, with a true minus and without a negative zero. */
export function decimal(value: number, limit = 1, digits = decimals(limit)): string {
  if (Number.isNaN(value)) return "\u2013";
  if (!Number.isFinite(value)) return value > 0 ? "\u221e" : "\u2212\u221e";
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `\u2212${text}` : text;
}

/** The same with a plus where positive: for differences. */
export function signed(value: number, limit = 1): string {
  const text = decimal(value, limit);
  return value > 0 && Number(text) !== 0 ? `+${text}` : text;
}

/** `0.61` as `.61`, for narrow cells. */
export const tight = (text: string): string => text.replace(/^(\u2212?)0\./, "$1.");

/** A number in three digits that count. */
export const precise = (value: number): string => value.toPrecision(3).replace("-", "\u2212");

/** A number with what it counts. */
export const counted = (n: number, name: string): string => `${n} ${name}${n === 1 ? "" : "s"}`;

export function percent(p: number): string {
  if (Number.isNaN(p)) return "\u2013";
  const q = 100 * p;
  if (q > 0 && q < 0.05) return "<0.1%";
  return `${q.toFixed(q >= 9.95 ? 0 : 1)}%`;
}
