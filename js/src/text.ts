const SYMBOLS: Readonly<Record<string, string>> = { "\n": "\u21b5", "\r": "\u240d", "\t": "\u21e5" };

// Joiners hold emoji and Indic clusters together; every other invisible character is named by its code point.
const invisible = (c: string): string => {
  if (c === "\u200d" || c === "\u200c") return c;
  return SYMBOLS[c] ?? `\u27e8${c.codePointAt(0)!.toString(16)}\u27e9`;
};

/** A token as it is shown: leading and trailing spaces as middle dots, control characters as symbols. */
export function visible(token: string): string {
  if (token === "") return "\u2205";
  const dots = (spaces: string) => "\u00b7".repeat(spaces.length);
  return token
    .replace(/^ +/, dots)
    .replace(/ +$/, dots)
    .replace(/[\p{Cc}\p{Cf}]/gu, invisible);
}

/** A token as a screen reader and a tooltip say it, in quotation marks. */
export const quoted = (token: string): string => `'${token.replace(/[\p{Cc}\p{Cf}]/gu, invisible)}'`;

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

export function percent(p: number): string {
  if (Number.isNaN(p)) return "\u2013";
  const q = 100 * p;
  if (q > 0 && q < 0.05) return "<0.1%";
  return `${q.toFixed(q >= 9.95 ? 0 : 1)}%`;
}
