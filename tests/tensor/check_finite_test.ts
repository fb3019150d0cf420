import assert from "node:assert/strict";
import * as d from "../../mod.ts";

async function anomaly(body: () => unknown): Promise<void> {
  d.detectAnomaly(true);
  try {
    body();
    await d.assertFinite();
  } finally {
    d.detectAnomaly(false);
  }
}

Deno.test("detectAnomaly() names the first op that gave infinity", async () => {
  await assert.rejects(
    anomaly(() => {
      const x = d.reciprocal(d.tensor([[1, 0]]));
      d.exp(d.add(x, 1));
    }),
    (error: Error) =>
      error instanceof RangeError &&
      error.message ===
        "Found NaN or infinity first in reciprocal, shape [1, 2]",
  );
});

Deno.test("detectAnomaly() names the op whose gradient gave infinity", async () => {
  const x = d.tensor([4, 0]).requireGrad();
  await assert.rejects(
    anomaly(() => d.gradients(d.sum(d.scale(d.sqrt(x), 2)), [x])),
    /first in the gradient of sqrt, shape \[2\]/,
  );
});

Deno.test("detectAnomaly() finds a NaN that was put in", async () => {
  const x = d.tensor([1, NaN]);
  await assert.rejects(anomaly(() => d.reshape(x, [2, 1])), /first in reshape/);
});

Deno.test("assertFinite() is content with finite work, and starts afresh", async () => {
  await anomaly(() => d.exp(d.tensor([1, 2])));
  await anomaly(() => d.zeros([0]));
  d.reciprocal(d.tensor([0])); // not watched
  await anomaly(() => d.exp(d.tensor([1])));
  await d.assertFinite(); // not watching
});
