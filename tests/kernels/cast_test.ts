import { deepStrictEqual, throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose } from "../_check.ts";

const exactly = { atol: 0, rtol: 0 };

Deno.test("cast() goes towards zero and stays in range", async () => {
  const x = d.tensor([1.9, -1.9, 0, -0.5, 3e9, -3e9, 1e20]);
  const i32 = d.cast(x, "i32"), u32 = d.cast(x, "u32");
  await assertClose(
    i32,
    [1, -1, 0, 0, 2147483520, -2147483648, 2147483520],
    exactly,
  );
  await assertClose(u32, [1, 0, 0, 0, 3e9, 0, 4294967040], exactly);
});

Deno.test("cast() keeps whole numbers, and bits between signed and unsigned", async () => {
  const x = d.tensor(Int32Array.of(-7, 0, 16777216, -2147483648));
  await assertClose(d.cast(x, "f32"), [-7, 0, 16777216, -2147483648], exactly);
  const unsigned = d.cast(x, "u32");
  await assertClose(unsigned, [4294967289, 0, 16777216, 2147483648], exactly);
  await assertClose(d.cast(unsigned, "f32"), [
    4294967296,
    0,
    16777216,
    2147483648,
  ], exactly);
  await assertClose(d.cast(unsigned, "i32"), x, exactly);
});

Deno.test("cast() works past the workgroup, on scalars and on nothing", async () => {
  const x = d.tensor(Float32Array.from({ length: 131 }, (_, i) => i + 0.5));
  await assertClose(
    d.cast(x, "i32"),
    Array.from({ length: 131 }, (_, i) => i),
    exactly,
  );
  await assertClose(
    d.cast(d.full([], 3), "i32"),
    d.full([], 3, "i32"),
    exactly,
  );
  await assertClose(
    d.cast(d.zeros([2, 0]), "u32"),
    d.zeros([2, 0], "u32"),
    exactly,
  );
});

Deno.test("cast() to f16 rounds to the nearest, and back is exact", async () => {
  for (const length of [1, 5, 131, 1031]) { // past the workgroup, and no multiple of four
    const numbers = new d.Rng(4).normal([length], 0, 100);
    const halves = d.cast(numbers, "f16");
    deepStrictEqual(
      await halves.data(),
      Float16Array.from(await numbers.data()),
    );
    deepStrictEqual(
      await d.cast(halves, "f32").data(),
      Float32Array.from(await halves.data()),
    );
  }
  // The largest and the smallest, subnormal ones, zeros, and what is too large or too small.
  const edges = [65504, -65504, 6.1035e-5, 5.96e-8, 0, -0, 1e9, -1e9, 1e-9];
  deepStrictEqual(
    await d.cast(d.tensor(edges), "f16").data(),
    Float16Array.from(edges),
  );
});

Deno.test("cast() between f16 and whole numbers, of scalars and of nothing", async () => {
  const x = d.tensor([1.75, -3, 2049], [3], "f16");
  deepStrictEqual(await d.cast(x, "i32").data(), Int32Array.of(1, -3, 2048));
  const back = d.cast(d.tensor(Int32Array.of(7, -9)), "f16");
  deepStrictEqual(await back.data(), Float16Array.of(7, -9));
  deepStrictEqual(
    await d.cast(d.cast(d.full([], 0.5), "f16"), "f32").item(),
    0.5,
  );
  deepStrictEqual(d.cast(d.zeros([2, 0]), "f16").shape, [2, 0]);
});

Deno.test("tensors of f16 take two bytes an element, and ops refuse them by name", () => {
  const x = d.tensor(Float16Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9), [3, 3]);
  deepStrictEqual([x.bytes, x.storage.bytes], [18, 32]);
  deepStrictEqual(String(d.reshape(x, [9])), "f16[9]");
  const must = /must (not )?be (f32|f16)/;
  for (
    const op of [
      () => d.relu(x),
      () => d.add(x, x),
      () => d.sum(x),
      () => d.softmax(x),
      () => d.matmul(x, x),
      () => d.transpose(x),
      () => d.concat([x, x]),
      () => d.expand(x, [2, 3, 3]),
      () => d.pad(x, [1, 1]),
      () => d.where(x, x, 0),
      () => d.where(x, d.ones([3, 3]), 0),
      () => d.parameter(x),
    ]
  ) {
    throws(op, { name: "TypeError", message: must }, String(op));
  }
});
