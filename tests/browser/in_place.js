// What is wrong with the parts of a page that `css` finds, in words; an empty list is right.
css => {
  const found = [];
  const rect = node => node.getBoundingClientRect();
  const name = node => `${node.tagName}.${node.className} '${node.textContent.slice(0, 40)}'`;
  const shown = (root, each) => [...root.querySelectorAll(each)].filter(node => node.offsetParent);
  const overflows = node => node.scrollWidth > node.clientWidth + 1;

  // What is left of an element's width inside all that clip it, up to the root.
  const seenPart = (node, root) => {
    let { left, right } = rect(node);
    for (let up = node.parentElement; up && up !== root.parentElement; up = up.parentElement) {
      if (getComputedStyle(up).overflowX === "visible") continue;
      left = Math.max(left, rect(up).left);
      right = Math.min(right, rect(up).right);
    }
    return { left, right };
  };

  const markup = root => {
    for (const node of root.querySelectorAll("img, script, iframe, object, link, a, [onclick], [onerror]"))
      found.push(`a text made an element: ${name(node)}`);
  };

  const width = root => {
    const { left, right } = rect(root);
    for (const node of shown(root, "*")) {
      if (node.closest(".pw-tip, .pw-live") || rect(node).width <= 1 || rect(node).height <= 1) continue;
      const part = seenPart(node, root);
      if (part.right > part.left && (part.right > right + 1.5 || part.left < left - 1.5))
        found.push(`outside ${left} to ${right}: ${name(node)}, ${part.left} to ${part.right}`);
    }
    if (!overflows(root)) return;
    const widest = shown(root, "*").reduce((a, b) => (rect(a).right < rect(b).right ? b : a), root);
    found.push(`the output is ${root.scrollWidth} wide in ${root.clientWidth}: ${name(widest)}`);
  };

  const rows = root => {
    const lists = [...shown(root, ".pw-rowlabels"), ...shown(root, ".pw-predicted tbody"), ...shown(root, ".pw-shelf-list")];
    for (const list of lists) {
      const heights = new Set([...list.children].map(row => Math.round(rect(row).height)));
      if (heights.size > 1) found.push(`rows of ${[...heights].join(", ")} pixels: ${name(list)}`);
    }
  };

  // Every token stands over its own column, and inside the header.
  const header = map => {
    const plot = map.querySelector(".pw-plot");
    const columns = [...map.querySelectorAll(".pw-header .pw-col")];
    if (!plot?.offsetParent || !columns.length) return;
    const each = rect(plot).width / columns.length;
    columns.forEach((column, i) => {
      const [off, more] = [rect(column).left - rect(plot).left - i * each, rect(column).width - each];
      if (Math.abs(off) > 1 || Math.abs(more) > 1) found.push(`column ${i} is not over its cells: ${name(map)}`);
    });
    const { top, bottom } = rect(map.querySelector(".pw-header"));
    for (const token of shown(map, ".pw-header .pw-token"))
      if (rect(token).bottom > bottom + 1 || rect(token).top < top - 1) found.push(`outside the header: ${name(token)}`);
  };

  if (window.hit !== undefined) found.push(`a text was run: ${window.hit}`);
  const roots = [...document.querySelectorAll(css)].filter(root => root.offsetParent);
  if (!roots.length) found.push(`nothing is shown at ${css}`);
  for (const root of roots) {
    for (const look of [markup, width, rows]) look(root);
    for (const map of [root, ...shown(root, "*")]) if (map.matches(".pw-heatmap, .pw-attention")) header(map);
  }
  const page = document.querySelector(".jp-NotebookPanel .jp-WindowedPanel-outer") ?? document.documentElement;
  if (overflows(page)) found.push(`the page is ${page.scrollWidth} wide in ${page.clientWidth}`);
  return [...new Set(found)].slice(0, 12);
}
