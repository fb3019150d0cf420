import { equal, throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose } from "../_check.ts";

const rng = new d.Rng(14);
// Scalar, padded and unpadded ends, past a lane's share and past a workgroup of lanes, empty.
const SHAPES = [[], [1], [3], [4], [7, 9], [67, 67], [0, 3], [70_001]];

async function exactNorm(tensors: readonly d.Tensor[]): Promise<number> {
  let sum = 0;
  for (const x of tensors) {
    for (const value of await x.data()) sum += value * value;
  }
  return Math.sqrt(sum);
}

Deno.test("globalNorm() is the norm of all elements together", async () => {
  const tensors = SHAPES.map((shape) => rng.normal(shape));
  await assertClose(d.globalNorm(tensors), [await exactNorm(tensors)]);
  for (const x of tensors) {
    await assertClose(d.globalNorm([x]), [await exactNorm([x])]);
  }
  await assertClose(d.globalNorm([]), [0]);
  await assertClose(d.globalNorm([d.tensor([3]), d.tensor([[-4]])]), [5]);
  throws(
    () => d.globalNorm([d.zeros([2], "i32")]),
    /must be f32: x is i32\[2\]/,
  );
});

Deno.test("globalNorm() ignores what memory holds behind the last element", async () => {
  d.scope(() => d.full([4], 1e9)); // the pool hands this buffer out again
  await assertClose(d.globalNorm([d.reshape(d.tensor([2]), [1])]), [2]);
});

Deno.test("clipGradNorm() scales down what exceeds the norm, and leaves the rest", async () => {
  const gradients = SHAPES.map((shape) => rng.normal(shape));
  const before = await exactNorm(gradients);
  for (
    const [maxNorm, factor] of [[1, 1 / before], [2 * before, 1], [
      Infinity,
      1,
    ]] as const
  ) {
    const clipped = d.clipGradNorm(gradients, maxNorm);
    await assertClose(clipped.norm, [before]);
    for (const [i, x] of gradients.entries()) {
      await assertClose(clipped.gradients[i]!, d.scale(x, factor), {
        rtol: 1e-5,
        atol: 1e-7,
      });
    }
  }
});

Deno.test("clipScale() says by how much to clip", async () => {
  const gradients = [d.tensor([3]), d.tensor([[-4, 0]])];
  for (
    const [maxNorm, eps, want] of [
      [1, undefined, 1 / (5 + 1e-6)],
      [1, 5, 0.1],
      [6, undefined, 1],
      [0, undefined, 0],
      [Infinity, undefined, 1],
    ] as const
  ) {
    const { scale, norm } = d.clipScale(gradients, maxNorm, eps);
    await assertClose(norm, [5]);
    await assertClose(scale, [want], { rtol: 1e-6, atol: 0 });
  }
  await assertClose(d.clipScale([], 1).scale, [1]);
  throws(() => d.clipScale(gradients, NaN), /clipScale as maxNorm .* NaN/);
});

Deno.test("clipGradNorm() of zeros is zeros, and to the norm 0 as well", async () => {
  const zeros = d.clipGradNorm([d.zeros([5])], 1);
  await assertClose(zeros.gradients[0]!, d.zeros([5]));
  const none = d.clipGradNorm([d.ones([5])], 0);
  await assertClose(none.gradients[0]!, d.zeros([5]));
  throws(
    () => d.clipGradNorm([], -1),
    /maxNorm must not be negative: it is -1/,
  );
});

Deno.test("clipGradNorm() frees what it used", () => {
  const gradients = [rng.normal([300]), rng.normal([5])];
  const { bytesInUse } = d.memory();
  d.scope(() => {
    d.clipGradNorm(gradients, 1);
  });
  equal(d.memory().bytesInUse, bytesInUse);
  d.clipGradNorm(gradients, Infinity).norm.dispose();
  equal(d.memory().bytesInUse, bytesInUse);
});

Deno.test("clipGradNormInPlace() scales .grad, skipping parameters without one", async () => {
  const [a, b, c] = [[5], [3, 67], [2]].map((shape) =>
    rng.normal(shape).requireGrad()
  );
  d.backward(d.sum(d.add(d.sum(d.square(a!)), d.sum(d.square(b!)))));
  const copies = [a!, b!].map((x) => d.scale(x.grad!.detach(), 1));
  const want = d.clipGradNorm(copies, 2);
  const norm = d.clipGradNormInPlace([a!, b!, c!], 2);
  await assertClose(norm, want.norm);
  await assertClose(a!.grad!, want.gradients[0]!);
  await assertClose(b!.grad!, want.gradients[1]!);
  equal(c!.grad, null);
  await assertClose(d.globalNorm([a!.grad!, b!.grad!]), [2], { rtol: 1e-5 });
  throws(() => d.clipGradNormInPlace([a!, a!], 1), /parameters must differ/);
});
