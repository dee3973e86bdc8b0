import type { Bytes } from "./model";

/** An owned, aligned copy of the bytes: a DataView into a message may start at any offset. */
function copy(value: Bytes, size: number): ArrayBuffer {
  if (value == null) return new ArrayBuffer(0);
  const view = ArrayBuffer.isView(value) ? value : new DataView(value);
  if (view.byteLength % size !== 0)
    throw new RangeError(`${view.byteLength} bytes are no whole number of ${size}-byte values`);
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice().buffer;
}

export const float32 = (value: Bytes): Float32Array => new Float32Array(copy(value, 4));
export const int32 = (value: Bytes): Int32Array => new Int32Array(copy(value, 4));
export const uint8 = (value: Bytes): Uint8Array => new Uint8Array(copy(value, 1));
