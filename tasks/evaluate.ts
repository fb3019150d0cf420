/**
 * `deno task evaluate RUN…`: everything that is measured of a run, kept in its `evaluation.json`.
 *
 * @module
 */
import { deviceFlag } from "./_device.ts"; // before the engine, which opens the device
import type { Split } from "../mod.ts";
import { type BoundRecord, evaluateBounds } from "./_bounds.ts";
import {
  defineCommand,
  onInterrupt,
  type Parsed,
  runTask,
  UsageError,
  userPath,
} from "./_cli.ts";
import { drawingFlags, type Way } from "./_drawn.ts";
import {
  type Evaluation,
  mergeEvaluation,
  type RunFacts,
  type SampleScores,
} from "./_evaluation.ts";
import { extractorFlags } from "./_extractors.ts";
import { cacheFlag } from "./_features.ts";
import { Interrupted } from "./_image_source.ts";
import { Judge, type Plan } from "./_judge.ts";
import { Subject, type SubjectOptions } from "./_subject.ts";
import { taskInfo } from "./_tasks.ts";
import { formatTable } from "./_text.ts";
import { useTuned } from "./_tuned.ts";

/** What `deno task evaluate` accepts. */
export const command = defineCommand({
  ...taskInfo("evaluate"),
  positionals: [{
    name: "run",
    description: "Run folders, or checkpoints in them",
    repeated: true,
  }],
  flags: {
    ...deviceFlag,
    only: {
      type: "string",
      choices: ["likelihood", "samples"],
      description: "Evaluate this part alone (default: both)",
    },
    count: {
      type: "integer",
      min: 1,
      default: 1000,
      description: "Images to draw, and as many real ones to compare them with",
    },
    against: {
      type: "string",
      placeholder: "DATASET/SPLIT[:CLASS]",
      description:
        "Real images (default: the test images of the run's data set, of its classes)",
    },
    ...extractorFlags,
    nearestK: {
      type: "integer",
      min: 1,
      default: 5,
      description: "Neighbours of precision, recall, density and coverage",
    },
    trainCount: {
      type: "integer",
      min: 1,
      default: 10_000,
      description:
        "Most training images among which the nearest to each drawn one is looked for",
    },
    sweepSteps: {
      type: "list",
      placeholder: "N,N,…",
      description:
        "Evaluate each of these numbers of --sampling-steps, for a curve",
    },
    sweepGuidance: {
      type: "list",
      placeholder: "X,X,…",
      description: "Evaluate each of these values of --guidance, for a curve",
    },
    ...drawingFlags,
    ema: {
      type: "boolean",
      default: true,
      description: "Evaluate the last weights, not their moving average",
    },
    dataDir: {
      type: "string",
      placeholder: "DIR",
      description:
        "A folder that already holds the data set's files; nothing is downloaded then",
    },
    ...cacheFlag,
    split: {
      type: "string",
      choices: ["train", "test"],
      description: "Images whose likelihood is bounded (default: both)",
    },
    boundCount: {
      type: "integer",
      min: 1,
      default: 256,
      description:
        "Images of each split whose likelihood is bounded; at most those there are",
    },
    timesteps: {
      type: "integer",
      min: 2,
      description:
        "Timesteps of the bound of diffusion, spread at random; all of them give the exact sum (default: 50)",
    },
    batchSize: {
      type: "integer",
      min: 1,
      default: 64,
      description: "Images that the bound sends through the network at once",
    },
  },
  notes: [
    "Images are drawn once for each way to draw, into RUN/evaluations, and compared with as many real ones by features of a network. Beside every score stands its floor: what real training images score. Only scores of equal n, extractor, resize and real images are comparable; deno task compare sees to that.",
    "The bound on the negative log likelihood of 8-bit images, of diffusion, is the sum of L_T, the prior; of terms for each timestep, the rate; and of L_0, the distortion that is left. All are in bits per dimension, and fewer are better. ± is the standard error, as the images are a sample; --timesteps adds to it, about 2 % with 20 and 0.4 % with 50. Of a VAE it is the ELBO in nats per image, and in bits per dimension if its likelihood is discretized.",
    "Everything is written to the run's evaluation.json as soon as it is known. What was interrupted goes on when called again, and what is there is not computed again.",
  ].join("\n\n"),
});

