import assert from "node:assert/strict";
import {
  cosineBetas,
  evenTimesteps,
  GaussianDiffusion,
  linearBetas,
} from "../../mod.ts";

function near(got: number | undefined, want: number, relative = 1e-6): void {
  assert.ok(
    Math.abs(got! - want) <= relative * Math.abs(want),
    `got ${got}, want ${want}`,
  );
}

Deno.test("linearBetas() has the values of Ho et al.'s schedule", () => {
  const { betas, alphasCumprod, posteriorVariance } = new GaussianDiffusion();
  for (
    const [t, beta, bar] of [
      [0, 1e-4, 0.9999],
      [99, 0.00207207, 0.89701815],
      [249, 0.00506006, 0.52408537],
      [499, 0.01004004, 0.07858724],
      [999, 0.02, 4.03583e-5],
    ] as const
  ) {
    near(betas[t], beta, 1e-5);
    near(alphasCumprod[t], bar, 1e-5);
  }
  near(posteriorVariance[1], 5.4531877e-5);
  near(posteriorVariance[999], 0.0199999835);
  assert.equal(posteriorVariance[0], 0);
});

Deno.test("cosineBetas() has the values of Nichol & Dhariwal's schedule", () => {
  const { betas, alphasCumprod } = new GaussianDiffusion({
    schedule: "cosine",
  });
  for (
    const [t, beta, bar] of [
      [0, 4.128422e-5, 0.99995872],
      [249, 0.0013215, 0.84701216],
      [499, 0.00314589, 0.49384359],
      [998, 0.7499994, 2.428767e-6],
      [999, 0.999, 2.428767e-9],
    ] as const
  ) {
    near(betas[t], beta, 1e-5);
    near(alphasCumprod[t], bar, 1e-5);
  }
});

Deno.test("linearBetas() and cosineBetas() stay between 0 and 1 for any length", () => {
  for (const T of [2, 3, 10, 997, 4000]) {
    for (const betas of [linearBetas(T), cosineBetas(T)]) {
      assert.equal(betas.length, T);
      assert.ok(betas.every((beta) => beta > 0 && beta < 1));
    }
  }
});

Deno.test("evenTimesteps() spreads with both ends and rounds halves to even", () => {
  assert.deepEqual([...evenTimesteps(1000, 10)], [
    0,
    111,
    222,
    333,
    444,
    555,
    666,
    777,
    888,
    999,
  ]);
  assert.deepEqual([...evenTimesteps(6, 3)], [0, 2, 5]); // 2.5 goes to 2
  assert.deepEqual([...evenTimesteps(1000, 1)], [999]);
  assert.deepEqual([...evenTimesteps(5, 5)], [0, 1, 2, 3, 4]);
  assert.throws(() => evenTimesteps(10, 11), /1 … 10: steps is 11/);
  assert.throws(() => evenTimesteps(10, 0), RangeError);
});
