import { describe, expect, test } from "vitest";
import { Scale, weightColour } from "../src/colour";
import widget from "../src/widget";
import { live, mount, pointAt, press, TestModel, tokens } from "./helpers";
import { drawn, nextFrame } from "./setup";

describe("token strip", () => {
  const state = {
    kind: "tokens",
    group: "g",
    columns: tokens([" When", " Mary", "\n"], [" When", " Anna", "\n"]),
    selected: -1,
  };
  const middle = (root: Element, i: number) => {
    const box = root.querySelectorAll<HTMLElement>(".pw-col")[i];
    return parseFloat(box.style.left) + parseFloat(box.style.width) / 2;
  };

  test("shows both prompts with the differing column marked", () => {
    const { root } = mount(state);
    expect([...root.querySelectorAll(".pw-col")].map((box) => box.textContent)).toEqual([
      "\u00b7When",
      "\u00b7Mary\u00b7Anna",
      "\u21b5",
    ]);
    expect([...root.querySelectorAll(".pw-col")].map((box) => box.classList.contains("pw-differs"))).toEqual([
      false,
      true,
      false,
    ]);
    expect([...root.querySelectorAll(".pw-number")].map((n) => n.textContent)).toEqual(["0", "1", "2"]);
  });

  test("a click sends one message and marks the token", () => {
    const { model, root } = mount(state);
    pointAt(root.querySelector(".pw-strip-sheet")!, "click", middle(root, 1), 5);
    expect(model.sent).toEqual([{ type: "select", pos: 1 }]);
    expect(root.querySelectorAll(".pw-col")[1].classList.contains("pw-on")).toBe(true);
  });

  test("arrows and Enter do the same", () => {
    const { model, root } = mount({ ...state, selected: 0 });
    const group = root.querySelector("[role=group]")!;
    press(group, "ArrowRight");
    expect(live(root)).toBe("position 1 ' Mary' / ' Anna'");
    press(group, "Enter");
    expect(model.sent).toEqual([{ type: "select", pos: 1 }]);
  });

  test("hovering a token marks it in another strip of the group", () => {
    const first = mount(state).root;
    const second = mount(state).root;
    pointAt(first.querySelector(".pw-strip-sheet")!, "pointermove", middle(first, 2), 5);
    expect(second.querySelectorAll(".pw-col")[2].classList.contains("pw-hot")).toBe(true);
  });

  test("new tokens replace the old ones", async () => {
    const { model, root } = mount(state);
    model.set("columns", tokens([" one"]));
    await nextFrame();
    expect(root.querySelectorAll(".pw-col")).toHaveLength(1);
  });
});

