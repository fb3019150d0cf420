import assert from "node:assert/strict";
import { tensor, timeEmbedding, type TimeEmbeddingForm } from "../../mod.ts";
import { assertClose } from "../_check.ts";

const DIM = 32, HALF = DIM / 2;
const TIMES = [0, 1, 17, 500.5, 999, 3999];

/** Sines and cosines of `t f_j` with `f_j = 10000^(-j / period)`, in doubles. */
function waves(t: number, period: number) {
  const angles = Array.from(
    { length: HALF },
    (_, j) => t * Math.exp(-j * Math.log(10000) / period),
  );
  return { sin: angles.map(Math.sin), cos: angles.map(Math.cos) };
}

const EXPECTED: Record<TimeEmbeddingForm, (t: number) => number[]> = {
  ho(t) {
    const { sin, cos } = waves(t, HALF - 1);
    return [...sin, ...cos];
  },
  openai(t) {
    const { sin, cos } = waves(t, HALF);
    return [...cos, ...sin];
  },
  dome(t) {
    const { sin, cos } = waves(t, HALF);
    return [...sin, ...cos];
  },
  interleaved(t) {
    const { sin, cos } = waves(t, HALF / 2);
    return sin.flatMap((s, j) => [s, cos[j]!]);
  },
};

for (const form of ["ho", "openai", "dome", "interleaved"] as const) {
  Deno.test(`timeEmbedding() is exact to f32 at large timesteps, ${form}`, async () => {
    const got = timeEmbedding(tensor(TIMES), DIM, { form });
    assert.deepEqual(got.shape, [TIMES.length, DIM]);
    await assertClose(got, TIMES.flatMap(EXPECTED[form]), {
      atol: 2e-6,
      rtol: 0,
    });
  });
}

Deno.test("timeEmbedding() is that of Ho et al. unless told", async () => {
  const t = tensor(TIMES);
  const ho = timeEmbedding(t, DIM, { form: "ho" });
  await assertClose(timeEmbedding(t, DIM), ho, { atol: 0, rtol: 0 });
});

Deno.test("timeEmbedding() refuses an odd dimension and timesteps with two axes", () => {
  assert.throws(() => timeEmbedding(tensor([1]), 7), /must be even: dim is 7/);
  assert.throws(() => timeEmbedding(tensor([[1]]), 8), /one axis: t is/);
});
