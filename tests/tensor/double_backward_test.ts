import assert from "node:assert/strict";
import * as d from "../../mod.ts";
import { apply } from "../../tensor/autograd.ts";
import { flashAttention } from "../../kernels/attention.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new d.Rng(7);
const normal = (...shape: number[]) => rng.normal(shape);
/** Well above 0, and apart from each other and from whole numbers. */
const positive = (...shape: number[]) => rng.uniform(shape, 0.6, 1.9);
type Op = (...xs: d.Tensor[]) => d.Tensor;

/** The op's gradients, weighted at random: what the gradients of gradients are checked on. */
function slopes(f: Op, count: number): Op {
  return (...xs) =>
    d.enableGrad(() => { // as differences are taken without
      const leaves = xs.map((x) => x.node || x.requiresGrad ? x : leaf(x));
      const draw = new d.Rng(5);
      const y = f(...leaves);
      const weight = draw.uniform(y.shape, 0.5, 1.5);
      const loss = d.sum(d.mul(y, weight));
      return d.gradients(loss, leaves.slice(0, count), { createGraph: true })
        .map((dx) => d.sum(d.mul(dx, draw.uniform(dx.shape, 0.5, 1.5))))
        .reduce((a, b) => d.add(a, b));
    });
}

const leaf = (x: d.Tensor) => x.detach().requireGrad();

const image = () => normal(2, 4, 5, 3);
const index = () => d.tensor(Int32Array.of(2, 0, 2));
const ELEMENTWISE: Record<string, Op> = {
  ...{ exp: d.exp, sin: d.sin, cos: d.cos, tanh: d.tanh, silu: d.silu },
  ...{ sigmoid: d.sigmoid, square: d.square },
  gelu: (x) => d.gelu(x),
  "gelu by tanh": (x) => d.gelu(x, { approximate: "tanh" }),
  softplus: (x) => d.softplus(x, { beta: 2, threshold: 1 }),
};
const OF_POSITIVE: Record<string, Op> = {
  ...{ log: d.log, sqrt: d.sqrt, rsqrt: d.rsqrt, reciprocal: d.reciprocal },
  "pow of a number": (x) => d.pow(x, 2.5),
};
/** These have no curvature of their own. */
const STRAIGHT: Record<string, Op> = {
  ...{ neg: d.neg, abs: d.abs, relu: d.relu, floor: d.floor, sign: d.sign },
  leakyRelu: (x) => d.leakyRelu(x, 0.2),
  clamp: (x) => d.clamp(x, { min: 0.8, max: 1.5 }),
  scale: (x) => d.scale(x, -3, 1),
  dropout: (x) => d.dropout(x, { p: 0.5, rng: new d.Rng(3) }),
  sum: (x) => d.sum(x, { axis: 0 }),
  mean: (x) => d.mean(x, { axis: [0, 1], keepDims: true }),
  max: (x) => d.max(x, { axis: 1 }),
  min: (x) => d.min(x, { axis: 1 }),
  reshape: (x) => d.reshape(x, [-1]),
  expand: (x) => d.expand(x, [2, ...x.shape]),
  transpose: (x) => d.transpose(x),
  slice: (x) => d.slice(x, [0, 1], [], [1, 2]),
  pad: (x) => d.pad(x, [1, 0, 0, 2], 3),
  flip: (x) => d.flip(x, 1),
  concat: (x) => d.concat([x, d.scale(x, 2)], 1),
  gather: (x) =>
    d.gather(x, 1, d.tensor([[1, 1, 0], [3, 2, 0]], [2, 3], "i32")),
  indexSelect: (x) => d.indexSelect(x, 1, index()),
};
const OF_IMAGES: Record<string, Op> = {
  maxPool2d: (x) => d.maxPool2d(x, 2, { stride: 1 }),
  avgPool2d: (x) => d.avgPool2d(x, 3, { stride: 2, padding: 1 }),
  adaptiveAvgPool2d: (x) => d.adaptiveAvgPool2d(x, 2),
  upsampleNearest: (x) => d.upsampleNearest(x, { scale: 2 }),
  "upsampleNearest to any size": (x) => d.upsampleNearest(x, [7, 4]),
  upsampleBilinear: (x) => d.upsampleBilinear(x, [7, 4]),
};

