import assert from "node:assert/strict";
import { addcmul, Rng, tensor, zeros } from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new Rng(31);

Deno.test("addcmul() has its value and gradients", async () => {
  for (const shape of [[1], [7, 11], [4099]]) { // a prime, and past the elements of a workgroup
    const x = rng.normal(shape), a = rng.normal(shape), b = rng.normal(shape);
    const [dx, da, db] = await Promise.all(
      [x, a, b].map((t) => t.data()),
    );
    const want = Float64Array.from(dx!, (v, i) => v - 1.5 * da![i]! * db![i]!);
    await assertClose(addcmul(x, a, b, -1.5), want, { atol: 1e-5 });
  }
  const small = () => rng.normal([2, 3]);
  await assertGradient((x, a, b) => addcmul(x!, a!, b!, 0.7), [
    small(),
    small(),
    small(),
  ]);
  assert.equal(addcmul(zeros([0]), zeros([0]), zeros([0])).size, 0);
});

Deno.test("addcmul() refuses shapes that differ", () => {
  assert.throws(
    () => addcmul(zeros([2]), zeros([3]), zeros([2])),
    /one shape: x is f32\[2\], a is f32\[3\]/,
  );
  assert.throws(
    () => addcmul(zeros([1]), tensor([1], [1], "i32"), zeros([1])),
    TypeError,
  );
});
