/**
 * Noise schedules of diffusion, in float64.
 *
 * @module
 */

/** Names of the schedules. */
export type ScheduleName = "linear" | "cosine";

/**
 * `betaStart … betaEnd` in equal steps, both ends included (Ho et al. 2020, arXiv:2006.11239, §4).
 *
 * @param betaStart Defaults to 1e-4.
 * @param betaEnd Defaults to 0.02. Both suit 1000 steps: with far fewer, noise is never reached.
 */
export function linearBetas(
  timesteps: number,
  betaStart = 1e-4,
  betaEnd = 0.02,
): Float64Array {
  const step = (betaEnd - betaStart) / Math.max(1, timesteps - 1);
  return Float64Array.from(
    { length: timesteps },
    (_, t) => betaStart + step * t,
  );
}

/**
 * `β_t = min(1 - f((t+1)/T) / f(t/T), maxBeta)` with `f(u) = cos²((u + s)/(1 + s) · π/2)` (Nichol &
 * Dhariwal 2021, arXiv:2102.09672, eq. 17).
 *
 * @param offset `s`; defaults to 0.008.
 * @param maxBeta Defaults to 0.999.
 */
export function cosineBetas(
  timesteps: number,
  offset = 0.008,
  maxBeta = 0.999,
): Float64Array {
  const f = (u: number) =>
    Math.cos((u + offset) / (1 + offset) * Math.PI / 2) ** 2;
  return Float64Array.from(
    { length: timesteps },
    (_, t) => Math.min(1 - f((t + 1) / timesteps) / f(t / timesteps), maxBeta),
  );
}

/**
 * `steps` of the timesteps `0 … timesteps - 1`, evenly spread with both ends, halves rounded to even
 * (improved-diffusion's rule): what a sampler with fewer steps visits.
 *
 * @throws {RangeError} If `steps` is not between 1 and `timesteps`.
 */
export function evenTimesteps(
  timesteps: number,
  steps: number,
): Int32Array<ArrayBuffer> {
  if (!Number.isInteger(steps) || steps < 1 || steps > timesteps) {
    throw new RangeError(
      `Cannot spread timesteps as steps must lie in 1 … ${timesteps}: steps is ${steps}`,
    );
  }
  if (steps === 1) return Int32Array.of(timesteps - 1);
  return Int32Array.from({ length: steps }, (_, i) => {
    const exact = i * (timesteps - 1) / (steps - 1);
    const below = Math.floor(exact);
    if (exact - below === 0.5) return below % 2 === 0 ? below : below + 1;
    return Math.round(exact);
  });
}
