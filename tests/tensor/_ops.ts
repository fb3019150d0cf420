/**
 * Every kernel of the project at small random sizes, run as a program: writes the results and the
 * entry points that ran. A test compares what it writes on different devices.
 *
 * @module
 */
import { flashAttention } from "../../kernels/attention.ts";
import { VARIANTS, withVariant } from "../../kernels/_variants.ts";
import * as d from "../../mod.ts";
import { qSampleDrawn } from "../../models/q_sample.ts";
import { executor } from "../../tensor/device.ts";
import type { PipelineSpec } from "../../tensor/executor.ts";
import { saveSafetensors } from "../../tensor/safetensors.ts";
import { Random } from "../wgsl/fuzz/random.ts";
import { sourcesOf } from "../wgsl/_kernels.ts";

type Op = (...inputs: d.Tensor[]) => d.Tensor;

/** Sizes and inputs come from the host, so that they are the same on all devices. */
const random = new Random(11);

/** A number of elements along an axis: 1, primes, multiples of four. */
function length(most: number): number {
  return random.pick(
    [1, 2, 3, 4, 5, 8, 13, 16, 17, 67, 260].filter((n) => n <= most),
  );
}

function filled(shape: number[], value: () => number): d.Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  return d.tensor(Float32Array.from({ length: size }, value), shape);
}

/** Numbers about zero. */
const normal = (...shape: number[]) =>
  filled(shape, () => (random.below(4001) - 2000) / 1000);
/** Away from zero, and positive. */
const positive = (...shape: number[]) =>
  filled(shape, () => 0.5 + random.below(1500) / 1000);
/** Whole numbers below a limit. */
const whole = (limit: number, ...shape: number[]) => {
  const size = shape.reduce((a, b) => a * b, 1);
  return d.tensor(
    Int32Array.from({ length: size }, () => random.below(limit)),
    shape,
  );
};

/** The result and the gradients of all inputs, for a fixed weighting of the result. */
function both(f: Op, ...inputs: d.Tensor[]): d.Tensor[] {
  const leaves = inputs.map((x) => x.detach().requireGrad());
  const y = f(...leaves);
  const weights = positive(...y.shape);
  return [y, ...d.gradients(d.sum(d.mul(y, weights)), leaves)];
}

/** The gradients of a penalty on the gradients of `f`. */
function twice(f: Op, ...inputs: d.Tensor[]): d.Tensor[] {
  const leaves = inputs.map((x) => x.detach().requireGrad());
  const first = d.gradients(d.sum(d.square(f(...leaves))), leaves, {
    createGraph: true,
  });
  const penalty = first.map((dx) => d.sum(d.square(dx)))
    .reduce((a, b) => d.add(a, b));
  return d.gradients(penalty, leaves);
}

function gradientsOfGradients(): d.Tensor[] {
  const x = normal(2, 4, 6, 5), weight = normal(4, 3, 3, 3);
  const cols = length(17), rows = normal(3, cols), gain = normal(cols);
  return [
    ...twice(
      (x, w) => d.conv2d(x, w, undefined, { padding: 1 }),
      x,
      normal(3, 4, 3, 3),
    ),
    ...twice(
      (x, w) =>
        d.convTranspose2d(x, w, undefined, { stride: 2, activation: "silu" }),
      x,
      weight,
    ),
    ...twice((x) => d.maxPool2d(x, 2), x),
    ...twice((x) => d.upsampleBilinear(x, [9, 7]), x),
    ...twice((x) => d.batchNorm(x, { training: true }), x),
    ...twice((x) => d.groupNormSilu(x, 2), x),
    ...twice((x, w) => d.layerNorm(x, cols, w), rows, gain),
    ...twice((x, w) => d.softmax(d.linear(x, w)), rows, normal(5, cols)),
    ...twice((a, b) => d.pow(a, b), positive(3, 5), positive(5)),
    ...[d.gelu, d.softplus, d.tanh, d.leakyRelu].flatMap((f) =>
      twice((x) => f(x), rows)
    ),
  ];
}

