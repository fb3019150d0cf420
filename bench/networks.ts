/**
 * The networks of the benchmark, as plain functions of named parameters. Initial weights come from a
 * formula, so that losses after some steps can be compared between libraries.
 *
 * @module
 */
import { sizeOf, uniform } from "./data.ts";
import type { Library, Weights } from "./library.ts";

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

/** Images of a step of the VAE and of the DCGAN. */
export const SMALL_BATCH = 64;

/** Makes the declared parameters; the i-th is drawn with seed `seed + i`. */
export function initialise<T>(
  lib: Library<T>,
  declarations: readonly Declaration[],
  seed: number,
): Weights<T> {
  return Object.fromEntries(declarations.map(([name, kind, shape], i) => {
    if (kind === "one" || kind === "zero") {
      const values = new Float32Array(sizeOf(shape)).fill(
        kind === "one" ? 1 : 0,
      );
      return [name, lib.tensor(values, shape)];
    }
    const fan = kind === "convT"
      ? shape[0]! * shape[2]! * shape[3]!
      : sizeOf(shape) / shape[0]!;
    const values = uniform(shape, seed + i, 1 / Math.sqrt(fan));
    return [name, lib.tensor(values, shape, kind)];
  }));
}

/** Number of values in all parameters. */
export function count(declarations: readonly Declaration[]): number {
  return declarations.reduce((sum, [, , shape]) => sum + sizeOf(shape), 0);
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

/** `exp(-ln(10000) k / 16)`, the frequencies of the time embedding. */
export function frequencies(): Float32Array<ArrayBuffer> {
  const half = BASE / 2;
  return Float32Array.from(
    { length: half },
    (_, k) => Math.exp(-Math.log(10000) * k / half),
  );
}

/** Predicts noise. `x`: `[N, C, R, R]`; `t`: `[N]`; `freqs`: `frequencies()`. */
export function unet<T>(
  lib: Library<T>,
  p: Weights<T>,
  { resolution }: UNetShape,
  x: T,
  t: T,
  freqs: T,
): T {
  const conv = (name: string, x: T, size: 1 | 3, stride = 1) =>
    lib.conv2d(x, p[`${name}.w`]!, p[`${name}.b`]!, {
      stride,
      padding: (size - 1) / 2,
    });
  const norm = (name: string, x: T) =>
    lib.groupNorm(x, GROUPS, p[`${name}.g`]!, p[`${name}.b`]!);
  const normSilu = (name: string, x: T) =>
    lib.groupNormSilu(x, GROUPS, p[`${name}.g`]!, p[`${name}.b`]!);
  const linear = (name: string, x: T) =>
    lib.linear(x, p[`${name}.w`]!, p[`${name}.b`]!);
  const res = (name: string, x: T, e: T) => {
    let h = conv(`${name}.conv1`, normSilu(`${name}.gn1`, x), 3);
    h = lib.addPerChannel(h, linear(`${name}.temb`, e));
    h = conv(`${name}.conv2`, normSilu(`${name}.gn2`, h), 3);
    return lib.add(h, p[`${name}.skip.w`] ? conv(`${name}.skip`, x, 1) : x);
  };
  const attention = (name: string, x: T) => {
    const qkv = conv(`${name}.qkv`, norm(`${name}.gn`, x), 1);
    const y = lib.imageAttention(qkv, HEADS);
    return lib.add(x, conv(`${name}.proj`, y, 1));
  };
  const angles = lib.outer(t, freqs);
  let e = lib.concat(lib.sin(angles), lib.cos(angles));
  e = lib.silu(linear("time.0", e));
  e = lib.silu(linear("time.1", e));
  let h = conv("in", x, 3), r = resolution;
  const skips = [h], last = MULTIPLIERS.length - 1;
  for (let i = 0; i <= last; i++) {
    h = res(`down${i}.res`, h, e);
    if (r === ATTENTION_AT) h = attention(`down${i}.attn`, h);
    skips.push(h);
    if (i === last) break;
    h = conv(`down${i}.ds`, h, 3, 2);
    skips.push(h);
    r /= 2;
  }
  h = res("mid.res1", attention("mid.attn", res("mid.res0", h, e)), e);
  for (let i = last; i >= 0; i--) {
    for (let j = 0; j < 2; j++) {
      h = res(`up${i}.res${j}`, lib.concatChannels(h, skips.pop()!), e);
      if (r === ATTENTION_AT) h = attention(`up${i}.attn${j}`, h);
    }
    if (i === 0) break;
    h = conv(`up${i}.us`, lib.upsample(h), 3);
    r *= 2;
  }
  return conv("out.conv", normSilu("out.gn", h), 3);
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

const HALF = { stride: 2, padding: 1 }, TWICE = HALF;

/** Negative ELBO per image: Bernoulli reconstruction plus KL. `x`: `[64, 1, 28, 28]`; `eps`: `[64, 16]`. */
export function vaeLoss<T>(lib: Library<T>, p: Weights<T>, x: T, eps: T): T {
  let h = lib.relu(lib.conv2d(x, p["e1.w"]!, p["e1.b"]!, HALF));
  h = lib.relu(lib.conv2d(h, p["e2.w"]!, p["e2.b"]!, HALF));
  const [mu, logVar] = lib.halves(
    lib.linear(lib.flatten(h), p["ef.w"]!, p["ef.b"]!),
  );
  const z = lib.add(mu, lib.mul(lib.exp(lib.mul(logVar, 0.5)), eps));
  h = lib.unflatten(lib.relu(lib.linear(z, p["df.w"]!, p["df.b"]!)), 64, 7);
  h = lib.relu(lib.convTranspose2d(h, p["d1.w"]!, p["d1.b"]!, TWICE));
  const logits = lib.convTranspose2d(h, p["d2.w"]!, p["d2.b"]!, TWICE);
  const reconstruction = lib.bceWithLogits(logits, x, "sum");
  return lib.mul(
    lib.add(reconstruction, lib.gaussianKl(mu, logVar)),
    1 / SMALL_BATCH,
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

/** Images from noise `[N, 100]`. */
export function generate<T>(lib: Library<T>, p: Weights<T>, z: T): T {
  let h = lib.unflatten(lib.linear(z, p["gf.w"]!, p["gf.b"]!), 128, 7);
  h = lib.relu(lib.batchNorm(h, p["gn0.g"]!, p["gn0.b"]!));
  h = lib.convTranspose2d(h, p["g1.w"]!, null, TWICE);
  h = lib.relu(lib.batchNorm(h, p["gn1.g"]!, p["gn1.b"]!));
  return lib.tanh(lib.convTranspose2d(h, p["g2.w"]!, p["g2.b"]!, TWICE));
}

/** Logits `[N, 1]` that images are real. */
export function discriminate<T>(lib: Library<T>, p: Weights<T>, x: T): T {
  let h = lib.conv2d(x, p["d1.w"]!, p["d1.b"]!, HALF);
  h = lib.conv2d(lib.leakyRelu(h, 0.2), p["d2.w"]!, null, HALF);
  h = lib.leakyRelu(lib.batchNorm(h, p["dn.g"]!, p["dn.b"]!), 0.2);
  return lib.linear(lib.flatten(h), p["df.w"]!, p["df.b"]!);
}
