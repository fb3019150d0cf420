/**
 * What of an experiment fits a budget: steps of training, settings that suit so many, and how many
 * images can be drawn.
 *
 * @module
 */
import { UsageError } from "./_cli.ts";
import type { Experiment, Row, RunPlan } from "./_experiments.ts";
import type { StepTime } from "./_step_time.ts";

/** Seconds between checkpoints: what an interruption may cost. */
const CHECKPOINT_SECONDS = 60;
/** Points of a curve of the bound. */
const CURVE_POINTS = 8;
/** So many images of each row, or fewer, but for what the experiment has. */
const COUNTS = [10_000, 5000, 2000, 1000, 500, 200, 100];
/** Images that `evaluate` draws at once. */
const BATCH = 64;
/** Of the time of a step, forward and backward. */
const FORWARD_SHARE = 1 / 3;

/**
 * Reads a duration, such as `90s`, `10m` or `1h30m`.
 *
 * @returns Seconds.
 * @throws {UsageError} If it is none, or zero.
 */
export function parseDuration(flag: string, text: string): number {
  const parts = /^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?$/
    .exec(text.replaceAll(" ", ""));
  const [days, hours, minutes, seconds] = (parts ?? []).slice(1)
    .map((part) => Number(part ?? 0));
  const total = ((days! * 24 + hours!) * 60 + minutes!) * 60 + seconds!;
  if (total > 0) return total;
  throw new UsageError(
    `${flag} must be a duration, such as 90s, 10m or 1h30m: given "${text}"`,
  );
}

/**
 * Divides a budget by weight; what someone does not need goes to the others.
 *
 * @param needs What each could use at most.
 * @returns What each gets, in their order.
 */
export function shareBudget(
  needs: readonly { readonly weight: number; readonly seconds: number }[],
  budget: number,
): number[] {
  const shares = needs.map(() => 0);
  const hungry = new Set(needs.keys());
  let left = budget;
  while (hungry.size > 0) {
    const weights = [...hungry].reduce((sum, i) => sum + needs[i]!.weight, 0);
    const fair = (i: number) => left * needs[i]!.weight / weights;
    const sated = [...hungry].filter((i) => needs[i]!.seconds <= fair(i));
    const served = sated.length > 0 ? sated : [...hungry];
    const given = served.map((i) => Math.min(needs[i]!.seconds, fair(i)));
    served.forEach((i, at) => {
      shares[i] = given[at]!;
      hungry.delete(i);
    });
    left -= given.reduce((sum, seconds) => sum + seconds, 0);
  }
  return shares;
}

/**
 * How many steps each run is trained.
 *
 * @param budget In seconds; undefined for as many as the presets have.
 */
export function stepsOf(
  runs: readonly { readonly plan: RunPlan; readonly time: StepTime }[],
  budget: number | undefined,
): number[] {
  if (budget === undefined) return runs.map(({ time }) => time.steps);
  const shares = shareBudget(
    runs.map(({ plan: { weight = 1 }, time }) => ({
      weight,
      seconds: time.steps * time.secondsPerStep,
    })),
    budget,
  );
  return runs.map(({ time: { secondsPerStep, steps } }, i) =>
    Math.min(steps, Math.max(1, Math.round(shares[i]! / secondsPerStep)))
  );
}

/**
 * Settings of a run beside those of its preset: all that is counted in steps fits their number.
 *
 * @returns As for `--set`.
 */
export function settingsOf(
  experiment: Experiment,
  { model, settings = [] }: RunPlan,
  time: StepTime,
  steps: number,
): string[] {
  const all = [...settings, `steps=${steps}`];
  if (experiment.likelihood && model !== "gan") {
    all.push(`evaluateEvery=${Math.ceil(steps / CURVE_POINTS)}`);
  }
  if (steps === time.steps) return all;
  const often = Math.round(CHECKPOINT_SECONDS / time.secondsPerStep);
  all.push(
    `optimizer.warmupSteps=${
      Math.min(time.warmupSteps, Math.floor(steps / 10))
    }`,
    `logEvery=${Math.min(time.logEvery, Math.ceil(steps / 20))}`,
    `checkpointEvery=${Math.max(1, Math.min(time.checkpointEvery, often))}`,
    "sampleEvery=0", // but for the last
  );
  // Looks at the end, and bounds on the way, could take longer than the training.
  if (model === "ddpm") {
    all.push("samples.count=4", "samples.sampler=ddim", "samples.steps=10");
    all.push("evaluation.count=64");
  } else if (model !== "gan") {
    all.push("evaluation.count=256");
  }
  return all;
}

/** How a row is drawn from. */
export function drawOf(
  { draw = [], sampler }: Row,
  time: StepTime,
  options: { readonly asPublished: boolean; readonly samplingSteps?: number },
): string[] {
  if (!sampler) return [...draw];
  if (options.samplingSteps !== undefined) {
    const steps = Math.min(options.samplingSteps, time.timesteps!);
    const at = sampler.indexOf("--sampling-steps") + 1;
    return [...draw, ...sampler.with(at, String(steps))];
  }
  if (!options.asPublished) return [...draw, ...sampler];
  const all = String(time.timesteps!);
  return [...draw, "--sampler", "ddpm", "--sampling-steps", all];
}

/** Evaluations of the network for one image. */
function evaluationsOf(draw: readonly string[]): number {
  const at = draw.indexOf("--sampling-steps");
  return at < 0 ? 1 : Number(draw[at + 1]);
}

/**
 * How a run is judged besides its images' scores.
 *
 * @param count Images of each row.
 * @param isBudgeted Whether time is short: then less is looked at.
 * @returns Flags of `evaluate`.
 */
export function judgingOf(
  { likelihood }: Experiment,
  count: number,
  isBudgeted: boolean,
): string[] {
  const flags = likelihood ? [] : ["--only", "samples"];
  if (!isBudgeted) return flags;
  if (likelihood) flags.push("--bound-count", String(Math.min(256, count)));
  return [...flags, "--train-count", String(Math.max(1000, count))];
}

/** About how long it takes to draw one image of each row, in seconds. */
export function drawSeconds(
  rows: readonly {
    readonly draw: readonly string[];
    readonly time: StepTime;
  }[],
): number {
  return rows.reduce((sum, { draw, time }) => {
    const forward = FORWARD_SHARE * time.secondsPerStep / time.batchSize;
    return sum + evaluationsOf(draw) * forward;
  }, 0);
}

/** Images that are drawn for so many: whole batches, and one before, in which kernels are compiled. */
export function drawnFor(count: number): number {
  return BATCH * (Math.ceil(count / BATCH) + 1);
}

/**
 * How many images are drawn for each row: as in the experiment, but no more than there are real ones,
 * and under a budget, than can be drawn in about its time.
 *
 * @param secondsPerImage As `drawSeconds` gives.
 */
export function countOf(
  { count }: Experiment,
  real: number,
  secondsPerImage: number,
  budget = Infinity,
): number {
  const most = Math.min(count, real);
  const fits = (n: number) => drawnFor(n) * secondsPerImage <= budget;
  if (fits(most)) return most;
  const fewer = COUNTS.filter((n) => n < most);
  return fewer.find(fits) ?? Math.min(most, COUNTS.at(-1)!);
}