function unary(): d.Tensor[] {
  const any = [
    ...[d.abs, d.exp, d.neg, d.sin, d.cos, d.tanh, d.sigmoid, d.relu, d.silu],
    ...[d.gelu, d.softplus, d.square, d.floor],
  ] as Op[];
  const above = [d.log, d.sqrt, d.reciprocal] as Op[];
  return [
    ...any.flatMap((f) => both(f, normal(length(67), 5))),
    ...above.flatMap((f) => both(f, positive(length(67), 5))),
    ...both((x) => d.clamp(x, { min: -0.5, max: 0.5 }), normal(67)),
    ...both((x) => d.pow(x, 3), normal(13)),
    ...(["tanh", "erf"] as const).flatMap((cdf) =>
      both(
        (mean, scale) =>
          d.discretizedGaussianLogProb(
            d.clamp(mean.detach(), { min: -1, max: 1 }),
            d.mul(mean, 1.1),
            scale,
            { cdf },
          ),
        normal(67),
        normal(67),
      )
    ),
    ...both(
      (x, a, b) => d.addcmul(x, a, b, 2),
      normal(67),
      normal(67),
      normal(67),
    ),
    ...both((x) => d.add(d.mul(x, 3), 2), normal(260)),
    ...[2, 3, 4].flatMap((count) =>
      both(
        (...xs) => d.linearCombination(xs.map((x, i) => [i - 1.5, x])),
        ...Array.from({ length: count }, () => normal(67)),
      )
    ),
  ];
}

function binary(): d.Tensor[] {
  const n = length(17), m = length(67);
  const shapes: [number[], number[]][] = [
    [[n, m], [n, m]],
    [[n, 8, 3], [8, 1]],
    [[n, 8], [8]],
    [[5, 1, 4], [n, 1]],
  ];
  return shapes.flatMap(([a, b]) => [
    ...([d.add, d.sub, d.mul, d.div, d.pow, d.maximum, d.minimum] as Op[])
      .flatMap((f) => both(f, positive(...a), positive(...b))),
    d.less(normal(...a), normal(...b)),
    d.equal(d.floor(normal(...a)), d.floor(normal(...b))),
  ]);
}

function shapes(): d.Tensor[] {
  const n = length(17), x = normal(n, 4, 6), y = normal(8, n, 16);
  return [
    ...both((x) => d.permute(x, [2, 0, 1]), x),
    ...both((x) => d.slice(x, [0, 1], [n, 3]), x),
    ...both((x) => d.slice(x, [0, 0, 4], [8, n, 12]), y),
    ...both((x) => d.flip(x, 2), x),
    ...both((a, b) => d.concat([a, b], 1), x, normal(n, 3, 6)),
    ...both((a, b) => d.concat([a, b], 2), y, normal(8, n, 4)),
    ...both((x) => d.expand(x, [3, n, 4, 6]), x),
    ...both((x) => d.transpose(x), y),
    ...both((x) => d.pad(x, [0, 1, 1, 2]), x),
  ];
}

function indices(): d.Tensor[] {
  const n = length(17), table = normal(n, 5);
  const index = whole(n, 13);
  return [
    ...both((x) => d.indexSelect(x, 0, index), table),
    ...both((x) => d.embedding(x, whole(n, 3, 4)), table),
    ...both((x) => d.gather(x, 0, whole(n, 7, 5)), table),
    d.oneHot(index, n),
    ...both((a, b) => d.where(d.greater(a, 0), a, b), table, normal(n, 5)),
    ...both(
      (a, b) => d.where(d.greater(b, 0), a, b),
      normal(n, 3, 1),
      normal(5),
    ),
    d.cast(d.cast(normal(n, 5), "i32"), "f32"),
    d.cast(d.cast(normal(n, 5), "f16"), "f32"),
  ];
}

function reductions(): d.Tensor[] {
  const axes = [undefined, 0, 1, 2, [0, 2]];
  return [normal(5, length(67), 8), normal(length(17), 3, length(260))]
    .flatMap((x) =>
      axes.flatMap((axis) =>
        [d.sum, d.mean, d.variance, d.max, d.min, d.logSumExp, d.norm]
          .flatMap((f) => both((x) => f(x, { axis }), x))
      )
    ).concat([
      d.cast(d.argMax(normal(7, length(67))), "f32"),
      d.quantile(normal(7, length(260)), 0.7),
      d.sum(normal(1, 70_000)),
      d.globalNorm([normal(3), normal(length(260), 17)]),
    ]);
}

