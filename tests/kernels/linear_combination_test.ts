import assert from "node:assert/strict";
import {
  capture,
  linearCombination,
  live,
  Rng,
  type Tensor,
} from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new Rng(1);
const FACTORS = [2, -0.5, 3, 0.25];

/** `Σ factor · tensor` of the first ones. */
const combined = (...tensors: Tensor[]) =>
  linearCombination(tensors.map((x, i) => [FACTORS[i]!, x]));

Deno.test("linearCombination() sums one to four weighted tensors", async () => {
  for (const shape of [[1], [7, 11], [3, 1031]]) {
    const tensors = FACTORS.map(() => rng.normal(shape));
    const hosts = await Promise.all(tensors.map((x) => x.data()));
    for (let count = 1; count <= 4; count++) {
      const want = Float64Array.from(
        hosts[0]!,
        (_, i) =>
          hosts.slice(0, count).reduce(
            (sum, host, k) => sum + FACTORS[k]! * host[i]!,
            0,
          ),
      );
      await assertClose(combined(...tensors.slice(0, count)), want);
    }
  }
});

Deno.test("linearCombination() has the right gradient, and sums a tensor with itself", async () => {
  const inputs = FACTORS.map(() => rng.normal([2, 7]));
  await assertGradient(combined, inputs);
  await assertGradient((x) => combined(x, x), [inputs[0]!]);
});

Deno.test("linearCombination() asks for its factors before every replay", async () => {
  const [x, y] = [rng.normal([5]), rng.normal([5])];
  let factor = 0;
  const step = capture(() => ({
    out: linearCombination([[live(() => factor), x], [live(() => -factor), y]]),
  }));
  for (factor of [1, 2]) step.replay({});
  const [once, twice] = await step.outputs();
  await assertClose(
    once!.out,
    await linearCombination([[1, x], [-1, y]]).data(),
  );
  await assertClose(twice!.out, once!.out.map((value) => 2 * value));
  step.dispose();
});

Deno.test("linearCombination() refuses what does not fit", () => {
  assert.throws(() => linearCombination([]), TypeError);
  assert.throws(
    () => linearCombination([[1, rng.normal([2])], [1, rng.normal([3])]]),
    /f32 of one shape: tensors is .*\[2\].*\[3\]/,
  );
});
