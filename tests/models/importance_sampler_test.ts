import assert from "node:assert/strict";
import { ImportanceSampler, Rng } from "../../mod.ts";
import { assertClose } from "../_check.ts";

/** Losses of the four timesteps. */
const LOSSES = [8, 1, 0.5, 0.25];

/** One whose every timestep has always had the same loss. */
function warm(): ImportanceSampler {
  const sampler = new ImportanceSampler(4);
  for (let i = 0; i < 10; i++) sampler.update([0, 1, 2, 3], LOSSES);
  return sampler;
}

Deno.test("ImportanceSampler is uniform until every timestep has its history", () => {
  const sampler = new ImportanceSampler(3, { history: 2 });
  sampler.update([0, 1, 2, 0, 1], [5, 1, 1, 5, 1]);
  assert.equal(sampler.isWarm, false);
  assert.deepEqual([...sampler.probabilities()], [1 / 3, 1 / 3, 1 / 3]);
  assert.ok(sampler.draw(9, new Rng(1)).weights.every((w) => w === 1));
  sampler.update([2], [1]);
  assert.equal(sampler.isWarm, true);
  assert.ok(sampler.probabilities()[0]! > 0.7);
});

Deno.test("ImportanceSampler draws by the root mean square of the latest losses", async () => {
  const sampler = new ImportanceSampler(2, { history: 3, uniformShare: 0.2 });
  sampler.update([0, 0, 0, 0, 1, 1, 1], [100, 1, 2, 2, 1, 1, 1]); // the first 100 is forgotten
  const a = Math.sqrt((1 + 4 + 4) / 3), b = 1;
  await assertClose(sampler.probabilities(), [
    0.8 * a / (a + b) + 0.1,
    0.8 * b / (a + b) + 0.1,
  ], { atol: 1e-12 });
  const p = warm().probabilities();
  assert.ok(Math.abs(p.reduce((a, b) => a + b, 0) - 1) < 1e-12);
});

Deno.test("ImportanceSampler estimates the mean loss without bias and with less variance", () => {
  const sampler = warm();
  const p = sampler.probabilities();
  const mean = LOSSES.reduce((a, b) => a + b, 0) / 4;
  // Exactly: Σ p(t) · L_t / (T p(t)).
  const expected = LOSSES.reduce(
    (sum, loss, t) => sum + p[t]! * loss / (4 * p[t]!),
    0,
  );
  assert.ok(Math.abs(expected - mean) < 1e-12);
  const { t, weights } = sampler.draw(4000, new Rng(7));
  const estimates = Array.from(t, (at, i) => LOSSES[at]! * weights[i]!);
  const found = estimates.reduce((a, b) => a + b, 0) / t.length;
  // With p in proportion to the losses every single estimate is nearly the mean.
  assert.ok(Math.abs(found / mean - 1) < 1e-3, `${found}, want ${mean}`);
  for (const at of [0, 1, 2, 3]) {
    const share = t.filter((other) => other === at).length / t.length;
    const error = Math.sqrt(p[at]! * (1 - p[at]!) / t.length);
    assert.ok(Math.abs(share - p[at]!) < 4 * error, `share of ${at}: ${share}`);
  }
});

Deno.test("ImportanceSampler continues bit for bit from its state", () => {
  const sampler = warm();
  sampler.update([2, 2, 0], [9, 0.1, 3]);
  const other = new ImportanceSampler(4);
  const { state } = sampler;
  other.state = state;
  for (const one of [sampler, other]) one.update([1, 2], [0.3, 0.7]);
  assert.deepEqual(other.probabilities(), sampler.probabilities());
  assert.deepEqual(other.draw(20, new Rng(3)), sampler.draw(20, new Rng(3)));
  assert.deepEqual(other.state, sampler.state);
  assert.notDeepEqual(state, sampler.state); // a copy
});

Deno.test("ImportanceSampler refuses what it cannot use", () => {
  const sampler = new ImportanceSampler(4);
  assert.throws(() => sampler.update([0, 1], [1]), /t is 2, losses is 1/);
  assert.throws(
    () => sampler.update([4], [1]),
    /RangeError: .*loss 0 is 1 at timestep 4/,
  );
  assert.throws(() => sampler.update([0], [NaN]), /loss 0 is NaN/);
  assert.throws(() => new ImportanceSampler(0), /timesteps is 0/);
  assert.throws(
    () => new ImportanceSampler(4, { uniformShare: 0 }),
    /uniformShare is 0/,
  );
  assert.throws(
    () => sampler.state = new ImportanceSampler(5).state,
    /as many timesteps .*: losses is 50, counts is 5, timesteps is 4/,
  );
});