function normalizations(): d.Tensor[] {
  const running = { mean: d.zeros([4]), variance: d.ones([4]) };
  const silu = [d.groupNorm, d.groupNormSilu];
  return [
    ...[[3, 8], [5, 13], [2, 1100]].flatMap(([rows, cols]) =>
      both(
        (x, w, b) => d.layerNorm(x, cols!, w, b),
        normal(rows!, cols!),
        normal(cols!),
        normal(cols!),
      )
    ),
    ...silu.flatMap((f) =>
      [[4, 4], [5, 3], [40, 40]].flatMap(([h, w]) =>
        both(
          (x, weight, bias) => f(x, 2, weight, bias),
          normal(2, 4, h!, w!),
          normal(4),
          normal(4),
        )
      )
    ),
    ...both(
      (x, weight, bias) =>
        d.batchNorm(x, {
          weight,
          bias,
          runningMean: running.mean,
          runningVar: running.variance,
          training: true,
        }),
      normal(3, 4, 5, length(17)),
      normal(4),
      normal(4),
    ),
    ...both((x) => d.layerNorm(x, 16), normal(17, 16)),
    ...both((x) => d.softmax(x), normal(130, 5)),
    running.mean,
    running.variance,
    ...[8, 13, 300].flatMap((cols) =>
      [0, 1].flatMap((axis) => [
        ...both((x) => d.softmax(x, axis), normal(6, cols)),
        ...both((x) => d.logSoftmax(x, axis), normal(5, cols)),
      ])
    ),
  ];
}

function attentions(): d.Tensor[] {
  return [4, 16, 64].flatMap((width) =>
    [false, true].flatMap((causal) => {
      const keys = length(17);
      return both(
        (q, k, v) => flashAttention(q, k, v, 0.5, causal),
        normal(2, 5, width),
        normal(2, keys, width),
        normal(2, keys, width),
      );
    })
  );
}

function images(): d.Tensor[] {
  const x = normal(2, 3, 9, length(17) + 4);
  return [
    ...both((x) => d.maxPool2d(x, 2, { stride: 2 }), x),
    ...both((x) => d.avgPool2d(x, 3, { stride: 2, padding: 1 }), x),
    ...both((x) => d.upsampleNearest(x, { scale: 2 }), x),
    ...both((x) => d.upsampleNearest(x, [13, 11]), x),
    ...both((x) => d.upsampleBilinear(x, [13, 11]), x),
    ...both(
      (x, w) => d.upsampleConv2d(x, w, undefined, { padding: 1 }),
      x,
      normal(4, 3, 3, 3),
    ),
  ];
}

/** What depends on the form of a product. */
function products(): d.Tensor[] {
  const sizes: [number, number, number][] = [
    [length(67), length(67), length(67)],
    [36, 44, 68],
    [8, 1100, 36],
    [1, 5, 260],
  ];
  const windows: [number, d.Conv2dOptions][] = [
    [3, { padding: 1 }],
    [1, {}],
    [3, { stride: 2, padding: 1 }],
    [2, { groups: 4, dilation: 2 }],
  ];
  return [
    ...sizes.flatMap(([rows, k, cols]) => [
      ...both((a, b) => d.matmul(a, b), normal(2, rows, k), normal(k, cols)),
      ...both(
        (a, b) => d.matmul(a, b, { transposeA: true, transposeB: true }),
        normal(k, rows),
        normal(cols, k),
      ),
    ]),
    ...both(d.linear as Op, normal(5, 16), normal(36, 16), normal(36)),
    ...windows.flatMap(([size, options]) =>
      both(
        (x, w, b) => d.conv2d(x, w, b, options),
        normal(2, 16, 8, 12),
        normal(32, 16 / (options.groups ?? 1), size, size),
        normal(32),
      )
    ),
    ...both(
      (x, w) => d.convTranspose2d(x, w, undefined, { stride: 2 }),
      normal(2, 3, 5, length(8)),
      normal(3, 4, 3, 3),
    ),
  ];
}

