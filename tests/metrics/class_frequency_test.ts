import assert from "node:assert/strict";
import {
  classHistogram,
  confidence,
  labelAccuracy,
  predictedClasses,
} from "../../mod.ts";
import { assertClose } from "../_check.ts";

Deno.test("classHistogram() counts labels, with classes that are missing", async () => {
  const found = classHistogram(Int32Array.of(2, 0, 2, 2), 4);
  assert.deepEqual([...found.counts], [1, 0, 3, 0]);
  assert.deepEqual([...found.frequencies], [0.25, 0, 0.75, 0]);
  await assertClose(
    [found.entropy, found.totalVariation, found.kl],
    [
      0.25 * Math.log(4) + 0.75 * Math.log(4 / 3),
      0.5,
      Math.log(4) - found.entropy, // from equal shares
    ],
    { atol: 0, rtol: 1e-12 },
  );
});

Deno.test("classHistogram() compares shares, whether the reference has counts or shares", async () => {
  const labels = [0, 0, 0, 1, 2];
  const counts = classHistogram(labels, 3, [10, 20, 70]);
  const shares = classHistogram(labels, 3, [0.1, 0.2, 0.7]);
  await assertClose([counts.totalVariation, shares.totalVariation], [0.5, 0.5]);
  const kl = 0.6 * Math.log(6) + 0.2 * Math.log(0.2 / 0.7);
  await assertClose([counts.kl, shares.kl], [kl, kl]);
  const same = classHistogram(labels, 3, [3, 1, 1]);
  assert.deepEqual([same.totalVariation, same.kl], [0, 0]);
  const apart = classHistogram([1, 1], 2, [5, 0]);
  assert.deepEqual([apart.totalVariation, apart.kl], [1, Infinity]);
  assert.equal(apart.entropy, 0);
});

Deno.test("predictedClasses(), confidence() and labelAccuracy() know small cases", async () => {
  const logits = { data: [0, Math.log(3), 800, -800, 2, 2], shape: [3, 2] };
  const predicted = predictedClasses(logits);
  assert.deepEqual([...predicted], [1, 0, 0]);
  await assertClose([confidence(logits)], [(0.75 + 1 + 0.5) / 3], {
    rtol: 1e-12,
  });
  assert.equal(labelAccuracy(predicted, [1, 1, 0]), 2 / 3);
  const p = { data: [0.2, 0.8, 1, 0], shape: [2, 2] };
  assert.equal(confidence(p, { probabilities: true }), 0.9);
});

Deno.test("class frequencies explain what they cannot use", () => {
  const cases: [() => unknown, string, RegExp][] = [
    [() => classHistogram([], 3), "RangeError", /must be labels/],
    [
      () => classHistogram([0, 3], 3),
      "RangeError",
      /from 0 to 2: label 1 is 3/,
    ],
    [() => classHistogram([-1], 3), "RangeError", /label 0 is -1/],
    [() => classHistogram([0.5], 3), "RangeError", /label 0 is 0.5/],
    [
      () => classHistogram([0], 3, [1, 2]),
      "TypeError",
      /it has 2, numClasses is 3/,
    ],
    [() => classHistogram([0], 2, [0, 0]), "RangeError", /not all 0/],
    [() => classHistogram([0], 2, [2, -1]), "RangeError", /not negative/],
    [() => classHistogram([0], 2, [2, NaN]), "RangeError", /finite/],
    [() => labelAccuracy([1], [1, 2]), "TypeError", /1 are predicted, 2/],
    [() => labelAccuracy([], []), "RangeError", /must be some/],
    [
      () =>
        confidence({ data: [0.2, 0.2], shape: [1, 2] }, {
          probabilities: true,
        }),
      "RangeError",
      /those of row 0 sum to 0.4/,
    ],
    [
      () => confidence({ data: [1, NaN], shape: [1, 2] }),
      "RangeError",
      /of point 0 is NaN/,
    ],
    [() => confidence({ data: [], shape: [0, 2] }), "RangeError", /none is/],
  ];
  for (const [call, name, message] of cases) {
    assert.throws(call, { name, message });
  }
});
