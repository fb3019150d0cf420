/**
 * The items of the benchmark, under names that other libraries' runs share.
 *
 * @module
 */
import * as d from "../mod.ts";
import { copyInPlace } from "../tensor/fill.ts";
import { noise, uniform, unit } from "./data.ts";
import * as net from "./networks.ts";

type Tensor = d.Tensor;

/** An item, ready to be run again and again. */
export interface Prepared {
  /** One run; the caller frees what it returns. A training item returns its loss alone. */
  run(): Tensor[];
  /** Whether `run` is an optimizer step. */
  training: boolean;
  /** Parameters of the network, for items that have one. */
  params?: number;
}

/** An item's name, cost and preparation. */
export interface Item {
  /** As in reports. */
  name: string;
  /** Floating-point operations of one run, a multiply-add counting as two. */
  flops?: number;
  /** Bytes that must move at least. */
  bytes?: number;
  /** Makes inputs and parameters. */
  prepare(): Prepared;
}

const FOUR_MILLION = 4 * 1024 * 1024;

const forward = (run: () => Tensor): Prepared => ({
  run: () => [run()],
  training: false,
});

function matmulItem(name: string, m: number, k: number, n: number): Item {
  return {
    name,
    flops: 2 * m * k * n,
    prepare() {
      const a = uniform([m, k], 1), b = uniform([k, n], 2);
      return forward(() => d.matmul(a, b));
    },
  };
}

/** A step that is captured when it first runs, and replayed from then on. */
function captured(
  step: () => Tensor,
  shape: readonly number[],
): () => Tensor[] {
  const result = d.zeros(shape);
  let made: d.CapturedStep<never, never> | undefined;
  return () => {
    made ??= d.capture(() => {
      copyInPlace(result, step());
      return {};
    });
    made.replay({});
    return [result.detach()];
  };
}

/** Forward, and forward with the gradients of `sum(f(inputs) · upstream)`. */
function bothWays(
  name: string,
  cost: { flops?: number; bytes?: number },
  inputs: () => Tensor[],
  upstream: () => Tensor,
  f: (...inputs: Tensor[]) => Tensor,
): Item[] {
  const times = (k: number, value?: number) =>
    value === undefined ? undefined : k * value;
  return [
    {
      name: `${name}_fwd`,
      ...cost,
      prepare() {
        const at = inputs();
        return forward(() => f(...at));
      },
    },
    {
      name: `${name}_fwdbwd`,
      flops: times(3, cost.flops),
      bytes: times(2, cost.bytes),
      prepare() {
        const at = inputs().map((x) => x.requireGrad()), g = upstream();
        return {
          run: () => d.gradients(d.sum(d.mul(f(...at), g)), at),
          training: false,
        };
      },
    },
  ];
}

function convItems(
  name: string,
  n: number,
  c: number,
  r: number,
  k: number,
): Item[] {
  return bothWays(
    name,
    { flops: 2 * n * r * r * c * c * k * k },
    () => [uniform([n, c, r, r], 1), uniform([c, c, k, k], 2)],
    () => uniform([n, c, r, r], 3),
    (x, weight) => d.conv2d(x!, weight!, undefined, { padding: (k - 1) / 2 }),
  );
}

const betas = d.linearBetas(1000);
const alphasCumprod = new d.GaussianDiffusion({ betas }).alphasCumprod;

function unetItems(
  name: string,
  trainFlops: number,
  sampleFlops: number,
): Item[] {
  const shape = net.UNETS[name]!;
  const image = [shape.channels, shape.resolution, shape.resolution];
  return [
    {
      name: `${name}_train`,
      flops: trainFlops,
      prepare() {
        const weights = net.initialise(net.unetDeclarations(shape), 100);
        const parameters = Object.values(weights);
        const n = shape.trainBatch;
        const steps = Array.from({ length: n }, (_, i) => (i * 61 + 17) % 1000);
        const x0 = uniform([n, ...image], 11), eps = noise([n, ...image], 12);
        const t = d.tensor(steps);
        const factor = (f: (bar: number) => number) =>
          d.tensor(
            Float32Array.from(steps, (step) => f(alphasCumprod[step]!)),
            [n, 1, 1, 1],
          );
        const signal = factor(Math.sqrt),
          spread = factor((bar) => Math.sqrt(1 - bar));
        const adam = new d.Adam(parameters, { learningRate: 2e-4 });
        return {
          training: true,
          params: net.count(weights),
          run: captured(() => {
            const xt = d.add(d.mul(signal, x0), d.mul(spread, eps));
            const loss = d.mseLoss(net.unet(weights, shape, xt, t), eps);
            adam.step(d.gradients(loss, parameters));
            return loss;
          }, []),
        };
      },
    },
    {
      name: `${name}_sample`,
      flops: sampleFlops,
      prepare() {
        const weights = net.initialise(net.unetDeclarations(shape), 100);
        const n = net.SAMPLE_BATCH, k = 500;
        const x = noise([n, ...image], 13), z = noise([n, ...image], 14);
        const t = d.full([n], k);
        const c1 = 1 / Math.sqrt(1 - betas[k]!);
        const c2 = betas[k]! / Math.sqrt(1 - alphasCumprod[k]!);
        const sigma = Math.sqrt(betas[k]!);
        return {
          training: false,
          params: net.count(weights),
          run: captured(() =>
            d.noGrad(() => {
              const eps = net.unet(weights, shape, x, t);
              return d.add(
                d.mul(d.sub(x, d.mul(eps, c2)), c1),
                d.mul(z, sigma),
              );
            }), x.shape),
        };
      },
    },
  ];
}

