/**
 * Learning rates by step, counted from 0, in doubles.
 *
 * ```ts
 * const schedule = warmupCosine(2e-4, { warmupSteps: 500, totalSteps: 20_000 });
 * // before each step: optimizer.learningRate = schedule(step);
 * ```
 *
 * @module
 */

/** The learning rate of a step. */
export type Schedule = (step: number) => number;

/** The same rate always. */
export function constant(base: number): Schedule {
  return () => base;
}

/**
 * From `startFactor · base` at step 0 in equal steps to `endFactor · base` at `warmupSteps`, and there
 * it stays, as PyTorch's `LinearLR`.
 *
 * @param options `startFactor` defaults to 1/3, `endFactor` to 1.
 */
export function linearWarmup(
  base: number,
  options: { warmupSteps: number; startFactor?: number; endFactor?: number },
): Schedule {
  const { warmupSteps, startFactor = 1 / 3, endFactor = 1 } = options;
  return (step) => {
    const progress = warmupSteps > 0 ? Math.min(step / warmupSteps, 1) : 1;
    return base * (startFactor + (endFactor - startFactor) * progress);
  };
}

/** `min + (base - min) · ½(1 + cos(π progress))`: from `base` at 0 to `min` at 1. */
function anneal(base: number, min: number, progress: number): number {
  return min + (base - min) * 0.5 * (1 + Math.cos(Math.PI * progress));
}

/**
 * Half a cosine from `base` at step 0 to `min` at `totalSteps`; past that it rises again, as PyTorch's
 * `CosineAnnealingLR` (Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5).
 *
 * @param options `min` defaults to 0.
 */
export function cosine(
  base: number,
  options: { totalSteps: number; min?: number },
): Schedule {
  const { totalSteps, min = 0 } = options;
  return (step) => anneal(base, min, step / totalSteps);
}

/**
 * `base · (step + 1) / warmupSteps` before `warmupSteps`, then half a cosine to `min` at `totalSteps`,
 * where it stays.
 *
 * @param options `min` defaults to 0.
 */
export function warmupCosine(
  base: number,
  options: { warmupSteps: number; totalSteps: number; min?: number },
): Schedule {
  const { warmupSteps, totalSteps, min = 0 } = options;
  return (step) => {
    if (step < warmupSteps) return base * (step + 1) / warmupSteps;
    if (step >= totalSteps) return min;
    return anneal(base, min, (step - warmupSteps) / (totalSteps - warmupSteps));
  };
}

/** `base · gamma^floor(step / stepSize)`; `gamma` defaults to 0.1, as PyTorch's `StepLR`. */
export function stepDecay(
  base: number,
  options: { stepSize: number; gamma?: number },
): Schedule {
  const { stepSize, gamma = 0.1 } = options;
  return (step) => base * gamma ** Math.floor(step / stepSize);
}

/** `base · gamma^step`, as PyTorch's `ExponentialLR`. */
export function exponential(base: number, gamma: number): Schedule {
  return (step) => base * gamma ** step;
}
