import assert from "node:assert/strict";
import * as d from "../../mod.ts";

Deno.test("tensor() takes numbers, nested arrays and typed arrays", async () => {
  assert.deepEqual(d.tensor(3).shape, []);
  assert.equal(await d.tensor(3).item(), 3);
  const nested = [[[1, 2]], [[3, 4]], [[5, 6]]];
  const x = d.tensor(nested);
  assert.deepEqual(x.shape, [3, 1, 2]);
  assert.deepEqual([x.rank, x.size, x.dtype], [3, 6, "f32"]);
  assert.deepEqual(await x.toArray(), nested);
  const whole = d.tensor(new Int32Array([-1, 2]));
  assert.equal(whole.dtype, "i32");
  assert.deepEqual(await whole.data(), new Int32Array([-1, 2]));
  const words = d.tensor(new Uint32Array([0xffffffff]));
  assert.equal(await words.item(), 0xffffffff);
  const cast = d.tensor(new Int32Array([1, 2]), [2, 1], "f32");
  assert.deepEqual(await cast.toArray(), [[1], [2]]);
  assert.equal(cast.dtype, "f32");
});

Deno.test("tensor() copies a window of a larger array, of any length", async () => {
  for (const length of [1, 2, 3, 5, 64, 65]) {
    const window = Float32Array.from({ length: 70 }, (_, i) => i)
      .subarray(3, 3 + length);
    assert.deepEqual(await d.tensor(window).data(), window.slice());
  }
});

Deno.test("tensor() refuses what is no array", () => {
  assert.throws(
    () => d.tensor([[1, 2], [3]]),
    (error: Error) =>
      error instanceof TypeError &&
      error.message ===
        "Cannot make a tensor as all rows must have one shape: [2] and [1]",
  );
  assert.throws(() => d.tensor([1, [2]]), TypeError);
  assert.throws(
    () => d.tensor(new Float32Array(6), [2, 2]),
    /shape \[2, 2\] holds 4, there are 6/,
  );
  assert.throws(
    () => d.tensor(new Float64Array(2) as unknown as Float32Array<ArrayBuffer>),
    /arrays must be Float32, Float16, Int32 or Uint32/,
  );
  assert.throws(() => d.zeros([2, -1]), RangeError);
  assert.throws(() => d.zeros([1.5]), RangeError);
});

Deno.test("item() needs exactly one element", async () => {
  assert.equal(await d.tensor([[7]]).item(), 7);
  await assert.rejects(
    d.tensor([1, 2]).item(),
    /Cannot take the item as there must be one: shape is \[2\]/,
  );
});

Deno.test("tensors without elements work", async () => {
  const x = d.tensor([[], []]);
  assert.deepEqual(x.shape, [2, 0]);
  assert.deepEqual(await x.toArray(), [[], []]);
  assert.equal((await d.exp(d.add(x, x)).data()).length, 0);
  assert.equal(await d.sum(x).item(), 0);
  assert.deepEqual(d.zeros([0, 3]).size, 0);
});

Deno.test("full(), zeros() and ones() fill any type", async () => {
  assert.deepEqual(await d.full([3], -0.5).toArray(), [-0.5, -0.5, -0.5]);
  assert.deepEqual(await d.full([2], -7, "i32").toArray(), [-7, -7]);
  assert.deepEqual(await d.full([1], 0xfffffffe, "u32").toArray(), [
    0xfffffffe,
  ]);
  assert.deepEqual(await d.zeros([2, 1]).toArray(), [[0], [0]]);
  assert.equal(await d.sum(d.ones([3, 5, 7])).item(), 105);
});

Deno.test("a tensor shows its type and shape", () => {
  const x = d.zeros([2, 3], "i32");
  assert.equal(String(x), "i32[2, 3]");
  assert.equal(Deno.inspect(x), "Tensor i32[2, 3]");
  x.dispose();
  assert.equal(Deno.inspect(x), "Tensor i32[2, 3] (freed)");
});

Deno.test("requireGrad() refuses computed and whole-number tensors", () => {
  const x = d.tensor([1]).requireGrad();
  assert.equal(x.requiresGrad, true);
  assert.throws(() => d.exp(x).requireGrad(), /computed tensor: detach it/);
  assert.throws(() => d.zeros([1], "i32").requireGrad(), /must be f32: i32/);
});