const SEVERAL: Record<string, [Op, () => d.Tensor[]]> = {
  add: [(a, b) => d.square(d.add(a, b)), () => [normal(2, 3), normal(3)]],
  sub: [(a, b) => d.square(d.sub(a, b)), () => [normal(2, 3), normal(2, 1)]],
  mul: [d.mul, () => [normal(2, 3), normal(3)]],
  div: [d.div, () => [normal(2, 3), positive(2, 1)]],
  pow: [d.pow, () => [positive(2, 3), normal(3)]],
  maximum: [d.maximum, () => [positive(2, 3), normal(3)]],
  minimum: [d.minimum, () => [positive(2, 3), normal(3)]],
  addcmul: [
    (x, a, b) => d.square(d.addcmul(x, a, b, 2)),
    () => [normal(3), normal(3), normal(3)],
  ],
  linearCombination: [
    (a, b) => d.linearCombination([[2, d.square(a)], [-1, b]]),
    () => [normal(3), normal(3)],
  ],
  where: [
    (a, b) => d.where(d.tensor([1, 0, 1]), d.square(a), b),
    () => [normal(2, 3), normal(3)],
  ],
  embedding: [
    (table) => d.square(d.embedding(table, index())),
    () => [normal(3, 2)],
  ],
  matmul: [(a, b) => d.matmul(a, b), () => [normal(2, 3, 4), normal(4, 2)]],
  "matmul of transposes": [
    (a, b) => d.matmul(a, b, { transposeA: true, transposeB: true }),
    () => [normal(2, 4, 3), normal(2, 5, 4)],
  ],
  linear: [d.linear as Op, () => [normal(5, 3), normal(2, 3), normal(2)]],
  softmax: [(x) => d.softmax(x, 0), () => [normal(4, 3)]],
  logSoftmax: [(x) => d.logSoftmax(x), () => [normal(2, 4)]],
  variance: [(x) => d.variance(x, { axis: 0 }), () => [normal(4, 3)]],
  logSumExp: [(x) => d.logSumExp(x, { axis: 1 }), () => [normal(2, 4)]],
  norm: [(x) => d.norm(x, { axis: 1 }), () => [normal(3, 4)]],
  attention: [
    (q, k, v) => d.attention(q, k, v, { causal: true }),
    () => [normal(3, 4), normal(3, 4), normal(3, 2)],
  ],
  "attention without weights": [
    (q, k, v) => flashAttention(q, k, v, 0.5, true),
    () => [normal(3, 4), normal(3, 4), normal(3, 4)],
  ],
  layerNorm: [
    (x, w, b) => d.layerNorm(x, 5, w, b),
    () => [normal(3, 5), normal(5), normal(5)],
  ],
  groupNorm: [
    (x, w, b) => d.groupNorm(x, 2, w, b),
    () => [normal(2, 4, 3), normal(4), normal(4)],
  ],
  groupNormSilu: [
    (x, w, b) => d.groupNormSilu(x, 2, w, b),
    () => [normal(2, 4, 3), normal(4), normal(4)],
  ],
  batchNorm: [
    (x, weight, bias) => d.batchNorm(x, { weight, bias, training: true }),
    () => [normal(3, 2, 2), normal(2), normal(2)],
  ],
  "batchNorm in evaluation": [
    (x, weight, bias) =>
      d.silu(d.batchNorm(x, {
        ...{ weight, bias, training: false },
        ...{ runningMean: d.full([2], 0.3), runningVar: d.full([2], 1.7) },
      })),
    () => [normal(2, 2, 2), normal(2), normal(2)],
  ],
  conv2d: [
    (x, w, b) => d.conv2d(x, w, b, { stride: 2, padding: 1 }),
    () => [normal(2, 2, 4, 3), normal(3, 2, 3, 3), normal(3)],
  ],
  "conv2d in groups": [
    (x, w) => d.conv2d(x, w, undefined, { groups: 2, dilation: 2 }),
    () => [normal(1, 4, 4, 3), normal(2, 2, 2, 2)],
  ],
  "conv2d with an end": [
    (x, w, b, add) =>
      d.conv2d(x, w, b, { padding: [0, 1], add, activation: "silu" }),
    () => [
      normal(1, 2, 3, 3),
      normal(2, 2, 2, 2),
      normal(2),
      normal(1, 2, 1, 1),
    ],
  ],
  "conv2d with a slope at the end": [
    (x, w) =>
      d.conv2d(x, w, undefined, {
        activation: "leakyRelu",
        negativeSlope: 0.2,
      }),
    () => [normal(1, 2, 3, 3), normal(2, 2, 2, 2)],
  ],
  convTranspose2d: [
    (x, w, b) =>
      d.convTranspose2d(x, w, b, { stride: 2, padding: 1, activation: "tanh" }),
    () => [normal(1, 2, 3, 2), normal(2, 2, 3, 3), normal(2)],
  ],
  upsampleConv2d: [
    (x, w, b) => d.upsampleConv2d(x, w, b, { padding: 1 }),
    () => [normal(1, 2, 2, 3), normal(2, 2, 3, 3), normal(2)],
  ],
  mseLoss: [d.mseLoss as Op, () => [normal(5), normal(5)]],
  huberLoss: [d.huberLoss as Op, () => [normal(5), normal(5)]],
  crossEntropy: [
    (x) =>
      d.crossEntropy(x, d.tensor(Int32Array.of(1, 0)), {
        labelSmoothing: 0.1,
      }),
    () => [normal(2, 3)],
  ],
  bceWithLogits: [d.bceWithLogits as Op, () => [normal(5), positive(5)]],
  gaussianKl: [(m, v) => d.gaussianKl(m, v), () => [normal(4), normal(4)]],
};

