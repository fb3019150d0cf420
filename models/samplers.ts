/**
 * Samplers: from noise to images, every evaluation of the network in sight. A step is captured, so a
 * denoiser must be synchronous and compute on the device; see `capture`.
 *
 * @module
 */
import { capture } from "../tensor/capture.ts";
import { keep, noGrad } from "../tensor/context.ts";
import { sync, turn } from "../tensor/device.ts";
import { copyInPlace } from "../tensor/fill.ts";
import { like } from "../tensor/kernel.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Denoiser } from "./denoiser.ts";
import type { GaussianDiffusion } from "./diffusion.ts";
import { evenTimesteps } from "./noise_schedule.ts";

/** What all samplers take. */
export interface SamplerOptions {
  /** Network evaluations; defaults to all timesteps. */
  steps?: number;
  /** Called after each step with the number done; may be asynchronous. */
  onStep?: (done: number, total: number, x: Tensor) => void | Promise<void>;
}

/** Steps between waits for the device, so that its queue stays short and the process responsive. */
const STEPS_PER_WAIT = 8;

/**
 * Runs `step` for i = total - 1 … 0: it is captured once, and replayed with another i each time.
 *
 * @param step From x and a function that tells i to the next x.
 */
async function descend(
  xT: Tensor,
  total: number,
  onStep: SamplerOptions["onStep"],
  step: (x: Tensor, i: () => number) => Tensor,
): Promise<Tensor> {
  const x = keep(like(xT));
  copyInPlace(x, xT);
  let i = total - 1;
  const captured = capture(() => {
    copyInPlace(x, noGrad(() => step(x, () => i)));
    return {};
  });
  try {
    for (; i >= 0; i--) {
      captured.replay({});
      const done = total - i;
      await (done % STEPS_PER_WAIT === 0 ? sync() : turn());
      await onStep?.(done, total, x);
    }
    return x.detach(); // belongs to the caller's scope
  } finally {
    captured.dispose();
    x.dispose();
  }
}

/**
 * Ancestral sampling (Ho et al. 2020, Algorithm 2), over all timesteps or evenly over fewer of them.
 *
 * @param xT Standard normal noise, `[N, C, H, W]`.
 * @param rng Draws the noise of each step.
 * @returns x_0, like `xT`.
 */
export function sampleAncestral(
  diffusion: GaussianDiffusion,
  denoise: Denoiser,
  xT: Tensor,
  rng: Rng,
  options: SamplerOptions = {},
): Promise<Tensor> {
  const { steps = diffusion.timesteps, onStep } = options;
  const process = steps === diffusion.timesteps
    ? diffusion
    : diffusion.respaced(evenTimesteps(diffusion.timesteps, steps));
  const n = xT.shape[0]!;
  return descend(xT, steps, onStep, (x, t) => {
    const eps = denoise(x, process.times(t, n));
    return process.ancestralStep(x, t, eps, rng.normal(x.shape));
  });
}

/**
 * DDIM sampling (Song et al. 2021, arXiv:2010.02502), evenly over `steps` of the timesteps.
 *
 * @param xT Standard normal noise, `[N, C, H, W]`.
 * @param options `eta`: 0 (default) is deterministic, 1 adds as much noise as ancestral sampling, for
 *   which `rng` is needed.
 * @returns x_0, like `xT`.
 */
export function sampleDdim(
  diffusion: GaussianDiffusion,
  denoise: Denoiser,
  xT: Tensor,
  options: SamplerOptions & { eta?: number; rng?: Rng } = {},
): Promise<Tensor> {
  const { steps = diffusion.timesteps, eta = 0, rng, onStep } = options;
  if (eta > 0 && !rng) {
    throw new TypeError(
      "Cannot sample as an eta above 0 needs a random generator: pass rng",
    );
  }
  const visited = evenTimesteps(diffusion.timesteps, steps);
  const n = xT.shape[0]!;
  return descend(xT, steps, onStep, (x, i) => {
    const t = () => visited[i()]!,
      tPrev = () => i() === 0 ? -1 : visited[i() - 1]!;
    const eps = denoise(x, diffusion.times(t, n));
    const z = eta > 0 ? rng!.normal(x.shape) : undefined;
    return diffusion.ddimStep(x, t, tPrev, eps, eta, z);
  });
}
