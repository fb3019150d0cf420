/**
 * Sinusoidal embedding of diffusion timesteps.
 *
 * @module
 */
import { keep, outsideCapture } from "../tensor/context.ts";
import { empties, Kernel, requireThat } from "../tensor/kernel.ts";
import { type Tensor, tensor } from "../tensor/tensor.ts";
import turnSource from "../tensor/turn.wgsl" with { type: "text" };
import source from "./time_embedding.wgsl" with { type: "text" };

const kernel = new Kernel("time_embedding", turnSource, source);
const tables = new Map<string, Tensor>();

/** Frequencies and order of a `timeEmbedding`, which published networks do not agree on. */
export type TimeEmbeddingForm = "ho" | "openai" | "dome" | "interleaved";

/** Frequencies fall as 10000^(-j / period); sines and cosines start at a column and go on by `step`. */
const forms: Record<
  TimeEmbeddingForm,
  (half: number) => { period: number; sin: number; cos: number; step: number }
> = {
  ho: (half) => ({ period: half - 1, sin: 0, cos: half, step: 1 }),
  openai: (half) => ({ period: half, sin: half, cos: 0, step: 1 }),
  dome: (half) => ({ period: half, sin: 0, cos: half, step: 1 }),
  interleaved: (half) => ({ period: half / 2, sin: 0, cos: 1, step: 2 }),
};

/** The next part of a number with 12 significant bits, so that its product with t < 4096 is exact. */
function part(value: number): number {
  if (value === 0) return 0;
  const unit = 2 ** (Math.floor(Math.log2(Math.abs(value))) - 11);
  return Math.trunc(value / unit) * unit;
}

/** f_j = 10000^(-j / period) in turns per step, in three parts: `[3, half]`. */
function frequencies(half: number, period: number): Tensor {
  const key = `${half} ${period}`;
  let table = tables.get(key);
  if (!table) {
    const turns = Array.from(
      { length: half },
      (_, j) => 10000 ** (-j / Math.max(1, period)) / (2 * Math.PI),
    );
    const high = turns.map(part);
    const middle = turns.map((value, j) => part(value - high[j]!));
    const low = turns.map((value, j) => value - high[j]! - middle[j]!);
    table = outsideCapture(() => keep(tensor([high, middle, low])));
    tables.set(key, table);
  }
  return table;
}

/**
 * Sines and cosines of `t f_j`, `j < dim/2`, as networks take a timestep in. No gradient. The forms:
 *
 * - `"ho"`: `[sin(t f_0), …, cos(t f_0), …]` with `f_j = 10000^(-j / (dim/2 - 1))`, as in the code of
 *   Ho et al. 2020.
 * - `"openai"`: `[cos(t f_0), …, sin(t f_0), …]` with `f_j = 10000^(-j / (dim/2))`, as in that of
 *   Dhariwal & Nichol 2021.
 * - `"dome"`: `[sin(t f_0), …, cos(t f_0), …]` with `f_j = 10000^(-2j / dim)`, as in dome272's.
 * - `"interleaved"`: `[sin(t f_0), cos(t f_0), sin(t f_1), …]` with `f_j = 10000^(-4j / dim)`, as in
 *   Pulfer's.
 *
 * @param t Timesteps, f32 `[N]`, whole or not; exact to f32 below 4096.
 * @param dim Even.
 * @param options `form` defaults to `"ho"`.
 * @returns f32 `[N, dim]`.
 * @throws {TypeError} If `t` is not f32 with one axis, or `dim` is odd.
 */
export function timeEmbedding(
  t: Tensor,
  dim: number,
  options: { form?: TimeEmbeddingForm } = {},
): Tensor {
  requireThat(
    t.rank === 1 && t.dtype === "f32",
    "timeEmbedding",
    "t must be f32 with one axis",
    {
      t: String(t),
    },
  );
  requireThat(
    dim > 0 && dim % 2 === 0,
    "timeEmbedding",
    "the dimension must be even",
    { dim },
  );
  const n = t.size, half = dim / 2;
  const { period, sin, cos, step } = forms[options.form ?? "ho"](half);
  const params = { n, half_dim: half, sin_at: sin, cos_at: cos, step };
  return kernel.run("embed", params, {
    t,
    frequencies: frequencies(half, period),
    out: empties([n, dim]),
  }, { workgroups: ({ n }) => Math.ceil(Number(n) * half / 64) });
}