// A square in front of what is straight makes its gradient depend on x.
const CASES: Record<string, [Op, () => d.Tensor[]]> = {
  ...Object.fromEntries(
    Object.entries(ELEMENTWISE).map((
      [name, f],
    ) => [name, [f, () => [normal(2, 5)]]]),
  ),
  ...Object.fromEntries(
    Object.entries(OF_POSITIVE).map((
      [name, f],
    ) => [name, [f, () => [positive(7)]]]),
  ),
  ...Object.fromEntries(
    Object.entries(STRAIGHT).map(([name, f]) => [
      name,
      [(x: d.Tensor) => d.square(f(d.square(x))), () => [positive(2, 4)]],
    ]),
  ),
  ...Object.fromEntries(
    Object.entries(OF_IMAGES).map(([name, f]) => [
      name,
      [(x: d.Tensor) => d.square(f(d.square(x))), () => [image()]],
    ]),
  ),
  ...SEVERAL,
};

for (const [name, [f, inputs]] of Object.entries(CASES)) {
  Deno.test(`the gradient of ${name} has the right gradient`, async () => {
    const xs = inputs();
    await assertGradient(slopes(f, xs.length), xs, { atol: 2e-2, rtol: 2e-2 });
    // Of the first input alone: what the others do to its gradient must not be lost.
    if (xs.length > 1) {
      await assertGradient(slopes(f, 1), xs, { atol: 2e-2, rtol: 2e-2 });
    }
  });
}

Deno.test("gradients() of gradients of gradients are those of x⁴, and of exp", async () => {
  const x = d.tensor([0.5, -1.5, 2]).requireGrad();
  let y = d.mul(d.mul(x, x), d.square(x));
  for (
    const want of [[0.5, -13.5, 32], [3, 27, 48], [12, -36, 48], [24, 24, 24]]
  ) {
    y = d.gradients(d.sum(y), [x], { createGraph: true })[0]!;
    await assertClose(y, want);
  }
  let z = d.exp(x);
  for (let i = 0; i < 3; i++) {
    z = d.gradients(d.sum(z), [x], { createGraph: true })[0]!;
  }
  await assertClose(z, d.exp(x));
});

