/**
 * The items of the benchmark, under names that other libraries' runs share.
 *
 * @module
 */
import { noise, uniform, unit } from "./data.ts";
import type { Layout, Library } from "./library.ts";
import * as net from "./networks.ts";

/** An item, ready to be run again and again. */
export interface Prepared<T> {
  /** One run; the caller frees what it returns. A training item returns its loss alone. */
  run(): T[] | Promise<T[]>;
  /** Axes of the results; none for an optimizer step, whose losses are compared instead. */
  layouts: Layout[];
  /** Parameters of the network, for items that have one. */
  params?: number;
}

/** An item's name, cost and preparation, for the libraries whose tensors are `T`. */
export interface ItemOf<T> {
  /** As in reports. */
  name: string;
  /** Floating-point operations of one run, a multiply-add counting as two. */
  flops?: number;
  /** Bytes that must move at least. */
  bytes?: number;
  /** Images that a run draws or trains on, for the time of each. */
  images?: number;
  /** Makes inputs and parameters. */
  prepare(lib: Library<T>): Prepared<T>;
}

/** An item for every library. */
export interface Item extends Omit<ItemOf<unknown>, "prepare"> {
  /** Makes inputs and parameters. */
  prepare<T>(lib: Library<T>): Prepared<T>;
}

/** An input: values, shape, axes. */
type Source = [
  values: Float32Array<ArrayBuffer>,
  shape: number[],
  layout?: Layout,
];

const FOUR_MILLION = 4 * 1024 * 1024;
const GROUPS = 8;

const load = <T>(lib: Library<T>, sources: Source[]) =>
  sources.map((source) => lib.tensor(...source));

/** `f` of the inputs. */
function forward(
  name: string,
  cost: { flops?: number; bytes?: number },
  inputs: () => Source[],
  f: <T>(lib: Library<T>, inputs: T[]) => T,
): Item {
  return {
    name,
    ...cost,
    prepare(lib) {
      const sources = inputs();
      return {
        run: lib.compile((...xs) => [f(lib, xs)], load(lib, sources)),
        layouts: [sources[0]![2] ?? "plain"],
      };
    },
  };
}

/** `f` of the inputs, and the gradients of `sum(f(inputs) · upstream)` with respect to all of them. */
function bothWays(
  name: string,
  { flops, bytes }: { flops?: number; bytes?: number },
  inputs: () => Source[],
  upstream: () => Source,
  f: <T>(lib: Library<T>, inputs: T[]) => T,
): Item[] {
  return [forward(`${name}_fwd`, { flops, bytes }, inputs, f), {
    name: `${name}_fwdbwd`,
    flops: flops && 3 * flops,
    bytes: bytes && 2 * bytes,
    prepare(lib) {
      const sources = inputs();
      return {
        run: lib.compile(
          (dy, ...xs) =>
            lib.gradients((...xs) => lib.sum(lib.mul(f(lib, xs), dy)), xs),
          load(lib, [upstream(), ...sources]),
        ),
        layouts: sources.map(([, , layout]) => layout ?? "plain"),
      };
    },
  }];
}

function matmulItem(name: string, m: number, k: number, n: number): Item {
  return forward(
    name,
    { flops: 2 * m * k * n },
    () => [[uniform([m, k], 1), [m, k]], [uniform([k, n], 2), [k, n]]],
    (lib, [a, b]) => lib.matmul(a!, b!),
  );
}

function convItems(
  name: string,
  n: number,
  c: number,
  r: number,
  k: number,
): Item[] {
  const image = [n, c, r, r], weight = [c, c, k, k];
  return bothWays(
    name,
    { flops: 2 * n * r * r * c * c * k * k },
    () => [
      [uniform(image, 1), image, "image"],
      [uniform(weight, 2), weight, "conv"],
    ],
    () => [uniform(image, 3), image, "image"],
    (lib, [x, weight]) =>
      lib.conv2d(x!, weight!, null, { stride: 1, padding: (k - 1) / 2 }),
  );
}

/** The linear schedule of Ho et al., in doubles. */
const betas = Array.from(
  { length: 1000 },
  (_, i) => 1e-4 + (0.02 - 1e-4) * i / 999,
);
let product = 1;
const alphasCumprod = betas.map((beta) => product *= 1 - beta);

function unetItems(
  name: string,
  trainFlops: number,
  sampleFlops: number,
): Item[] {
  const shape = net.UNETS[name]!;
  const declarations = net.unetDeclarations(shape);
  const params = net.count(declarations);
  const image = (n: number) => [
    n,
    shape.channels,
    shape.resolution,
    shape.resolution,
  ];
  return [
    {
      name: `${name}_train`,
      flops: trainFlops,
      prepare(lib) {
        const n = shape.trainBatch, batch = image(n);
        const steps = Float32Array.from(
          { length: n },
          (_, i) => (i * 61 + 17) % 1000,
        );
        const factor = (f: (bar: number) => number): Source => [
          steps.map((step) => f(alphasCumprod[step]!)),
          [n, 1, 1, 1],
        ];
        const run = lib.train({
          networks: [net.initialise(lib, declarations, 100)],
          inputs: load(lib, [
            [uniform(batch, 11), batch, "image"],
            [noise(batch, 12), batch, "image"],
            factor(Math.sqrt),
            factor((bar) => Math.sqrt(1 - bar)),
            [steps, [n]],
            [net.frequencies(), [net.frequencies().length]],
          ]),
          adam: { learningRate: 2e-4, betas: [0.9, 0.999] },
          step: (_, update, x0, eps, signal, spread, t, freqs) =>
            update(0, (weights) => {
              const xt = lib.add(lib.mul(x0!, signal!), lib.mul(eps!, spread!));
              const predicted = net.unet(lib, weights, shape, xt, t!, freqs!);
              return lib.mseLoss(predicted, eps!);
            }),
        });
        return { run: () => [run()], layouts: [], params };
      },
    },
    {
      name: `${name}_sample`,
      flops: sampleFlops,
      prepare(lib) {
        const n = net.SAMPLE_BATCH, batch = image(n), k = 500;
        const weights = net.initialise(lib, declarations, 100);
        const names = Object.keys(weights);
        const c1 = 1 / Math.sqrt(1 - betas[k]!);
        const c2 = betas[k]! / Math.sqrt(1 - alphasCumprod[k]!);
        const sigma = Math.sqrt(betas[k]!);
        const inputs = load(lib, [
          [noise(batch, 13), batch, "image"],
          [noise(batch, 14), batch, "image"],
          [new Float32Array(n).fill(k), [n]],
          [net.frequencies(), [net.frequencies().length]],
        ]);
        const run = lib.compileNetwork(
          (x, z, t, freqs, ...values) => {
            const p = Object.fromEntries(
              names.map((name, i) => [name, values[i]!] as const),
            );
            const eps = net.unet(lib, p, shape, x!, t!, freqs!);
            const mean = lib.mul(lib.add(x!, lib.mul(eps, -c2)), c1);
            return lib.add(mean, lib.mul(z!, sigma));
          },
          [...inputs, ...Object.values(weights)],
          batch,
        );
        return { run, layouts: ["image"], params };
      },
    },
  ];
}

