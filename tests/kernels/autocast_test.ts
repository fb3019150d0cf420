import { deepStrictEqual, ok, throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose } from "../_check.ts";

const rng = new d.Rng(21);
/** Half a unit in the last place of f16, times what sums of few terms need. */
const rounded = { rtol: 2e-3, atol: 2e-3 };

/** A network in which all three ops keep an activation. */
function loss(
  x: d.Tensor,
  weight: d.Tensor,
  matrix: d.Tensor,
  bias: d.Tensor,
): d.Tensor {
  const image = d.silu(d.conv2d(d.tanh(x), weight, undefined, { padding: 1 }));
  const rows = d.linear(d.reshape(image, [2, 3, 35]), matrix, bias);
  return d.mean(d.square(d.matmul(rows, d.transpose(d.sin(rows)))));
}
const inputs = [[2, 2, 5, 7], [3, 2, 3, 3], [4, 35], [4]].map((shape) =>
  d.parameter(rng.normal(shape, 0, 0.5))
) as [d.Tensor, d.Tensor, d.Tensor, d.Tensor];

Deno.test("autocast() leaves results as they are, and rounds what gradients read", async () => {
  const want = loss(...inputs);
  const got = d.autocast("f16", () => loss(...inputs));
  await assertClose(got, want, { atol: 0, rtol: 0 });
  const wanted = d.gradients(want, inputs);
  const gradients = d.gradients(got, inputs);
  for (const [i, gradient] of gradients.entries()) {
    await assertClose(gradient, wanted[i]!, rounded);
  }
  // The weight's gradient is that of the rounded activation, exactly.
  const x = d.tanh(rng.normal([3, 8]).requireGrad());
  const w = d.parameter(rng.normal([2, 8]));
  const dy = rng.normal([3, 2]);
  const [dw] = d.gradients(d.autocast("f16", () => d.linear(x, w)), [w], {
    upstream: dy,
  });
  const half = d.cast(d.cast(x, "f16"), "f32");
  await assertClose(dw!, d.matmul(dy, half, { transposeA: true }));
});

Deno.test("autocast() keeps the slope of what a convolution ends with", async () => {
  const [x, weight] = inputs;
  const y = () =>
    d.conv2d(d.tanh(x), weight, undefined, { activation: "relu" });
  const found = (y: d.Tensor) => d.gradients(d.sum(y), [x, weight]);
  const want = found(y());
  for (const [i, dx] of found(d.autocast("f16", y)).entries()) {
    await assertClose(dx, want[i]!, rounded);
  }
});

Deno.test("autocast() saves memory in a captured step", () => {
  const weights = Array.from(
    { length: 16 },
    () => d.parameter(rng.normal([64, 64], 0, 0.1)),
  );
  const x = rng.normal([512, 64]); // activations outweigh the gradients of weights
  const step = () => {
    const y = weights.reduce((x, w) => d.tanh(d.linear(x, w)), x);
    const all = d.gradients(d.mean(y), weights);
    return { norm: d.globalNorm(all) };
  };
  const liveBytes = (step: () => { norm: d.Tensor }) => {
    const captured = d.capture(step);
    captured.replay({});
    return captured.info.liveBytes;
  };
  const all = liveBytes(step);
  const halves = liveBytes(() => d.autocast("f16", step));
  ok(halves < 0.85 * all, `${halves} of ${all} bytes`); // of two tensors a layer, one is halved
});

Deno.test("autocast() ends with its body, reaches through await, and takes f16 only", async () => {
  const w = d.parameter(rng.normal([2, 3]));
  const x = rng.normal([4, 3]);
  const bytes = () => {
    const before = d.memory().bytesInUse;
    using y = d.linear(x, w);
    return d.memory().bytesInUse - before - y.bytes;
  };
  deepStrictEqual(bytes(), 0);
  const inside = await d.autocast("f16", async () => {
    await d.sync();
    return bytes();
  });
  deepStrictEqual(inside, 32); // 12 halves, padded to 16 bytes
  deepStrictEqual(bytes(), 0);
  throws(() => d.autocast("bf16" as "f16", () => {}), {
    name: "TypeError",
    message: "Cannot autocast as dtype must be f16: it is bf16",
  });
});