describe("attention", () => {
  // clean: position 2 attends .5, .3, .2; patched: .1, .1, .8; earlier rows to themselves
  const patterns = Float32Array.from([1, 0, 0, 0, 1, 0, 0.5, 0.3, 0.2, 1, 0, 0, 0, 1, 0, 0.1, 0.1, 0.8]);
  const state = {
    kind: "attention",
    group: "g",
    title: "head 1.1",
    columns: tokens([" a", " b", " c"]),
    runs: [
      { name: "clean", label: "clean" },
      { name: "patched", label: "patched" },
    ],
    patterns,
    dest: 2,
  };
  const texts = (root: Element) => drawn(root.querySelector(".pw-plot canvas")!).flatMap(({ text }) => text ?? []);

  test("prints each run's weights from the chosen destination, and says which that is", () => {
    const { root } = mount(state);
    expect(texts(root)).toEqual(["0.50", "0.30", "0.20", "0.10", "0.10", "0.80"]);
    expect(root.querySelector(".pw-dest")?.textContent).toBe("from position 2 ' c'");
  });

  test.each([
    [14, [".99", "1.0"], "numbers from 0.05 up"],
    [40, [], "weight. Click"],
  ])("of %d columns prints all such weights or none, and says so", (n, shown, rule) => {
    const weights = new Float32Array(2 * n * n);
    weights[n * n - 1] = 0.99; // the last row of each run, at its last position
    weights[2 * n * n - 1] = 0.998;
    const words = Array.from({ length: n }, (_, i) => ` t${i}`);
    const { root } = mount({ ...state, columns: tokens(words), patterns: weights, dest: n - 1 });
    expect(texts(root)).toEqual(shown);
    expect(root.querySelector(".pw-note")!.textContent).toContain(rule);
  });

  test("draws each run in its own colour", () => {
    const { root } = mount(state);
    const rects = drawn(root.querySelector(".pw-plot canvas")!).filter(({ what }) => what === "rect");
    expect(rects[0].style).toBe(weightColour("light", "clean", 0.5).fill);
    expect(rects[5].style).toBe(weightColour("light", "patched", Math.fround(0.8)).fill);
  });

  test("the future has no cell rather than a zero", () => {
    const { root } = mount({ ...state, dest: 0 });
    expect(drawn(root.querySelector(".pw-plot canvas")!).filter(({ what }) => what === "rect")).toHaveLength(2);
  });

  test("a run without a token there has no cell and no weight, and the note says so", () => {
    // corrupted lacks " b": its row and its column
    const weights = Float32Array.from([1, 0, 0, 0, 1, 0, 0.5, 0.3, 0.2, 1, NaN, 0, NaN, NaN, NaN, 0.4, NaN, 0.6]);
    const columns = { ...tokens([" a", " b", " c"], [" a", null, " c"]), numbers: ["0", "1/\u2013", "2/1"] };
    const runs = [state.runs[0], { name: "corrupted", label: "corrupted" }];
    const { root } = mount({ ...state, columns, runs, patterns: weights });
    expect(texts(root)).toEqual(["0.50", "0.30", "0.20", "0.40", "0.60"]);
    expect(root.querySelector(".pw-dest")?.textContent).toBe("from position 2/1 ' c'");
    expect(root.querySelector(".pw-note")!.textContent).toContain("A dashed box: the run has no token there.");
    press(root.querySelector("[role=group]")!, "ArrowUp");
    expect(texts(root)).toEqual(["1.00"]);
    expect(live(root)).toContain("corrupted: no token here");
    press(root.querySelector("[role=group]")!, "t");
    const cells = [...root.querySelectorAll("tbody tr")].map((tr) => [...tr.children].map((td) => td.textContent));
    expect(cells[1]).toEqual(["1/\u2013 \u00b7b", "1.00", "\u2013"]);
  });

  test("another row of a map becomes the destination, with one message", () => {
    const { model, root } = mount(state);
    const map = root.querySelector<HTMLCanvasElement>(".pw-map canvas")!;
    const size = parseFloat(map.style.width);
    pointAt(map, "click", size / 6, size / 2);
    expect(model.sent).toEqual([{ type: "dest", pos: 1 }]);
    expect(texts(root)).toEqual(["1.00", "1.00"]);
    expect(root.querySelector(".pw-dest")?.textContent).toBe("from position 1 ' b'");
  });

  test("up and down do the same and are announced", () => {
    const { model, root } = mount(state);
    press(root.querySelector("[role=group]")!, "ArrowUp");
    expect(model.sent).toEqual([{ type: "dest", pos: 1 }]);
    expect(live(root)).toBe(
      "from position 1 ' b'. clean: most to position 1 ' b' 1.00; patched: most to position 1 ' b' 1.00.",
    );
  });

  test("without a destination the last position is shown", () => {
    expect(mount({ ...state, dest: -1 }).root.querySelector(".pw-dest")?.textContent).toContain("position 2");
  });

  test("a destination that comes before its columns waits for them", async () => {
    const { model, root } = mount({ ...state, columns: tokens([]), runs: [], patterns: null, dest: -1 });
    model.set("dest", 2);
    model.set("columns", state.columns);
    model.set("dest", 1);
    model.set("runs", state.runs);
    model.set("patterns", patterns);
    await nextFrame();
    expect(root.querySelector(".pw-dest")?.textContent).toBe("from position 1 ' b'");
    model.set("columns", tokens([" one"]));
    model.set("dest", 0);
    await nextFrame();
    expect(root.querySelector(".pw-dest")?.textContent).toBe("from position 0 ' one'");
  });

  test("T shows the weights as a table", () => {
    const { root } = mount(state);
    press(root.querySelector("[role=group]")!, "T");
    const cells = [...root.querySelectorAll("tbody tr")].map((tr) => [...tr.children].map((td) => td.textContent));
    expect(cells[2]).toEqual(["2 \u00b7c", "0.20", "0.80"]);
  });

  describe("with other choices", () => {
    // patched minus clean from position 2: -.4, -.2, +.6; from the others nothing
    const difference = Float32Array.from([0, 0, 0, 0, 0, 0, -0.4, -0.2, 0.6]);
    const weighed = Float32Array.from([...patterns].reverse());
    const more = [
      { label: "Difference", note: "", runs: [{ name: "patched", label: "patched \u2212 clean" }], limit: 0.6 },
      { label: "Value-weighted", note: "by the values", runs: state.runs, limit: 0 },
    ];
    const several = {
      ...state,
      patterns: Float32Array.from([...patterns, ...difference, ...weighed]),
      more,
      chosen: 0,
    };
    const buttons = (root: Element) => [...root.querySelectorAll<HTMLButtonElement>(".pw-choice")];

    test("one button each, the weights first", () => {
      const { root } = mount(several);
      expect(buttons(root).map((b) => b.textContent)).toEqual(["Weights", "Difference", "Value-weighted"]);
      expect(buttons(root).map((b) => b.getAttribute("aria-pressed"))).toEqual(["true", "false", "false"]);
      expect(texts(root)).toEqual(["0.50", "0.30", "0.20", "0.10", "0.10", "0.80"]);
      expect(mount(state).root.querySelector<HTMLElement>(".pw-choices")!.hidden).toBe(true);
    });

    test("differences have signs, a row of their own, and the diverging scale", async () => {
      const { model, root } = mount(several);
      buttons(root)[1].click();
      await nextFrame();
      expect(model.sent).toEqual([{ type: "choose", choice: 1 }]);
      expect(texts(root)).toEqual(["\u22120.40", "\u22120.20", "0.60"]);
      const rects = drawn(root.querySelector(".pw-plot canvas")!).filter(({ what }) => what === "rect");
      const scale = new Scale("light", 0.6);
      expect(rects.map(({ style }) => style)).toEqual([-0.4, -0.2, 0.6].map((v) => scale.fill(Math.fround(v))));
      expect([...root.querySelectorAll(".pw-rowlabel")].map((label) => label.textContent)).toEqual([
        "patched \u2212 clean",
      ]);
      expect(root.querySelector(".pw-smallbar")?.textContent).toBe("\u22120.60.6");
      press(root.querySelector("[role=group]")!, "t");
      const cells = [...root.querySelectorAll("tbody tr")].map((tr) => [...tr.children].map((td) => td.textContent));
      expect(cells[2]).toEqual(["2 \u00b7c", "+0.60"]);
    });

    test("the kernel's choice is shown, with its note; one that is not there is the first", async () => {
      const { model, root } = mount({ ...several, chosen: 2 });
      expect(texts(root)).toEqual(["1.00", "1.00"]);
      expect(root.querySelector(".pw-note")!.textContent).toContain("by the values");
      model.set("more", []);
      await nextFrame();
      expect(texts(root)).toEqual(["0.50", "0.30", "0.20", "0.10", "0.10", "0.80"]);
    });
  });

  test("labels stand over the cells", () => {
    const { root } = mount(state);
    const rects = drawn(root.querySelector(".pw-plot canvas")!).filter(({ what }) => what === "rect");
    [...root.querySelectorAll<HTMLElement>(".pw-col")].forEach((box, i) =>
      expect(parseFloat(box.style.left)).toBe(rects[i].x),
    );
  });
});

