/**
 * Noising of a batch, with the noise drawn on the way.
 *
 * @module
 */
import { mul } from "../kernels/binary.ts";
import { indexSelect } from "../kernels/index.ts";
import { reshape } from "../kernels/shape.ts";
import { apply, type Op } from "../tensor/autograd.ts";
import { empties, Kernel, like } from "../tensor/kernel.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import normalsSource from "../tensor/normals.wgsl" with { type: "text" };
import philoxSource from "../tensor/philox.wgsl" with { type: "text" };
import turnSource from "../tensor/turn.wgsl" with { type: "text" };
import source from "./q_sample.wgsl" with { type: "text" };

const kernel = new Kernel(
  "q_sample",
  philoxSource,
  turnSource,
  normalsSource,
  source,
);

/** `noise` is memory that the op fills beside its output. */
type Draw = ReturnType<Rng["next"]> & { noise: Tensor };
type Inputs = readonly [x0: Tensor, t: Tensor, signal: Tensor, spread: Tensor];

const qSampleOp: Op<Inputs, Draw> = {
  name: "qSample",
  forward([x0, t, signal, spread], { noise, ...draw }) {
    const row = x0.size / x0.shape[0]!;
    return kernel.run(
      "draw",
      { n: x0.size, first: 0, row, timesteps: signal.size, ...draw },
      { x0, t, signal, spread, noise, out: like(x0) },
      {
        workgroups: ({ n }) => Math.ceil(Number(n) / 256),
        splitBy: "n",
        split: ["x0", "noise", "out"],
      },
    );
  },
  backward: (dy, [, t, signal]) => [
    mul(reshape(indexSelect(signal, 0, t), onePerExample(dy)), dy),
    null,
    null,
    null,
  ],
};

/** `[N, 1, …]`: the shape of what multiplies the examples of a batch. */
export function onePerExample(batch: Tensor): number[] {
  return batch.shape.map((length, axis) => axis === 0 ? length : 1);
}

/**
 * `x_t = signal[t] · x_0 + spread[t] · ε` with ε as `rng.normal` would draw it, in one kernel.
 *
 * @param x0 f32 `[N, …]`.
 * @param t i32 `[N]`.
 * @param signal `[T]`, as `spread`.
 */
export function qSampleDrawn(
  x0: Tensor,
  t: Tensor,
  { signal, spread }: Readonly<Record<"signal" | "spread", Tensor>>,
  rng: Rng,
): { xt: Tensor; noise: Tensor } {
  const noise = empties(x0.shape);
  const draw = { noise, ...rng.next() };
  return { xt: apply(qSampleOp, [x0, t, signal, spread], draw), noise };
}
