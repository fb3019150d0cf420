/**
 * The networks of the benchmark, as plain functions of named parameters. Initial weights come from a
 * formula, so that losses after some steps can be compared between libraries.
 *
 * @module
 */
import * as d from "../mod.ts";
import { uniform } from "./data.ts";

type Tensor = d.Tensor;
/** Parameters by name. */
export type Weights = Record<string, Tensor>;
type Kind = "conv" | "convT" | "lin" | "one" | "zero";
type Declaration = [name: string, kind: Kind, shape: number[]];

/** A small U-Net in the style of Ho et al. */
export interface UNetShape {
  /** Image channels. */
  channels: number;
  /** Image height and width. */
  resolution: number;
  /** Batch of the training item. */
  trainBatch: number;
}

const BASE = 32,
  MULTIPLIERS = [1, 2, 2],
  HEADS = 4,
  GROUPS = 8,
  ATTENTION_AT = 8,
  TIME_DIM = 128;

/** The U-Nets by item name. */
export const UNETS: Record<string, UNetShape> = {
  unet16: { channels: 1, resolution: 16, trainBatch: 16 },
  unet32: { channels: 3, resolution: 32, trainBatch: 8 },
};

/** Images of a sampling item. */
export const SAMPLE_BATCH = 16;

/** Makes the declared parameters; the i-th is drawn with seed `seed + i`. */
export function initialise(
  declarations: readonly Declaration[],
  seed: number,
): Weights {
  return Object.fromEntries(declarations.map(([name, kind, shape], i) => {
    const size = shape.reduce((a, b) => a * b, 1);
    const fan = kind === "convT"
      ? shape[0]! * shape[2]! * shape[3]!
      : size / shape[0]!;
    const value = kind === "one"
      ? d.ones(shape)
      : kind === "zero"
      ? d.zeros(shape)
      : uniform(shape, seed + i, 1 / Math.sqrt(fan));
    return [name, d.parameter(value)];
  }));
}

/** Number of values in all parameters. */
export function count(weights: Weights): number {
  return Object.values(weights).reduce((sum, { size }) => sum + size, 0);
}

/** The parameters of a U-Net, in order. */
export function unetDeclarations(
  { channels, resolution }: UNetShape,
): Declaration[] {
  const list: Declaration[] = [];
  const conv = (name: string, from: number, to: number, k: number) =>
    list.push([`${name}.w`, "conv", [to, from, k, k]], [`${name}.b`, "zero", [
      to,
    ]]);
  const lin = (name: string, from: number, to: number) =>
    list.push([`${name}.w`, "lin", [to, from]], [`${name}.b`, "zero", [to]]);
  const norm = (name: string, n: number) =>
    list.push([`${name}.g`, "one", [n]], [`${name}.b`, "zero", [n]]);
  const res = (name: string, from: number, to: number) => {
    norm(`${name}.gn1`, from);
    conv(`${name}.conv1`, from, to, 3);
    lin(`${name}.temb`, TIME_DIM, to);
    norm(`${name}.gn2`, to);
    conv(`${name}.conv2`, to, to, 3);
    if (from !== to) conv(`${name}.skip`, from, to, 1);
  };
  const attention = (name: string, n: number) => {
    norm(`${name}.gn`, n);
    conv(`${name}.qkv`, n, 3 * n, 1);
    conv(`${name}.proj`, n, n, 1);
  };
  lin("time.0", BASE, TIME_DIM);
  lin("time.1", TIME_DIM, TIME_DIM);
  conv("in", channels, BASE, 3);
  let width = BASE, r = resolution;
  const skips = [width], last = MULTIPLIERS.length - 1;
  MULTIPLIERS.forEach((multiplier, i) => {
    res(`down${i}.res`, width, BASE * multiplier);
    width = BASE * multiplier;
    if (r === ATTENTION_AT) attention(`down${i}.attn`, width);
    skips.push(width);
    if (i === last) return;
    conv(`down${i}.ds`, width, width, 3);
    r /= 2;
    skips.push(width);
  });
  res("mid.res0", width, width);
  attention("mid.attn", width);
  res("mid.res1", width, width);
  for (let i = last; i >= 0; i--) {
    const to = BASE * MULTIPLIERS[i]!;
    for (let j = 0; j < 2; j++) {
      res(`up${i}.res${j}`, width + skips.pop()!, to);
      width = to;
      if (r === ATTENTION_AT) attention(`up${i}.attn${j}`, width);
    }
    if (i === 0) continue;
    conv(`up${i}.us`, width, width, 3);
    r *= 2;
  }
  norm("out.gn", width);
  conv("out.conv", width, channels, 3);
  return list;
}

