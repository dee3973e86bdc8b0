export type Theme = "light" | "dark";

/** The theme of the page the view stands in: JupyterLab, VS Code, a page's own mark, else the system's. */
export function currentTheme(): Theme {
  const { body, documentElement: root } = document;
  const jupyter = body.dataset["jpThemeLight"];
  if (jupyter === "true") return "light";
  if (jupyter === "false") return "dark";
  if (body.classList.contains("vscode-high-contrast-light") || body.classList.contains("vscode-light")) return "light";
  if (body.classList.contains("vscode-dark") || body.classList.contains("vscode-high-contrast")) return "dark";
  for (const mark of [root.dataset["theme"], body.dataset["theme"], root.getAttribute("theme")]) {
    if (mark === "light" || mark === "dark") return mark;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

/** Calls back after every switch of theme until the signal ends it. */
export function watchTheme(changed: (theme: Theme) => void, signal: AbortSignal): void {
  let last = currentTheme();
  const check = () => {
    const theme = currentTheme();
    if (theme !== last) changed((last = theme));
  };
  const observer = new MutationObserver(check);
  const attributes = { attributes: true, attributeFilter: ["data-jp-theme-light", "class", "data-theme", "theme"] };
  observer.observe(document.body, attributes);
  observer.observe(document.documentElement, attributes);
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", check, { signal });
  signal.addEventListener("abort", () => observer.disconnect());
}