function randomness(): d.Tensor[] {
  const rng = new d.Rng(3);
  const x = normal(3, 5, length(17));
  const signal = positive(10), spread = positive(10);
  const drawn = qSampleDrawn(x, whole(10, 3), { signal, spread }, rng);
  return [
    rng.normal([length(260)]),
    rng.normalRows([length(17), 5], 3),
    rng.uniform([17], -1, 1),
    d.cast(rng.integers([67], 0, 1000), "f32"),
    ...both((x) => d.dropout(x, { p: 0.4, rng: new d.Rng(2) }), x),
    drawn.xt,
    drawn.noise,
    d.timeEmbedding(d.tensor([0, 1, 17.5, 999]), 32),
    d.full([length(67)], 2.5),
  ];
}

/** Three steps of every optimizer, called one by one and captured with an average. */
async function optimizers(): Promise<d.Tensor[]> {
  const makers = [
    (p: d.Tensor[]) => new d.SGD(p, { learningRate: 0.1 }),
    (p: d.Tensor[]) => new d.SGD(p, { learningRate: 0.1, momentum: 0.9 }),
    (p: d.Tensor[]) => new d.Adam(p, { learningRate: 0.1 }),
    (p: d.Tensor[]) => new d.AdamW(p, { learningRate: 0.1, amsgrad: true }),
    ...[0, 0.9].flatMap((momentum) =>
      [false, true].map((centered) => (p: d.Tensor[]) =>
        new d.RMSprop(p, { learningRate: 0.01, momentum, centered })
      )
    ),
  ];
  const results: d.Tensor[] = [];
  for (const make of makers) {
    for (const captured of [false, true]) {
      const p = [[5], [3, 67], [], [2000]].map((shape, i) =>
        new d.Rng(i).normal(shape).requireGrad()
      );
      const optimizer = make(p), ema = new d.Ema(p, { decay: 0.5 });
      const body = ({ x }: { x: d.Tensor }) => {
        const found = p.map((value) => d.mul(value, x));
        const { scale, norm } = d.clipScale(found, 1);
        optimizer.step(found, { scale, ema: captured ? ema : undefined });
        if (!captured) ema.update();
        return { norm };
      };
      if (captured) {
        const step = d.capture(body, { inputs: { x: { shape: [] } } });
        for (const x of [1, -0.25, 3]) step.replay({ x: Float32Array.of(x) });
        await step.outputs();
        step.dispose();
      } else for (const x of [1, -0.25, 3]) body({ x: d.tensor(x) });
      const averages = ema.stateDict();
      results.push(
        ...p,
        ...Object.values(averages).filter((v) => v instanceof d.Tensor),
      );
    }
  }
  const x = normal(length(67)).requireGrad();
  d.backward(d.sum(d.mul(x, x)));
  d.backward(d.sum(x));
  d.clipGradNormInPlace([x], 0.5);
  return [...results, x.grad!];
}

async function checks(): Promise<d.Tensor[]> {
  d.detectAnomaly(true);
  const y = d.exp(normal(3));
  await d.assertFinite();
  d.detectAnomaly(false);
  return [y];
}

const OPS: Record<string, () => d.Tensor[] | Promise<d.Tensor[]>> = {
  unary,
  binary,
  shapes,
  indices,
  reductions,
  normalizations,
  attentions,
  images,
  gradientsOfGradients,
  ...Object.fromEntries(
    VARIANTS.map((variant) => [
      `products by ${variant}`,
      () => withVariant(variant, products).result,
    ]),
  ),
  randomness,
  optimizers,
  checks,
};

/** Runs everything; the results by names, and the entry points that ran. */
async function main(results: string, kernels: string): Promise<void> {
  const names = new Map(sourcesOf().map(({ source, name }) => [source, name]));
  const ran = new Set<string>();
  const machine = executor();
  const compile = machine.compile.bind(machine);
  machine.compile = (spec: PipelineSpec) => {
    const name = names.get(spec.source);
    if (name) ran.add(`${name} ${spec.entryPoint}`);
    return compile(spec);
  };
  const all: Record<string, d.Tensor> = {};
  for (const [name, f] of Object.entries(OPS)) {
    const tensors = await f();
    tensors.forEach((tensor, i) => all[`${name} ${i}`] = tensor);
    await d.sync();
  }
  await Deno.writeFile(results, await saveSafetensors(all));
  await Deno.writeTextFile(kernels, JSON.stringify([...ran]));
}

if (import.meta.main) {
  const [results, kernels] = Deno.args;
  await main(results!, kernels!);
  Deno.exit(0);
}
