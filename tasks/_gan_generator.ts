/**
 * Drawing from GANs: one pass of the generator.
 *
 * @module
 */
import { UsageError } from "./_cli.ts";
import { loadGan } from "./_gan.ts";
import { classFlag, defineGenerator, interpolateFlag } from "./_generator.ts";

/** Generative adversarial networks. */
export const ganGenerator = defineGenerator({
  flags: { ...classFlag, ...interpolateFlag },
  // deno-lint-ignore require-await -- as others wait
  async open({ checkpoint: { bytes, path } }, flags) {
    const { model, step } = loadGan(bytes, path, flags.ema);
    const { conditional } = model.config;
    if (flags.class && !conditional) {
      throw new UsageError(
        "Cannot choose a class as the model was trained without --conditional: it knows none",
      );
    }
    const { interpolate } = flags;
    return {
      shape: model.shape,
      step,
      knowsClasses: conditional,
      method: "generator",
      nfe: 1,
      summary: {},
      columns: interpolate,
      steps: (count) => count,
      flops: () => model.drawingFlops(),
      generate: (options) => model.sample({ ...options, interpolate }),
      dispose: () => model.network.dispose(),
    };
  },
});