let table: Tensor | undefined;

/** Frequencies of the time embedding, made once: a captured step cannot take data from the host. */
function frequencyTable(): Tensor {
  const half = BASE / 2;
  return table ??= d.outsideCapture(() =>
    d.keep(d.tensor(
      Float32Array.from(
        { length: half },
        (_, k) => Math.exp(-Math.log(10000) * k / half),
      ),
    ))
  );
}

/** Predicts noise. `x`: `[N, C, R, R]`; `t`: `[N]`. */
export function unet(
  p: Weights,
  { resolution }: UNetShape,
  x: Tensor,
  t: Tensor,
): Tensor {
  const conv = (name: string, x: Tensor, stride = 1) => {
    const weight = p[`${name}.w`]!;
    return d.conv2d(x, weight, p[`${name}.b`]!, {
      stride,
      padding: (weight.shape[2]! - 1) / 2,
    });
  };
  const norm = (name: string, x: Tensor) =>
    d.groupNorm(x, GROUPS, p[`${name}.g`]!, p[`${name}.b`]!, 1e-5);
  const normSilu = (name: string, x: Tensor) =>
    d.groupNormSilu(x, GROUPS, p[`${name}.g`]!, p[`${name}.b`]!, 1e-5);
  const linear = (name: string, x: Tensor) =>
    d.linear(x, p[`${name}.w`]!, p[`${name}.b`]!);
  const res = (name: string, x: Tensor, e: Tensor) => {
    let h = conv(`${name}.conv1`, normSilu(`${name}.gn1`, x));
    const bias = linear(`${name}.temb`, e);
    h = d.add(h, d.reshape(bias, [...bias.shape, 1, 1]));
    h = conv(`${name}.conv2`, normSilu(`${name}.gn2`, h));
    return d.add(h, p[`${name}.skip.w`] ? conv(`${name}.skip`, x) : x);
  };
  const attention = (name: string, x: Tensor) => {
    const [n, c, height, width] = x.shape as [number, number, number, number];
    const qkv = d.reshape(conv(`${name}.qkv`, norm(`${name}.gn`, x)), [
      n,
      3,
      HEADS,
      c / HEADS,
      height * width,
    ]);
    const [q, k, v] = d.split(qkv, 3, 1).map((part) =>
      d.transpose(d.squeeze(part, 1))
    );
    const y = d.transpose(d.attention(q!, k!, v!));
    return d.add(x, conv(`${name}.proj`, d.reshape(y, x.shape)));
  };
  const angles = d.mul(d.unsqueeze(t, 1), frequencyTable());
  let e = d.concat([d.sin(angles), d.cos(angles)], 1);
  e = d.silu(linear("time.0", e));
  e = d.silu(linear("time.1", e));
  let h = conv("in", x), r = resolution;
  const skips = [h], last = MULTIPLIERS.length - 1;
  for (let i = 0; i <= last; i++) {
    h = res(`down${i}.res`, h, e);
    if (r === ATTENTION_AT) h = attention(`down${i}.attn`, h);
    skips.push(h);
    if (i === last) break;
    h = conv(`down${i}.ds`, h, 2);
    skips.push(h);
    r /= 2;
  }
  h = res("mid.res1", attention("mid.attn", res("mid.res0", h, e)), e);
  for (let i = last; i >= 0; i--) {
    for (let j = 0; j < 2; j++) {
      h = res(`up${i}.res${j}`, d.concat([h, skips.pop()!], 1), e);
      if (r === ATTENTION_AT) h = attention(`up${i}.attn${j}`, h);
    }
    if (i === 0) break;
    h = conv(`up${i}.us`, d.upsampleNearest(h, { scale: 2 }));
    r *= 2;
  }
  return conv("out.conv", normSilu("out.gn", h));
}