Deno.test("createGraph gives the gradients that there are without", async () => {
  const [x, w] = [leaf(image()), leaf(normal(3, 4, 3, 3))];
  const y = d.mean(d.square(d.groupNormSilu(d.conv2d(x, w), 3)));
  const plain = d.gradients(y, [x, w]);
  const recorded = d.gradients(y, [x, w], { createGraph: true });
  for (const [i, want] of plain.entries()) {
    assert.equal(want.node, null);
    assert.notEqual(recorded[i]!.node, null);
    await assertClose(recorded[i]!, want, { atol: 1e-6, rtol: 1e-4 });
  }
});

Deno.test("createGraph records inside noGrad, and what it gives are tensors of their own", async () => {
  const a = leaf(normal(3)), b = leaf(normal(3));
  const upstream = leaf(normal(3));
  const y = d.add(a, b);
  const [da, db] = d.noGrad(() =>
    d.gradients(y, [a, b], { upstream, createGraph: true })
  );
  for (const tensor of [upstream, da]) {
    assert.notEqual(tensor, db);
  }
  da!.dispose();
  await assertClose(db!, upstream);
  // A gradient is linear in what arrives.
  await assertClose(
    d.gradients(d.sum(d.square(db!)), [upstream])[0]!,
    d.scale(upstream, 2),
  );
});

Deno.test("gradients() computes none that it is not asked for", () => {
  const [x, w] = [leaf(image()), leaf(normal(3, 4, 3, 3))];
  const dispatches = (wanted: d.Tensor[]) => {
    const step = d.capture(() => {
      const found = d.gradients(d.sum(d.conv2d(x, w)), wanted);
      return Object.fromEntries(found.map((dx, i) => [`${i}`, dx]));
    });
    step.dispose();
    return step.info.dispatches;
  };
  assert(dispatches([x]) < dispatches([x, w]));
  assert(dispatches([w]) < dispatches([x, w]));
});

/** The gradients of `mean (w tanh(A x) - t)²` with respect to A and w, in float64. */
function slopesOfMlp(A: number[][], w: number[], xs: number[][], ts: number[]) {
  const dA = A.map((row) => row.map(() => 0)), dw = w.map(() => 0);
  xs.forEach((x, n) => {
    const h = A.map((row) =>
      Math.tanh(row.reduce((sum, a, i) => sum + a * x[i]!, 0))
    );
    const y = h.reduce((sum, value, j) => sum + value * w[j]!, 0);
    const dy = 2 * (y - ts[n]!) / xs.length;
    h.forEach((value, j) => {
      dw[j]! += dy * value;
      x.forEach((xi, i) => dA[j]![i]! += dy * w[j]! * (1 - value * value) * xi);
    });
  });
  return [...dA.flat(), ...dw];
}

Deno.test("a product with the Hessian of a small network is that of float64", async () => {
  const [inputs, hidden, batch] = [3, 4, 5];
  const x = normal(batch, inputs), t = normal(batch);
  const A = leaf(normal(hidden, inputs)), w = leaf(normal(1, hidden));
  const [vA, vw] = [normal(hidden, inputs), normal(1, hidden)];
  const y = d.reshape(d.linear(d.tanh(d.linear(x, A)), w), [batch]);
  const [dA, dw] = d.gradients(d.mseLoss(y, t), [A, w], { createGraph: true });
  const along = d.add(d.sum(d.mul(dA!, vA)), d.sum(d.mul(dw!, vw)));
  const product = d.gradients(along, [A, w]);

  const rows = async (x: d.Tensor) => await x.toArray() as number[][];
  const host = await Promise.all([A, w, vA, vw, x].map(rows));
  const targets = [...await t.data()];
  const step = 1e-5;
  const [ahead, behind] = [step, -step].map((by) => {
    const move = (at: number[][], v: number[][]) =>
      at.map((row, j) => row.map((value, i) => value + by * v[j]![i]!));
    const [A, w, vA, vw, xs] = host as [
      number[][],
      number[][],
      number[][],
      number[][],
      number[][],
    ];
    return slopesOfMlp(move(A, vA), move(w, vw)[0]!, xs, targets);
  });
  const want = ahead!.map((value, i) => (value - behind![i]!) / (2 * step));
  const got = [...await product[0]!.data(), ...await product[1]!.data()];
  await assertClose(got, want, { atol: 1e-5, rtol: 1e-4 });
});

