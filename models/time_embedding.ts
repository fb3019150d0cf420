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
const tables = new Map<number, Tensor>();

/** The next part of a number with 12 significant bits, so that its product with t < 4096 is exact. */
function part(value: number): number {
  if (value === 0) return 0;
  const unit = 2 ** (Math.floor(Math.log2(Math.abs(value))) - 11);
  return Math.trunc(value / unit) * unit;
}

/** f_j = 10000^(-j / (half - 1)) in turns per step, in three parts: `[3, half]`. */
function frequencies(half: number): Tensor {
  let table = tables.get(half);
  if (!table) {
    const turns = Array.from(
      { length: half },
      (_, j) =>
        Math.exp(-Math.log(10000) * j / Math.max(1, half - 1)) / (2 * Math.PI),
    );
    const high = turns.map(part);
    const middle = turns.map((value, j) => part(value - high[j]!));
    const low = turns.map((value, j) => value - high[j]! - middle[j]!);
    table = outsideCapture(() => keep(tensor([high, middle, low])));
    tables.set(half, table);
  }
  return table;
}

/**
 * `[sin(t f_0), …, cos(t f_0), …]` with `f_j = 10000^(-j / (dim/2 - 1))`, as in the code of Ho et al.
 * 2020. No gradient.
 *
 * @param t Timesteps, f32 `[N]`, whole or not; exact to f32 below 4096.
 * @param dim Even.
 * @returns f32 `[N, dim]`.
 */
export function timeEmbedding(t: Tensor, dim: number): Tensor {
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
  const n = t.size;
  return kernel.run("embed", { n, half_dim: dim / 2 }, {
    t,
    frequencies: frequencies(dim / 2),
    out: empties([n, dim]),
  }, { workgroups: ({ n }) => Math.ceil(Number(n) * dim / 2 / 64) });
}