/** The parameters of the convolutional VAE. */
export const VAE: Declaration[] = [
  ["e1.w", "conv", [32, 1, 3, 3]],
  ["e1.b", "zero", [32]],
  ["e2.w", "conv", [64, 32, 3, 3]],
  ["e2.b", "zero", [64]],
  ["ef.w", "lin", [32, 3136]],
  ["ef.b", "zero", [32]],
  ["df.w", "lin", [3136, 16]],
  ["df.b", "zero", [3136]],
  ["d1.w", "convT", [64, 32, 4, 4]],
  ["d1.b", "zero", [32]],
  ["d2.w", "convT", [32, 1, 4, 4]],
  ["d2.b", "zero", [1]],
];

/** Negative ELBO per image: Bernoulli reconstruction plus KL. `x`: `[N, 1, 28, 28]`; `eps`: `[N, 16]`. */
export function vaeLoss(p: Weights, x: Tensor, eps: Tensor): Tensor {
  const n = x.shape[0]!;
  const half = { stride: 2, padding: 1 };
  let h = d.relu(d.conv2d(x, p["e1.w"]!, p["e1.b"]!, half));
  h = d.relu(d.conv2d(h, p["e2.w"]!, p["e2.b"]!, half));
  const [mu, logVar] = d.split(
    d.linear(d.flatten(h, 1), p["ef.w"]!, p["ef.b"]!),
    2,
    1,
  ) as [
    Tensor,
    Tensor,
  ];
  const z = d.add(mu, d.mul(d.exp(d.mul(logVar, 0.5)), eps));
  h = d.reshape(d.relu(d.linear(z, p["df.w"]!, p["df.b"]!)), [n, 64, 7, 7]);
  h = d.relu(d.convTranspose2d(h, p["d1.w"]!, p["d1.b"]!, half));
  const logits = d.convTranspose2d(h, p["d2.w"]!, p["d2.b"]!, half);
  const reconstruction = d.bceWithLogits(logits, x, { reduction: "sum" });
  return d.mul(
    d.add(reconstruction, d.gaussianKl(mu, logVar, { reduction: "sum" })),
    1 / n,
  );
}

/** The parameters of the DCGAN's generator. */
export const GENERATOR: Declaration[] = [
  ["gf.w", "lin", [6272, 100]],
  ["gf.b", "zero", [6272]],
  ["gn0.g", "one", [128]],
  ["gn0.b", "zero", [128]],
  ["g1.w", "convT", [128, 64, 4, 4]],
  ["gn1.g", "one", [64]],
  ["gn1.b", "zero", [64]],
  ["g2.w", "convT", [64, 1, 4, 4]],
  ["g2.b", "zero", [1]],
];

/** The parameters of the DCGAN's discriminator. */
export const DISCRIMINATOR: Declaration[] = [
  ["d1.w", "conv", [64, 1, 4, 4]],
  ["d1.b", "zero", [64]],
  ["d2.w", "conv", [128, 64, 4, 4]],
  ["dn.g", "one", [128]],
  ["dn.b", "zero", [128]],
  ["df.w", "lin", [1, 6272]],
  ["df.b", "zero", [1]],
];

function batchNorm(p: Weights, name: string, x: Tensor): Tensor {
  return d.batchNorm(x, {
    weight: p[`${name}.g`]!,
    bias: p[`${name}.b`]!,
    training: true,
  });
}

/** Images from noise `[N, 100]`. */
export function generate(p: Weights, z: Tensor): Tensor {
  const twice = { stride: 2, padding: 1 };
  let h = d.reshape(d.linear(z, p["gf.w"]!, p["gf.b"]!), [
    z.shape[0]!,
    128,
    7,
    7,
  ]);
  h = d.relu(batchNorm(p, "gn0", h));
  h = d.relu(
    batchNorm(p, "gn1", d.convTranspose2d(h, p["g1.w"]!, undefined, twice)),
  );
  return d.tanh(d.convTranspose2d(h, p["g2.w"]!, p["g2.b"]!, twice));
}

/** Logits `[N, 1]` that images are real. */
export function discriminate(p: Weights, x: Tensor): Tensor {
  const half = { stride: 2, padding: 1 };
  let h = d.leakyRelu(d.conv2d(x, p["d1.w"]!, p["d1.b"]!, half), 0.2);
  h = d.leakyRelu(
    batchNorm(p, "dn", d.conv2d(h, p["d2.w"]!, undefined, half)),
    0.2,
  );
  return d.linear(d.flatten(h, 1), p["df.w"]!, p["df.b"]!);
}