type Flags = Parsed<typeof command.flags>["flags"];

/** What one run gave. */
interface Result extends Evaluation {
  readonly name: string;
  readonly path: string;
  readonly facts: RunFacts;
  readonly samples: SampleScores[];
}

/** The numbers of a list flag. */
function numbersOf(
  flag: string,
  words: readonly string[] | undefined,
  isValid: (value: number) => boolean,
): (number | undefined)[] {
  if (!words) return [undefined];
  return words.map((word) => {
    const value = Number(word);
    if (word !== "" && isValid(value)) return value;
    throw new UsageError(`${flag} must be a list of numbers: given "${word}"`);
  });
}

/** All ways to draw that the flags ask for. */
function waysOf(flags: Flags, given: ReadonlySet<string>): Way[] {
  const steps = numbersOf(
    "--sweep-steps",
    flags.sweepSteps,
    (value) => Number.isInteger(value) && value >= 1,
  );
  const scales = numbersOf(
    "--sweep-guidance",
    flags.sweepGuidance,
    (value) => value >= 0 && value < Infinity,
  );
  const own = Object.keys(drawingFlags).filter((name) => given.has(name));
  return steps.flatMap((samplingSteps) =>
    scales.map((guidance) => {
      const swept = Object.fromEntries(
        Object.entries({ samplingSteps, guidance })
          .filter(([, value]) => value !== undefined),
      );
      return {
        flags: { ...flags, ...swept },
        given: new Set([...own, ...Object.keys(swept)]),
      };
    })
  );
}

/** Evaluates a run, and keeps what is found in it. */
async function evaluate(
  path: string,
  flags: Flags,
  ways: readonly Way[],
  judge: Judge,
  options: SubjectOptions,
): Promise<Result> {
  const subject = await Subject.open(path, options);
  const { run } = subject;
  const plans: Plan[] = [];
  for (const way of flags.only === "likelihood" ? [] : ways) {
    plans.push(await judge.plan(subject, way));
  }
  const facts = subject.facts();
  await mergeEvaluation(run, { facts });
  const likelihood = flags.only === "samples"
    ? undefined
    : await evaluateBounds(subject, flags);
  const samples: SampleScores[] = [];
  for (const plan of plans) samples.push(await judge.evaluate(plan));
  options.say(`Wrote ${run.file("evaluation.json")}`);
  return { name: run.name, path: run.path, facts, likelihood, samples };
}

/** A table without the columns that no row has a value for. */
function tableOf(
  rows: readonly Readonly<Record<string, string | undefined>>[],
  left: number,
): string {
  const keys = [...new Set(rows.flatMap((row) => Object.keys(row)))]
    .filter((key) => rows.some((row) => row[key] !== undefined));
  return formatTable(
    [keys, ...rows.map((row) => keys.map((key) => row[key] ?? ""))],
    { right: keys.map((_, i) => i).slice(left) },
  );
}

/** One line per run and split. */
function boundTable(results: readonly Result[]): string | undefined {
  const fixed = (value: unknown, digits = 3) =>
    typeof value === "number" ? value.toFixed(digits) : undefined;
  const rows = results.flatMap(({ name, likelihood }) =>
    (["train", "test"] as const satisfies Split[]).flatMap((split) => {
      const found = likelihood?.[split] as BoundRecord | undefined;
      if (!found) return [];
      return [{
        Run: name,
        Split: split,
        Images: String(found.images),
        "Bits/dim": fixed(found.bitsPerDim),
        "±": fixed(found.standardError),
        "L_T": (found.prior as number | undefined)?.toExponential(1),
        "L_1…T-1": fixed(found.rate),
        "L_0": fixed(found.decoder),
        "RMSE of 255": fixed(found.rmse, 2),
        "ELBO (nats)": fixed(found.elboNats, 2),
        "Reconstruction": fixed(found.reconstructionNats, 2),
        "KL": fixed(found.klNats, 2),
        "IWAE": fixed(found.iwaeNats, 2),
      }];
    })
  );
  return rows.length === 0 ? undefined : tableOf(rows, 2);
}

