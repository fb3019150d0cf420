/**
 * The cost of a network, without running it.
 *
 * @module
 */
import { noGrad, withTrace } from "./context.ts";
import { executor } from "./device.ts";
import type { Tensor } from "./tensor.ts";
import { Trace } from "./trace.ts";

/**
 * Floating-point operations of the convolutions, linear layers, products of matrices and attention
 * that `body` runs: two for each multiplication with its addition, those with padding included, as
 * papers count them. What ops save by computing the same otherwise counts (`upsampleConv2d` as a
 * convolution of the enlarged image); what is elementwise, a sum or a normalisation does not.
 *
 * Nothing is computed: `body` is taken down as `capture` does it, so it must be synchronous, and neither
 * make tensors from host data nor read any. It runs inside `noGrad`.
 *
 * ```ts
 * import { countFlops, Rng, UNet, zeros } from "./mod.ts";
 *
 * const net = new UNet({ inChannels: 1, channels: 32, multipliers: [1, 2, 2] }, new Rng(0));
 * countFlops(() => net.forward(zeros([1, 1, 28, 28]), zeros([1])));
 * ```
 *
 * @throws {TypeError} If `body` is asynchronous.
 */
export function countFlops(body: () => unknown): number {
  const trace = new Trace(executor());
  const owned = new Set<Tensor>();
  try {
    withTrace(trace, owned, () =>
      noGrad(() => {
        const result = body();
        if (!(result instanceof Promise)) return;
        result.catch(() => {}); // its first await may throw what this error says better
        throw new TypeError(
          "Cannot count operations as the function must not be asynchronous",
        );
      }));
  } finally {
    for (const tensor of owned) tensor.dispose();
  }
  return trace.flops;
}