Deno.test("a product with the Hessian of a network of images is a difference of gradients", async () => {
  const x = normal(3, 2, 4, 4);
  const shapes = [[4, 2, 3, 3], [4], [4], [4, 2, 2, 2], [2]];
  const at = shapes.map((shape) => normal(...shape));
  const along = shapes.map((shape) => normal(...shape));
  const loss = ([w, gain, shift, u, b]: readonly d.Tensor[]) => {
    const h = d.conv2d(x, w!, undefined, { padding: 1 });
    const options = { weight: gain, bias: shift, training: true };
    const code = d.avgPool2d(d.silu(d.batchNorm(h, options)), 2);
    const y = d.convTranspose2d(code, u!, b, { stride: 2 });
    return d.bceWithLogits(y, d.sigmoid(x));
  };
  const leaves = at.map(leaf);
  const slope = d.gradients(loss(leaves), leaves, { createGraph: true })
    .map((dw, i) => d.sum(d.mul(dw, along[i]!)))
    .reduce((a, b) => d.add(a, b));
  const product = d.gradients(slope, leaves);
  const step = 1e-2;
  const [ahead, behind] = [step, -step].map((by) => {
    const moved = at.map((w, i) => leaf(d.add(w, d.scale(along[i]!, by))));
    return d.gradients(loss(moved), moved);
  });
  for (const [i, got] of product.entries()) {
    const change = d.sub(ahead![i]!, behind![i]!);
    const want = d.scale(change, 1 / (2 * step));
    await assertClose(got, want, { atol: 1e-4, rtol: 2e-2 });
  }
});

/** Weights of a critic: two convolutions, a layer norm, a linear layer. */
const WEIGHTS = [[3, 1, 3, 3], [3], [4, 3, 2, 2], [4, 2, 2], [4, 2, 2], [
  1,
  16,
]];

function critic(x: d.Tensor, weights: readonly d.Tensor[]): d.Tensor {
  const [first, bias, second, gain, shift, last] = weights as [
    d.Tensor,
    d.Tensor,
    d.Tensor,
    d.Tensor,
    d.Tensor,
    d.Tensor,
  ];
  const h = d.leakyRelu(
    d.conv2d(x, first, bias, { stride: 2, padding: 1 }),
    0.2,
  );
  const deep = d.layerNorm(d.conv2d(h, second), [4, 2, 2], gain, shift);
  return d.linear(d.flatten(d.leakyRelu(deep, 0.2), 1), last);
}

/** `mean (|∂critic/∂x| - 1)²`, the penalty of Gulrajani et al. 2017 (arXiv:1704.00028), eq. 3. */
function penalty(x: d.Tensor, weights: readonly d.Tensor[]): d.Tensor {
  const at = leaf(x);
  const [dx] = d.gradients(d.sum(critic(at, weights)), [at], {
    createGraph: true,
  });
  return d.mean(d.square(d.sub(d.norm(d.flatten(dx!, 1), { axis: 1 }), 1)));
}

Deno.test("the penalty on a critic's slope has the right gradient, also in a captured step", async () => {
  const draw = new d.Rng(11);
  const x = draw.normal([2, 1, 5, 5]);
  const weights = WEIGHTS.map((shape) => draw.normal(shape, 0, 0.7));
  await assertGradient(
    (...weights) =>
      d.enableGrad(() =>
        penalty(x, weights.map((w) => w.requiresGrad ? w : leaf(w)))
      ),
    weights,
    { step: 1e-3, atol: 5e-3, rtol: 1e-2 },
  );
  const leaves = weights.map(leaf);
  const run = (x: d.Tensor) => {
    const loss = penalty(x, leaves);
    const found = d.gradients(loss, leaves);
    return { loss, ...Object.fromEntries(found.map((dw, i) => [`d${i}`, dw])) };
  };
  const want = run(x);
  const step = d.capture(({ x }) => run(x), {
    inputs: { x: { shape: x.shape } },
  });
  step.replay({ x: await x.data() as Float32Array<ArrayBuffer> });
  const [got] = await step.outputs();
  for (const [name, value] of Object.entries(want)) {
    await assertClose(got![name as "loss"], value, { atol: 0, rtol: 0 });
  }
  step.dispose();
});

