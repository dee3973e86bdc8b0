import type { Keys } from "./model";

const EVENT = "patchwidgets:hover";

interface Hover {
  group: string;
  keys: Keys | null;
}

/**
 * Tells every view of the group on this page what is hovered; `null` when nothing is.
 * Each widget has its own copy of this module, so the page's document carries the word. No group, no links.
 */
export function hover(group: string, keys: Keys | null): void {
  if (group) document.dispatchEvent(new CustomEvent<Hover>(EVENT, { detail: { group, keys } }));
}

export function onHover(group: () => string, mark: (keys: Keys | null) => void, signal: AbortSignal): void {
  const listen = (event: Event) => {
    const { detail } = event as CustomEvent<Hover>;
    if (detail.group === group()) mark(detail.keys);
  };
  document.addEventListener(EVENT, listen, { signal });
}

/** Whether something with keys `own` is part of what is hovered: all of `own` is among `hovered`. */
export function matches(own: Keys | undefined, hovered: Keys | null): boolean {
  if (!own || !hovered) return false;
  const entries = Object.entries(own);
  return entries.length > 0 && entries.every(([name, value]) => hovered[name] === value);
}
