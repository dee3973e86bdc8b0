import { expect, test, vi } from "vitest";
import { currentTheme, watchTheme } from "../src/theme";
import { systemTheme } from "./setup";

test("JupyterLab's own mark wins over the system", () => {
  systemTheme("dark");
  document.body.dataset["jpThemeLight"] = "true";
  expect(currentTheme()).toBe("light");
  document.body.dataset["jpThemeLight"] = "false";
  systemTheme("light");
  expect(currentTheme()).toBe("dark");
});

test.each([
  ["vscode-dark", "dark"],
  ["vscode-light", "light"],
  ["vscode-high-contrast", "dark"],
  ["vscode-high-contrast vscode-high-contrast-light", "light"],
])("VS Code's class %s is %s", (className, theme) => {
  document.body.className = className;
  expect(currentTheme()).toBe(theme);
});

test("a page without marks follows the system", () => {
  expect(currentTheme()).toBe("light");
  systemTheme("dark");
  expect(currentTheme()).toBe("dark");
});

test("a switch is told once, until the end", async () => {
  const changed = vi.fn();
  const ending = new AbortController();
  watchTheme(changed, ending.signal);
  document.body.dataset["jpThemeLight"] = "false";
  await vi.waitFor(() => expect(changed.mock.calls).toEqual([["dark"]]));
  ending.abort();
  document.body.dataset["jpThemeLight"] = "true";
  systemTheme("light");
  await new Promise((resolve) => setTimeout(resolve));
  expect(changed).toHaveBeenCalledTimes(1);
});