const SMALL_IMAGES = [net.SMALL_BATCH, 1, 28, 28];
const attended = [16, 4, 256, 16];

/** All items, in the order in which they run. */
export const ITEMS: Item[] = [
  forward(
    "roundtrip_64K",
    {},
    () => [[new Float32Array(65536).fill(1), [65536]]],
    (lib, [x]) => lib.add(x!, 1),
  ),
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
      [uniform([16, 64, 32, 32], 1), [16, 64, 32, 32], "image"],
      [uniform([64], 2).map((u) => 1 + 0.1 * u), [64]],
      [uniform([64], 3).map((u) => 0.1 * u), [64]],
    ],
    () => [uniform([16, 64, 32, 32], 4), [16, 64, 32, 32], "image"],
    (lib, [x, weight, bias]) => lib.groupNormSilu(x!, GROUPS, weight!, bias!),
  ),
  ...bothWays(
    "attn",
    { flops: 4 * 16 * 4 * 256 * 256 * 16 },
    () => [1, 2, 3].map((seed) => [uniform(attended, seed, 2), attended]),
    () => [uniform(attended, 4), attended],
    (lib, [q, k, v]) => lib.attention(q!, k!, v!),
  ),
  forward(
    "mulsilu_4M",
    { bytes: 16 * FOUR_MILLION },
    () =>
      [1, 2, 3].map((
        seed,
      ) => [uniform([FOUR_MILLION], seed), [FOUR_MILLION]]),
    (lib, [a, b, c]) => lib.silu(lib.mulAdd(a!, b!, c!)),
  ),
  forward(
    "sum_4M",
    { bytes: 4 * FOUR_MILLION },
    () => [[unit([FOUR_MILLION], 1), [FOUR_MILLION]]],
    (lib, [x]) => lib.sum(x!),
  ),
  forward(
    "softmax_4096x256",
    { bytes: 8 * 4096 * 256 },
    () => [[uniform([4096, 256], 1, 4), [4096, 256]]],
    (lib, [x]) => lib.softmax(x!),
  ),
  ...unetItems("unet16", 6303121408, 2101870592),
  ...unetItems("unet32", 11978866688, 7995392000),
  {
    name: "vae_train",
    flops: 1074167808,
    prepare(lib) {
      const run = lib.train({
        networks: [net.initialise(lib, net.VAE, 500)],
        inputs: load(lib, [
          [unit(SMALL_IMAGES, 21), SMALL_IMAGES, "image"],
          [noise([net.SMALL_BATCH, 16], 22), [net.SMALL_BATCH, 16]],
        ]),
        adam: { learningRate: 1e-3, betas: [0.9, 0.999] },
        step: (_, update, x, eps) =>
          update(0, (weights) => net.vaeLoss(lib, weights, x!, eps!)),
      });
      return { run: () => [run()], layouts: [], params: net.count(net.VAE) };
    },
  },
  {
    name: "dcgan_train",
    flops: 10369171456,
    prepare(lib) {
      const G = 0, D = 1;
      const run = lib.train({
        networks: [
          net.initialise(lib, net.GENERATOR, 600),
          net.initialise(lib, net.DISCRIMINATOR, 650),
        ],
        inputs: load(lib, [
          [uniform(SMALL_IMAGES, 31), SMALL_IMAGES, "image"],
          [noise([net.SMALL_BATCH, 100], 32), [net.SMALL_BATCH, 100]],
        ]),
        adam: { learningRate: 2e-4, betas: [0.5, 0.999] },
        step(current, update, x, z) {
          const fake = lib.constant(() => net.generate(lib, current(G), z!));
          const lossD = update(D, (d) =>
            lib.add(
              lib.bceWithLogits(net.discriminate(lib, d, x!), 1, "mean"),
              lib.bceWithLogits(net.discriminate(lib, d, fake), 0, "mean"),
            ));
          const lossG = update(G, (g) => {
            const judged = net.discriminate(
              lib,
              current(D),
              net.generate(lib, g, z!),
            );
            return lib.bceWithLogits(judged, 1, "mean");
          });
          return lib.add(lossD, lossG);
        },
      });
      return {
        run: () => [run()],
        layouts: [],
        params: net.count(net.GENERATOR) + net.count(net.DISCRIMINATOR),
      };
    },
  },
];
