// Writes the three committed files of patchwidgets/static. The same sources give the same bytes.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const outdir = here("../patchwidgets/static");

/** The CSS variables of both themes, from the one palette that the views and the Python plots read. */
async function paletteCss() {
  const palette = JSON.parse(await readFile(here("../patchwidgets/palette.json"), "utf8"));
  const pairs = [];
  for (const group of ["surface", "runs"]) {
    for (const [name, light] of Object.entries(palette[group].light)) {
      pairs.push(`--pw-c-${name.replaceAll("_", "-")}:light-dark(${light},${palette[group].dark[name]})`);
    }
  }
  for (const [name, place] of [
    ["zero", 0.5],
    ["mid", 0.75],
    ["end", 1],
  ]) {
    const [light, dark] = ["light", "dark"].map(
      (theme) => palette.diverging[theme][place * (palette.diverging[theme].length - 1)],
    );
    pairs.push(`--pw-${name}:light-dark(${light},${dark})`);
  }
  pairs.push("--pw-end-ink:light-dark(#ffffff,#05070a)");
  return `:is(.pw-root,.pw-x-root,.pw-page){${pairs.join(";")}}`;
}

const palettePlugin = {
  name: "palette",
  setup(b) {
    b.onResolve({ filter: /^palette\.css$/ }, () => ({ path: "palette.css", namespace: "palette" }));
    b.onLoad({ filter: /.*/, namespace: "palette" }, async () => ({ contents: await paletteCss(), loader: "css" }));
  },
};

const common = {
  bundle: true,
  minify: true,
  target: ["es2022", "chrome123", "firefox121", "safari17.5"],
  legalComments: "none",
  logLevel: "warning",
};
await Promise.all([
  build({ ...common, entryPoints: [here("src/widget.ts")], format: "esm", outfile: `${outdir}/widget.js` }),
  build({ ...common, entryPoints: [here("src/page.ts")], format: "iife", outfile: `${outdir}/page.js` }),
  build({
    ...common,
    entryPoints: [here("src/css/index.css")],
    plugins: [palettePlugin],
    outfile: `${outdir}/widget.css`,
  }),
]);
