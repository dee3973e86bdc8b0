import { describe, expect, test } from "vitest";
import { inkOn, luminance, parse, type Rgb, Scale, stops, weightColour } from "../src/colour";

const linear = (rgb: Rgb) =>
  rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));

/** CIE L*a*b* under D65 of linear sRGB. */
function lab([r, g, b]: number[]): [number, number, number] {
  const xyz = [
    (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047,
    0.2126 * r + 0.7152 * g + 0.0722 * b,
    (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883,
  ];
  const [x, y, z] = xyz.map((t) => (t > 216 / 24389 ? Math.cbrt(t) : ((24389 / 27) * t + 16) / 116));
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

// Machado, Oliveira and Fernandes 2009, table 1, severity 1.0; on linear sRGB.
const BLINDNESS = {
  none: [1, 0, 0, 0, 1, 0, 0, 0, 1],
  protanopia: [0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998],
  deuteranopia: [0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.01182, 0.04294, 0.968881],
};

function seen(rgb: Rgb, matrix: number[]): [number, number, number] {
  const c = linear(rgb);
  return lab([0, 3, 6].map((row) => matrix[row] * c[0] + matrix[row + 1] * c[1] + matrix[row + 2] * c[2]));
}

describe.each(["light", "dark"] as const)("the %s palette", (theme) => {
  const colours = stops(theme).map(parse);
  const middle = (colours.length - 1) / 2;
  const sides = [colours.slice(middle), colours.slice(0, middle + 1).reverse()];

  test.each(Object.entries(BLINDNESS))("is monotone in lightness on both sides (%s)", (_, matrix) => {
    for (const side of sides) {
      const lightness = side.map((rgb) => seen(rgb, matrix)[0] * (theme === "light" ? -1 : 1));
      lightness.slice(1).forEach((l, i) => expect(l - lightness[i]).toBeGreaterThan(2));
    }
  });

  test.each(Object.entries(BLINDNESS))("keeps the two sides apart (%s)", (_, matrix) => {
    for (let k = 1; k <= middle; k++) {
      const [p, q] = sides.map((side) => seen(side[k], matrix));
      expect(Math.hypot(p[0] - q[0], p[1] - q[1], p[2] - q[2])).toBeGreaterThan(k === 1 ? 8 : 20);
    }
  });

  test("prints in an ink that reads on every colour", () => {
    for (const rgb of colours) {
      const [a, b] = [luminance(rgb), luminance(parse(inkOn(rgb)))].sort((x, y) => y - x);
      expect((a + 0.05) / (b + 0.05)).toBeGreaterThan(4.5);
    }
  });
});

test("a value is coloured by its part of the limit and clamped at the ends", () => {
  const scale = new Scale("light", 0.5);
  expect(scale.index(0)).toBe(256);
  expect(scale.index(0.25)).toBe(384);
  expect(scale.index(-0.5)).toBe(0);
  expect(scale.index(7)).toBe(512);
  expect(scale.index(-Infinity)).toBe(0);
  expect(scale.fill(7)).toBe(scale.fill(0.5));
});

test("what has no value has no colour", () => {
  const scale = new Scale("light", 1);
  expect(scale.index(NaN)).toBe(-1);
  expect(scale.fill(NaN)).toBe("transparent");
});

test("a scale without extent still tells signs apart", () => {
  const scale = new Scale("dark", 0);
  expect([scale.index(-1), scale.index(0), scale.index(1)]).toEqual([0, 256, 512]);
});

test("attention grows from the ground to the run's colour", () => {
  expect(weightColour("light", "clean", 0).fill).toBe("rgb(243,245,246)");
  expect(weightColour("light", "clean", 1).fill).toBe("rgb(26,111,176)");
  expect(weightColour("light", "clean", 2).fill).toBe(weightColour("light", "clean", 1).fill);
});
