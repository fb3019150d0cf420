import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new d.Rng(1);
/** Name, function, its value in doubles, and where to draw x. */
const CASES: [
  string,
  (x: d.Tensor) => d.Tensor,
  (x: number) => number,
  [number, number],
][] = [
  ["neg", d.neg, (x) => -x, [-2, 2]],
  ["exp", d.exp, Math.exp, [-3, 3]],
  ["log", d.log, Math.log, [0.2, 4]],
  ["sqrt", d.sqrt, Math.sqrt, [0.2, 4]],
  ["rsqrt", d.rsqrt, (x) => 1 / Math.sqrt(x), [0.5, 4]],
  ["abs", d.abs, Math.abs, [0.1, 2]],
  ["sin", d.sin, Math.sin, [-3, 3]],
  ["cos", d.cos, Math.cos, [-3, 3]],
  ["relu", d.relu, (x) => Math.max(x, 0), [0.1, 2]],
  ["leakyRelu", (x) => d.leakyRelu(x, 0.2), (x) => x > 0 ? x : 0.2 * x, [
    -3,
    -0.1,
  ]],
  ["sigmoid", d.sigmoid, (x) => 1 / (1 + Math.exp(-x)), [-5, 5]],
  ["tanh", d.tanh, Math.tanh, [-3, 3]],
  ["silu", d.silu, (x) => x / (1 + Math.exp(-x)), [-5, 5]],
  [
    "gelu tanh",
    (x) => d.gelu(x, { approximate: "tanh" }),
    (x) =>
      0.5 * x *
      (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
    [-3, 3],
  ],
  ["softplus", d.softplus, (x) => Math.log1p(Math.exp(x)), [-5, 5]],
  [
    "clamp",
    (x) => d.clamp(x, { min: -1, max: 1 }),
    (x) => Math.min(1, Math.max(-1, x)),
    [-0.9, 0.9],
  ],
  ["pow", (x) => d.powScalar(x, 3), (x) => x ** 3, [-2, 2]],
  ["pow -0.5", (x) => d.powScalar(x, -0.5), (x) => x ** -0.5, [0.5, 2]],
  ["scale", (x) => d.scale(x, 2, 1), (x) => 2 * x + 1, [-2, 2]],
  ["reciprocal", d.reciprocal, (x) => 1 / x, [0.5, 2]],
  ["square", d.square, (x) => x * x, [-2, 2]],
];

for (const [name, f, exact, [low, high]] of CASES) {
  Deno.test(`${name}() has its value and gradient`, async () => {
    const x = rng.uniform([263], low, high); // past the workgroup, and a prime
    const want = Float64Array.from(await x.data(), exact);
    await assertClose(f(x), want, { atol: 2e-6, rtol: 1e-5 });
    await assertGradient(f, [rng.uniform([7], low, high)], { step: 2e-3 });
  });
}

Deno.test("silu(), sigmoid() and softplus() survive large arguments", async () => {
  const x = d.tensor([-1000, -100, 0, 100, 1000]);
  await assertClose(d.sigmoid(x), [0, 0, 0.5, 1, 1]);
  await assertClose(d.silu(x), [0, 0, 0, 100, 1000]);
  await assertClose(d.softplus(x), [0, 0, Math.LN2, 100, 1000]);
  await assertClose(d.tanh(x), [-1, -1, 0, 1, 1]);
  await assertClose(d.gelu(x), [0, 0, 0, 100, 1000]);
});
