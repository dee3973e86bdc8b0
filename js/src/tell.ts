/** Sends to the kernel. Where it has ended sending throws: what a view does by itself is done, and the page says the rest. */
export function tell(model: { send(content: unknown): void }, content: unknown): void {
  try {
    model.send(content);
  } catch (error) {
    console.debug("patchwidgets: nobody to tell", error);
  }
}
