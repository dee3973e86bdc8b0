import { Clipboard } from "../clipboard";
import { el } from "../dom";
import type { CopyState, RenderProps } from "../model";
import { createRoot } from "../root";
import { tell } from "../tell";

const COPIED = "Copied";

/** A button that asks the kernel for a text and puts it on the clipboard, or shows it where it may not. */
export class CopyView {
  readonly end: () => void;

  constructor(props: RenderProps<CopyState>) {
    const { model } = props;
    const { root, end } = createRoot(props, "pw-copy", () => undefined); // the theme reaches it through CSS alone
    this.end = end;
    const button = el("button", "jupyter-button pw-copy-button", model.get("label"));
    button.type = "button";
    button.title = model.get("hint");
    button.disabled = Boolean(model.withoutKernel);
    button.addEventListener("click", () => tell(model, { type: "copy" }));
    const clipboard = new Clipboard();
    root.node.prepend(button, clipboard.box);
    const received = (message: { type?: string; text?: string | null }) => {
      if (message?.type === "text" && typeof message.text === "string") void copy(message.text);
    };
    const copy = async (text: string) => {
      if (!(await clipboard.write(text))) return;
      button.textContent = COPIED;
      root.say(COPIED);
    };
    const renew = () => (button.textContent = model.get("label"));
    button.addEventListener("blur", renew);
    button.addEventListener("pointerleave", renew);
    model.on("msg:custom", received);
    root.signal.addEventListener("abort", () => model.off("msg:custom", received));
  }
}
