import { expect, test } from "vitest";
import { float32, int32, uint8 } from "../src/codec";

test("values are read at any offset of a larger buffer", () => {
  const message = new Uint8Array(3 + 12);
  const values = new Float32Array([1.5, -2, NaN]);
  message.set(new Uint8Array(values.buffer), 3);
  expect([...float32(new DataView(message.buffer, 3, 12))]).toEqual([1.5, -2, NaN]);
});

test("what is read is a copy", () => {
  const source = new Int32Array([7, 8]);
  const read = int32(source);
  source[0] = 0;
  expect([...read]).toEqual([7, 8]);
});

test("nothing is an empty array, and a buffer is read whole", () => {
  expect(float32(null)).toHaveLength(0);
  expect([...uint8(new Uint8Array([4, 0]).buffer)]).toEqual([4, 0]);
});

test("bytes that are no whole number of values are refused", () => {
  expect(() => float32(new Uint8Array(6))).toThrow("6 bytes are no whole number of 4-byte values");
});