describe("predictions", () => {
  const row = (token: string, prob: number, mark = "") => ({ token, prob, logit: 3, mark });
  const state = {
    kind: "predictions",
    group: "",
    title: "Next token",
    tables: [
      { name: "clean", label: "clean", rows: [row(" Mary", 0.92, "answer"), row("<b>x</b>", 0.004)] },
      { name: "corrupted", label: "corrupted", rows: [row(" Anna", 0.7, "foil")] },
    ],
  };

  test("each run has its rows, percentages and marks", () => {
    const { root } = mount(state);
    const tables = [...root.querySelectorAll("table")];
    expect(tables.map((t) => t.caption?.textContent)).toEqual(["clean", "corrupted"]);
    expect([...tables[0].rows].map((r) => [...r.cells].map((c) => c.textContent))).toEqual([
      ["\u25cf\u00b7Mary", "92%"],
      ["<b>x</b>", "0.4%"],
    ]);
    expect(root.querySelector("b")).toBeNull();
    expect(root.querySelector<HTMLElement>(".pw-probbar")!.style.width).toBe("92%");
    expect(root.querySelector(".pw-note")?.textContent).toBe("\u25cf answer    \u25cb foil");
  });

  test("the numbers of a table have the room that the longest needs, and decimals that suit the largest", () => {
    const logit = (token: string, value: number) => ({ token, logit: value, mark: "" });
    const tables = [{ name: "clean", label: "clean", rows: [logit(" a", 13.36), logit(" b", -123.456)] }];
    const { root } = mount({ ...state, quantity: "logit", tables });
    const numbers = [...root.querySelectorAll<HTMLElement>(".pw-percent")];
    expect(numbers.map((number) => number.textContent)).toEqual(["+13", "\u2212123"]);
    expect(numbers[0].style.width).toBe("4.5ch");
    expect(root.querySelectorAll("tr")[1].title).toContain("logit \u2212123.46");
  });

  test("logits have bars by the largest of all, and the difference of answer and foil below", () => {
    const logit = (token: string, value: number, mark = "") => ({ token, logit: value, mark });
    const tables = [
      {
        name: "clean",
        label: "clean",
        rows: [logit(" Mary", 2, "answer"), logit(" Anna", -0.5, "foil")],
        difference: 2.5,
      },
      { name: "corrupted", label: "corrupted", rows: [logit(" John", 4)] },
    ];
    const { root } = mount({ ...state, quantity: "logit", note: "before the cap", tables });
    const [first, second] = [...root.querySelectorAll("table")];
    expect([...first.rows].map((r) => [...r.cells].map((c) => c.textContent))).toEqual([
      ["\u25cf\u00b7Mary", "+2.00"],
      ["\u25cb\u00b7Anna", "\u22120.50"],
      ["\u25cf \u2212 \u25cb", "+2.50"],
    ]);
    expect([...root.querySelectorAll<HTMLElement>(".pw-probbar")].map((bar) => bar.style.width)).toEqual([
      "50%",
      "0%",
      "100%",
    ]);
    expect(second.tFoot).toBeNull();
    expect([...root.querySelectorAll(".pw-note")].map((p) => p.textContent)).toContain("before the cap");
  });

  test("a note alone is shown", () => {
    const { root } = mount({ ...state, tables: [], note: "Not shown: no last norm." });
    expect(root.hidden).toBe(false);
    expect(root.textContent).toContain("no last norm");
  });

  test("new tables replace the old ones", async () => {
    const { model, root } = mount(state);
    model.set("tables", []);
    await nextFrame();
    expect(root.hidden).toBe(true);
  });
});

test("a kind nobody knows is refused by name", () => {
  const model = new TestModel({ kind: "graph" });
  expect(() => widget().initialize({ model: model as never })).toThrow('No view of kind "graph"; known: heatmap');
});
