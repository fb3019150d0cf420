import { throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";
import { hasLimit, withBindingBytes } from "../_limit.ts";

const rng = new d.Rng(5);

Deno.test("linear() maps a known vector", async () => {
  const weight = d.tensor([[1, 2, 3], [0, -1, 1]]);
  const y = d.linear(d.tensor([1, 1, 2]), weight, d.tensor([10, 20]));
  await assertClose(y, d.tensor([19, 21]));
});

Deno.test("linear() is a product with the transposed weight, plus the bias", async () => {
  for (
    const [leading, inFeatures, outFeatures] of [
      [[], 7, 5],
      [[1], 1, 1],
      [[2, 9], 13, 131], // past the tile
      [[37], 5, 3], // fewer columns than a workgroup has lanes
      [[3], 1031, 2], // a sum in pieces: the bias is added once
    ] as const
  ) {
    const x = rng.normal([...leading, inFeatures]);
    const weight = rng.normal([outFeatures, inFeatures]);
    const bias = rng.normal([outFeatures]);
    const product = d.matmul(x, d.transpose(weight));
    await assertClose(d.linear(x, weight), product, { atol: 1e-4 });
    await assertClose(d.linear(x, weight, bias), d.add(product, bias), {
      atol: 1e-4,
    });
  }
});

Deno.test("linear() has the right gradient", async () => {
  for (const leading of [[], [3], [2, 2]]) {
    const x = rng.normal([...leading, 4]);
    const weight = rng.normal([3, 4]), bias = rng.normal([3]);
    await assertGradient((x, w, b) => d.linear(x, w, b), [x, weight, bias]);
    await assertGradient((x, w) => d.linear(x, w), [x, weight]);
  }
});

Deno.test("linear() takes a weight larger than one binding by pieces", {
  ignore: !hasLimit,
}, async () => {
  for (
    const [rows, inFeatures, outFeatures] of [
      [5, 160, 90],
      [80, 33, 256], // and a result
      [3, 20011, 1], // one row
      [3, 5, 2048],
      [2, 9000, 7], // rows that exceed it
    ] as const
  ) {
    const x = rng.normal([rows, inFeatures]).requireGrad();
    const weight = rng.normal([outFeatures, inFeatures]).requireGrad();
    const bias = rng.normal([outFeatures]).requireGrad();
    const dy = rng.normal([rows, outFeatures]);
    const all = () => {
      const y = d.linear(x, weight, bias);
      return [y, ...d.gradients(y, [x, weight, bias], { upstream: dy })];
    };
    const want = all(), got = withBindingBytes(32768, all);
    for (const [i, tensor] of got.entries()) {
      await assertClose(tensor, want[i]!, { atol: 1e-3 });
    }
  }
});

Deno.test("linear() of nothing is empty, and its gradients are zero", async () => {
  const weight = rng.normal([3, 4]).requireGrad();
  const bias = rng.normal([3]).requireGrad();
  const y = d.linear(d.zeros([0, 4]), weight, bias);
  await assertClose(y, d.zeros([0, 3]));
  const [dWeight, dBias] = d.gradients(y, [weight, bias], {
    upstream: d.zeros([0, 3]),
  });
  await assertClose(dWeight!, d.zeros([3, 4]));
  await assertClose(dBias!, d.zeros([3]));
});

Deno.test("linear() says what does not fit", () => {
  const weight = d.zeros([3, 4]);
  throws(
    () => d.linear(d.zeros([2, 5]), weight),
    /Cannot apply linear as the last axis of x must have length 4: x is \[2, 5\], weight is \[3, 4\]/,
  );
  throws(
    () => d.linear(d.zeros([2, 4]), weight, d.zeros([4])),
    /the bias must be \[3\]/,
  );
  throws(() => d.linear(d.zeros([4]), d.zeros([4])), /must be \[out, in\]/);
  throws(() => d.linear(d.zeros([]), weight), TypeError);
});
