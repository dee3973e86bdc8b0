import { afterEach, expect, test, vi } from "vitest";
import { live, mount } from "./helpers";

const state = { kind: "copy", group: "", label: "Copy code", hint: "a script" };
const clipboard = (writeText: (text: string) => Promise<void>) =>
  Object.defineProperty(navigator, "clipboard", { value: { writeText }, configurable: true });
const settled = () => new Promise((resolve) => setTimeout(resolve));

afterEach(() => Reflect.deleteProperty(navigator, "clipboard"));

test("asks for the text when it is pressed, copies what comes, and says so until it is left", async () => {
  const write = vi.fn(async () => undefined);
  clipboard(write);
  const { model, root } = mount(state);
  const button = root.querySelector("button")!;
  button.click();
  expect(model.sent).toEqual([{ type: "copy" }]);
  model.deliver({ type: "text", text: "print(1)" });
  await settled();
  expect(write).toHaveBeenCalledWith("print(1)");
  expect([button.textContent, live(root)]).toEqual(["Copied", "Copied"]);
  button.dispatchEvent(new Event("blur"));
  expect(button.textContent).toBe("Copy code");
});

test("shows the text where the page may not copy, and nothing where there is none", async () => {
  clipboard(() => Promise.reject(new Error("denied")));
  const { model, root } = mount(state);
  const box = root.querySelector("textarea")!;
  model.deliver({ type: "text", text: null });
  await settled();
  expect(box.hidden).toBe(true);
  model.deliver({ type: "text", text: "<b>1</b>" });
  await settled();
  expect([box.hidden, box.value]).toEqual([false, "<b>1</b>"]);
});