/** All items, in the order in which they run. */
export const ITEMS: Item[] = [
  {
    name: "roundtrip_64K",
    prepare() {
      const x = d.ones([65536]);
      return forward(() => d.add(x, 1));
    },
  },
  matmulItem("matmul_512", 512, 512, 512),
  matmulItem("matmul_1024", 1024, 1024, 1024),
  matmulItem("matmul_16384x64x64", 16384, 64, 64),
  ...convItems("conv3x3_n16c64r32", 16, 64, 32, 3),
  ...convItems("conv3x3_n16c128r16", 16, 128, 16, 3),
  ...convItems("conv3x3_n64c32r28", 64, 32, 28, 3),
  ...convItems("conv1x1_n16c64r32", 16, 64, 32, 1),
  ...bothWays(
    "gnsilu",
    { bytes: 2 * 4 * 16 * 64 * 32 * 32 },
    () => [
      uniform([16, 64, 32, 32], 1),
      d.add(d.mul(uniform([64], 2), 0.1), 1),
      d.mul(uniform([64], 3), 0.1),
    ],
    () => uniform([16, 64, 32, 32], 4),
    (x, weight, bias) => d.silu(d.groupNorm(x!, 8, weight!, bias!, 1e-5)),
  ),
  ...bothWays(
    "attn",
    { flops: 4 * 16 * 4 * 256 * 256 * 16 },
    () => [1, 2, 3].map((seed) => uniform([16, 4, 256, 16], seed, 2)),
    () => uniform([16, 4, 256, 16], 4),
    (q, k, v) => d.attention(q!, k!, v!),
  ),
  {
    name: "mulsilu_4M",
    bytes: 16 * FOUR_MILLION,
    prepare() {
      const [a, b, c] = [1, 2, 3].map((seed) => uniform([FOUR_MILLION], seed));
      return forward(() => d.scope(() => d.silu(d.add(d.mul(a!, b!), c!))));
    },
  },
  {
    name: "sum_4M",
    bytes: 4 * FOUR_MILLION,
    prepare() {
      const x = unit([FOUR_MILLION], 1);
      return forward(() => d.sum(x));
    },
  },
  {
    name: "softmax_4096x256",
    bytes: 8 * 4096 * 256,
    prepare() {
      const x = uniform([4096, 256], 1, 4);
      return forward(() => d.softmax(x));
    },
  },
  ...unetItems("unet16", 6303121408, 2101870592),
  ...unetItems("unet32", 11978866688, 7995392000),
  {
    name: "vae_train",
    flops: 1074167808,
    prepare() {
      const weights = net.initialise(net.VAE, 500);
      const parameters = Object.values(weights);
      const x = unit([64, 1, 28, 28], 21), eps = noise([64, 16], 22);
      const adam = new d.Adam(parameters, { learningRate: 1e-3 });
      return {
        training: true,
        params: net.count(weights),
        run: captured(() => {
          const loss = net.vaeLoss(weights, x, eps);
          adam.step(d.gradients(loss, parameters));
          return loss;
        }, []),
      };
    },
  },
  {
    name: "dcgan_train",
    flops: 10369171456,
    prepare() {
      const g = net.initialise(net.GENERATOR, 600),
        c = net.initialise(net.DISCRIMINATOR, 650);
      const ofG = Object.values(g), ofC = Object.values(c);
      const x = uniform([64, 1, 28, 28], 31), z = noise([64, 100], 32);
      const options = {
        learningRate: 2e-4,
        betas: [0.5, 0.999] as [number, number],
      };
      const adamG = new d.Adam(ofG, options), adamC = new d.Adam(ofC, options);
      const bce = (logits: Tensor, target: number) =>
        d.bceWithLogits(logits, d.full(logits.shape, target));
      return {
        training: true,
        params: net.count(g) + net.count(c),
        run: captured(() => {
          const fake = d.noGrad(() => net.generate(g, z));
          const lossC = d.add(
            bce(net.discriminate(c, x), 1),
            bce(net.discriminate(c, fake), 0),
          );
          adamC.step(d.gradients(lossC, ofC));
          const lossG = bce(net.discriminate(c, net.generate(g, z)), 1);
          adamG.step(d.gradients(lossG, ofG));
          return d.add(lossC, lossG);
        }, []),
      };
    },
  },
];
