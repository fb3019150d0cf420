import { equal, throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const exactly = { atol: 0, rtol: 0 };

Deno.test("dropout() omits a share p and scales the rest", async () => {
  const n = 65_537, p = 0.3;
  const y = await d.dropout(d.ones([n]), { p, rng: new d.Rng(5) }).data();
  const kept = y.filter((value) => value !== 0);
  await assertClose(kept, kept.map(() => 1 / (1 - p)), { rtol: 1e-6 });
  const spread = Math.sqrt(n * p * (1 - p));
  equal(Math.abs(kept.length - n * (1 - p)) < 4 * spread, true);
});

Deno.test("dropout() is the uniform draw of the same generator against p", async () => {
  const draw = await new d.Rng(6, 2).uniform([263]).data();
  const x = new d.Rng(7).normal([263]);
  const want = (await x.data()).map((value, i) =>
    draw[i]! >= 0.25 ? value / 0.75 : 0
  );
  await assertClose(d.dropout(x, { p: 0.25, rng: new d.Rng(6, 2) }), want);
});

Deno.test("dropout() takes one draw, and uses it again for the gradient", async () => {
  const rng = new d.Rng(8), x = d.ones([1031]).requireGrad();
  const y = d.dropout(x, { p: 0.5, rng });
  equal(rng.state.calls, 1);
  d.dropout(x, { p: 0.5, rng });
  const [dx] = d.gradients(y, [x], { upstream: d.ones([1031]) });
  await assertClose(dx!, y, exactly);
  const f = (x: d.Tensor) => d.dropout(x, { p: 0.4, rng: new d.Rng(9) });
  await assertGradient(f, [new d.Rng(10).normal([2, 7])]);
});

Deno.test("dropout() returns x where nothing is to be done", async () => {
  const rng = new d.Rng(11), x = d.ones([5]);
  equal(d.dropout(x, { p: 0, rng }), x);
  equal(d.dropout(x, { p: 0.5, rng, training: false }), x);
  equal(rng.state.calls, 0);
  await assertClose(d.dropout(x, { p: 1, rng }), d.zeros([5]), exactly);
  await assertClose(d.dropout(d.zeros([0]), { p: 0.5, rng }), d.zeros([0]));
});

Deno.test("dropout() refuses a share outside 0 … 1", () => {
  for (const p of [-0.1, 1.1, NaN]) {
    throws(
      () => d.dropout(d.ones([1]), { p, rng: new d.Rng(0) }),
      /p must lie in 0 … 1/,
    );
  }
});
