import assert from "node:assert/strict";
import { inceptionScore } from "../../mod.ts";
import { assertClose } from "../_check.ts";

const ROWS = [0.7, 0.2, 0.1, 0.1, 0.8, 0.1, 0.2, 0.2, 0.6];
const THREE = { data: ROWS, shape: [3, 3] };

Deno.test("inceptionScore() knows three images", async () => {
  const options = { splits: 1 };
  const want = [1.333955, 0];
  const of = (
    scores: { data: number[]; shape: number[] },
    probabilities: boolean,
  ) => Object.values(inceptionScore(scores, { ...options, probabilities }));
  await assertClose(of(THREE, true), want);
  // A softmax undoes the logarithm, and what is added to a row.
  const logits = ROWS.map((p, i) => Math.log(p) + 1000 * Math.floor(i / 3));
  await assertClose(of({ data: logits, shape: [3, 3] }, false), want);
});

Deno.test("inceptionScore() goes from 1 to the number of classes", async () => {
  const sure = Array.from(
    { length: 50 * 4 },
    (_, i) => Number(i % 4 === Math.floor(i / 4) % 4),
  );
  const four = { data: sure, shape: [50, 4] };
  const score = inceptionScore(four, { probabilities: true, splits: 1 });
  // 13, 12, 13 and 12 images of the four classes.
  const entropy = -2 * (0.26 * Math.log(0.26) + 0.24 * Math.log(0.24));
  await assertClose([score.mean], [Math.exp(entropy)], { rtol: 1e-12 });
  const unsure = { data: new Float64Array(40 * 4), shape: [40, 4] };
  const one = inceptionScore(unsure);
  await assertClose([one.mean, one.std], [1, 0], { atol: 1e-12 });
});

Deno.test("inceptionScore() splits all images in order, or shuffles them by a seed", async () => {
  // Classes one after the other: each split has but one, unless shuffled.
  const data = Array.from(
    { length: 70 * 7 },
    (_, i) => Number(i % 7 === Math.floor(i / 70)),
  );
  const seven = { data, shape: [70, 7] };
  const options = { probabilities: true, splits: 7 };
  await assertClose(Object.values(inceptionScore(seven, options)), [1, 0]);
  const shuffled = inceptionScore(seven, { ...options, seed: 1 });
  assert.ok(shuffled.mean > 3 && shuffled.mean < 7 && shuffled.std > 0);
  assert.deepEqual(inceptionScore(seven, { ...options, seed: 1 }), shuffled);
  // 70 images in 3 splits: 23, 23 and 24. Mean and population form by hand.
  const parts = [[10, 10, 3], [7, 10, 6], [4, 10, 10]].map((counts) => {
    const n = counts.reduce((a, b) => a + b);
    return Math.exp(
      -counts.reduce((sum, c) => sum + c / n * Math.log(c / n), 0),
    );
  });
  const mean = parts.reduce((a, b) => a + b) / 3;
  const std = Math.sqrt(parts.reduce((a, b) => a + (b - mean) ** 2, 0) / 3);
  await assertClose(
    Object.values(inceptionScore(seven, { ...options, splits: 3 })),
    [mean, std],
    { rtol: 1e-12 },
  );
});

Deno.test("inceptionScore() explains what it cannot use", () => {
  for (const splits of [0, 4, 1.5]) {
    assert.throws(
      () => inceptionScore(THREE, { splits }),
      {
        name: "RangeError",
        message: /from 1 to the 3 images: it is/,
      },
    );
  }
  assert.throws(
    () => inceptionScore({ data: [1, 2, 3], shape: [3] }),
    { name: "TypeError", message: /points must be \[N, D\]/ },
  );
  assert.throws(
    () =>
      inceptionScore({ data: [0.5, 0.5, 1.5, -0.5], shape: [2, 2] }, {
        probabilities: true,
        splits: 1,
      }),
    /not be negative and sum to 1: those of row 1 sum to 1, the least is -0.5/,
  );
});