/** Four digits or more, without an exponent. */
function inDigits(value: number): string {
  return Math.abs(value) >= 1000 ? value.toFixed(0) : value.toPrecision(4);
}

/** One line per way to draw. */
function scoreTable(results: readonly Result[]): string | undefined {
  const rows = results.flatMap(({ name, samples }) =>
    samples.map((
      { id, provenance, frechet, kernel, cost, ...rest },
    ) => {
      const { precision, recall, density, coverage } = rest;
      return {
        Run: name,
        Way: id,
        n: String(provenance.count),
        [`${provenance.extractor.prefix}FID`]: inDigits(frechet.value),
        floor: inDigits(frechet.floor!),
        "KID×10³": inDigits(1000 * kernel.value),
        P: precision.value.toFixed(3),
        R: recall.value.toFixed(3),
        D: density.value.toFixed(3),
        C: coverage.value.toFixed(3),
        NFE: String(provenance.nfe),
        "ms/image": cost.msPerImage.toPrecision(3),
      };
    })
  );
  return rows.length === 0 ? undefined : tableOf(rows, 2);
}

/**
 * Evaluates runs. One that fails does not keep the others from being evaluated.
 *
 * @param parsed The command line.
 * @param options Who is told, and asked.
 * @throws {UsageError} If one of them is none, or there is one and it cannot be evaluated.
 * @throws {Interrupted} If cancelled; what is found is in the runs.
 */
export async function evaluateRuns(
  { positionals, flags, given }: Pick<Parsed, "positionals"> & {
    flags: Flags;
    given: ReadonlySet<string>;
  },
  { say, quiet, isCancelled }: Omit<SubjectOptions, "ema" | "dataDir">,
): Promise<{ results: Result[]; failures: [path: string, error: unknown][] }> {
  const { ema, dataDir } = flags;
  const options = { ema, dataDir, say, quiet, isCancelled };
  const ways = waysOf(flags, given);
  const paths = positionals.map((path) => userPath(path));
  // What is wrong with any of them is told before the first takes long.
  for (const path of paths) await Subject.open(path, options);
  await using judge = new Judge(flags);
  const results: Result[] = [];
  const failures: [path: string, error: unknown][] = [];
  for (const path of paths) {
    try {
      results.push(await evaluate(path, flags, ways, judge, options));
    } catch (error) {
      if (error instanceof Interrupted || paths.length === 1) throw error;
      failures.push([path, error]);
      say(`error: ${error instanceof Error ? error.message : error}`);
    }
  }
  return { results, failures };
}

/**
 * Evaluates runs and prints what it found.
 *
 * @param parsed The command line.
 */
export async function main(
  parsed: Parsed<typeof command.flags>,
): Promise<void> {
  const { positionals, json } = parsed;
  useTuned();
  let interrupted = false;
  using _ = onInterrupt(() => interrupted = true);
  const { results, failures } = await evaluateRuns(parsed, {
    say: (text) => json ? undefined : console.error(text),
    quiet: json,
    isCancelled: () => interrupted,
  });
  if (json) console.log(JSON.stringify(results));
  else {
    const tables = [boundTable(results), scoreTable(results)]
      .filter((table) => table !== undefined);
    if (tables.length > 0) console.log(tables.join("\n\n"));
  }
  if (failures.length === 0) return;
  const Kind = failures.every(([, error]) => error instanceof UsageError)
    ? UsageError
    : Error;
  throw new Kind(
    `Cannot evaluate ${failures.length} of ${positionals.length} runs: ${
      failures.map(([path]) => path).join(", ")
    }`,
  );
}

if (import.meta.main) await runTask(command, main);