Deno.test("200 steps with gradients of gradients leave no memory behind", async () => {
  const leaves = WEIGHTS.map((shape) => leaf(normal(...shape)));
  const x = normal(2, 1, 5, 5);
  const step = () =>
    d.scope(() => void d.gradients(penalty(x, leaves), leaves));
  step();
  const { bytesInUse, buffers } = d.memory();
  for (let i = 0; i < 200; i++) step();
  assert.deepEqual(
    [d.memory().bytesInUse, d.memory().buffers],
    [bytesInUse, buffers],
  );
  // What it is made of goes with its scope, and then it cannot be differentiated.
  const y = leaf(normal(3));
  const dy = d.scope(() =>
    d.gradients(d.sum(d.exp(d.exp(y))), [y], { createGraph: true })[0]!
  );
  assert.throws(
    () => d.gradients(d.sum(dy), [y]),
    /its input f32\[3\] is freed/,
  );
  await d.sync();
});

Deno.test("createGraph takes the factors that autocast keeps in f16 as they were", async () => {
  const weights = WEIGHTS.map((shape) => leaf(normal(...shape)));
  const x = normal(2, 1, 5, 5);
  const found = (run: () => d.Tensor) => d.gradients(run(), weights);
  const want = found(() => penalty(x, weights));
  const got = found(() => d.autocast("f16", () => penalty(x, weights)));
  for (const [i, dw] of got.entries()) {
    await assertClose(dw, want[i]!, { atol: 2e-2, rtol: 2e-2 });
  }
});

Deno.test("detectAnomaly() sees gradients of gradients", async () => {
  d.detectAnomaly(true);
  try {
    const x = d.tensor([43.99]).requireGrad(); // 2 e^(2x) fits f32, 4 e^(2x) does not
    const y = d.square(d.exp(x));
    const [dx] = d.gradients(d.sum(y), [x], { createGraph: true });
    await d.assertFinite();
    d.gradients(d.scale(dx!, 2), [x]);
    await assert.rejects(d.assertFinite(), /NaN or infinity first in/);
  } finally {
    d.detectAnomaly(false);
  }
});

Deno.test("createGraph refuses what would lose a part of the gradient", () => {
  const x = leaf(normal(2, 3));
  const refused = (y: d.Tensor, name: string) =>
    assert.throws(
      () => d.gradients(d.sum(y), [x], { createGraph: true }),
      new RegExp(`^TypeError: Cannot differentiate the gradient of ${name} as`),
    );
  refused(
    d.discretizedGaussianLogProb(d.zeros([2, 3]), x, x),
    "discretizedGaussianLogProb",
  );
  refused(d.checkpoint((x) => d.exp(x), [x]), "checkpoint");
  const scaled = (
    forward: Parameters<typeof apply>[0]["forward"],
    backward: Parameters<typeof apply>[0]["backward"],
  ) => apply({ name: "mine", forward, backward }, [x], null);
  const double = ([x]: readonly d.Tensor[]) => d.scale(x!, 2);
  refused(scaled(double, (dy, [x]) => [d.mul(dy, x!.view([2, 3]))]), "mine");
  refused(
    scaled(double, (dy, [x]) => [d.mul(dy, d.cast(d.cast(x!, "i32"), "f32"))]),
    "mine",
  );
  refused(
    scaled(
      ([x], _, context) => {
        const saved = d.exp(x!);
        context.save(saved);
        return d.scale(saved, 1);
      },
      (dy, _x, _attrs, { saved }) => [d.mul(dy, saved[0]!)],
    ),
    "mine",
  );
  // Made of ops, it just works.
  const y = scaled(double, (dy) => [d.scale(dy, 2)]);
  assert.equal(
    d.gradients(d.sum(d.square(y)), [x], { createGraph: true }).length,
    1,
  );
});
