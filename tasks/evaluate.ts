/**
 * `deno task evaluate RUN…`: how many bits a diffusion model needs for images, shown in its run folder.
 *
 * @module
 */
import { deviceFlag } from "./_device.ts"; // before the engine, which opens the device
import {
  type Dataset,
  type DiffusionLikelihood,
  rateDistortion,
  type Split,
} from "../mod.ts";
import { checkpointOf } from "./_checkpoint.ts";
import {
  defineCommand,
  onInterrupt,
  type Parsed,
  runTask,
  UsageError,
  userPath,
} from "./_cli.ts";
import { loadData } from "./_data.ts";
import { type DdpmModel, loadDdpm } from "./_ddpm.ts";
import { mergeEvaluation } from "./_evaluation.ts";
import {
  evaluationsOf,
  likelihoodOf,
  type LikelihoodOptions,
} from "./_likelihood.ts";
import { curvesSvg, svgToPng } from "./_plots.ts";
import { Progress } from "./_progress.ts";
import { RunFolder, writeAtomic } from "./_run_folder.ts";
import { taskInfo } from "./_tasks.ts";
import { formatTable } from "./_text.ts";
import { shapeOf } from "./_trainer.ts";
import { useTuned } from "./_tuned.ts";

/** What `deno task evaluate` accepts. */
export const command = defineCommand({
  ...taskInfo("evaluate"),
  positionals: [{
    name: "run",
    description: "Run folders of train ddpm, or checkpoints in them",
    repeated: true,
  }],
  flags: {
    ...deviceFlag,
    split: {
      type: "string",
      choices: ["train", "test"],
      description: "Images to evaluate on (default: both)",
    },
    count: {
      type: "integer",
      min: 1,
      default: 256,
      description: "Images of each split, at random; at most those there are",
    },
    timesteps: {
      type: "integer",
      min: 2,
      description:
        "Estimate from so many timesteps, spread at random (default: all, the exact sum)",
    },
    batchSize: {
      type: "integer",
      min: 1,
      default: 64,
      description: "Images that go through the network at once",
    },
    dataDir: {
      type: "string",
      placeholder: "DIR",
      description:
        "A folder that already holds the data set's files; nothing is downloaded then",
    },
    ema: {
      type: "boolean",
      default: true,
      description: "Evaluate the last weights, not their moving average",
    },
  },
  notes:
    "The bound on the negative log likelihood of 8-bit images is the sum of L_T, the prior; of terms for each timestep, the rate; and of L_0, the distortion that is left. All are in bits per dimension, and fewer are better. ± is the standard error, as the images are a sample; --timesteps adds to it, about 2 % with 20 and 0.4 % with 50. The run keeps them in evaluation.json and draws the terms in likelihood-terms.png.",
});

type Flags = Parsed<typeof command.flags>["flags"];

/** A run that can be evaluated. */
interface Candidate {
  readonly run: RunFolder;
  readonly model: DdpmModel;
  /** Optimizer steps. */
  readonly step: number;
  /** Of the training data. */
  readonly checksum: unknown;
}

async function open(
  path: string,
  flags: Flags,
  say: (text: string) => void,
): Promise<Candidate> {
  const run = await RunFolder.open(path);
  const { config, run: { dataChecksum } } = await run.readConfig();
  const refuse = (why: string) => {
    throw new UsageError(`Cannot evaluate ${run.path} as ${why}`);
  };
  if (config.model !== "ddpm") {
    refuse(`bits per dimension are of ddpm: it is a run of ${config.model}`);
  }
  if (config.latent !== undefined) {
    refuse(
      "it models latents, whose likelihood is not that of images: evaluate a run without latent",
    );
  }
  const checkpoint = await checkpointOf(run, path, say);
  const { model, step } = loadDdpm(
    checkpoint.bytes,
    checkpoint.path,
    flags.ema,
  );
  const { timesteps } = model.diffusion;
  if (flags.timesteps !== undefined && flags.timesteps > timesteps) {
    refuse(
      `--timesteps must be at most its ${timesteps}: given ${flags.timesteps}`,
    );
  }
  return { run, model, step, checksum: dataChecksum };
}

/** The images to evaluate on, by split. */
async function loadSplits(
  { run, model, checksum }: Candidate,
  flags: Flags,
  say: (text: string) => void,
  quiet: boolean,
): Promise<Map<Split, Dataset>> {
  const splits = new Map<Split, Dataset>();
  const wanted: readonly Split[] = flags.split
    ? [flags.split]
    : ["train", "test"];
  for (const split of wanted) {
    const dataset = await loadData(model.config, split, flags, quiet);
    if (split === "train" && dataset.checksum !== checksum) {
      throw new UsageError(
        `Cannot evaluate ${run.path} as the training data differ from those it was trained on: sha256 ` +
          `is ${dataset.checksum}, was ${checksum}`,
      );
    }
    if (split === "test" && dataset.checksum === checksum) {
      const why =
        `${dataset.title} has no test images apart from those it was trained on`;
      if (flags.split) {
        throw new UsageError(`Cannot evaluate ${run.path} as ${why}`);
      }
      say(`warning: ${why}: evaluating on train alone`);
      continue;
    }
    const [found, known] = [shapeOf(dataset), model.shape]
      .map((shape) => JSON.stringify(shape));
    if (found !== known) {
      throw new UsageError(
        `Cannot evaluate ${run.path} on ${split} images as they are ${found}, not ${known}`,
      );
    }
    splits.set(split, dataset);
  }
  return splits;
}

/** Sums of a likelihood that have names. */
function partsOf(found: DiffusionLikelihood) {
  const { prior, terms, total, x0Mse } = found;
  const decoder = terms[0]!;
  return {
    images: found.perImage.length,
    bitsPerDim: total,
    standardError: found.standardError,
    prior, // L_T
    rate: total - prior - decoder, // L_1 … L_{T-1}
    decoder, // L_0
    rmse: Math.sqrt(x0Mse[0]!) * 127.5, // of x̂_0 at t = 0, of 0 to 255
  };
}

/** For `evaluation.json`. */
function recordOf(found: DiffusionLikelihood, checksum: string) {
  const { t, spans, terms, x0Mse, epsMse } = found;
  const curve = rateDistortion(found);
  return {
    checksum,
    ...partsOf(found),
    t: [...t],
    spans: [...spans], // timesteps that each stands for
    terms: [...terms],
    x0Mse: [...x0Mse],
    epsMse: [...epsMse],
    rateDistortion: {
      t: curve.map(({ t }) => t),
      rate: curve.map(({ rate }) => rate),
      rmse: curve.map(({ rmse }) => rmse),
    },
  };
}

/** Draws the terms of the bound. */
async function drawTerms(
  run: RunFolder,
  found: ReadonlyMap<Split, DiffusionLikelihood>,
): Promise<void> {
  const curves = [...found].map(([split, { t, terms }]) => ({
    name: split,
    steps: [...t],
    values: [...terms],
  }));
  const sums = [...found].map(([split, { total }]) =>
    `${total.toFixed(3)} on ${split}`
  );
  const svg = await curvesSvg(curves, {
    title: `${run.name}: bits/dim by timestep, in all ${sums.join(", ")}`,
    xTitle: "Timestep",
    yTitle: "Term of the bound (bits/dim)",
    logY: true,
    smoothing: 0.01,
  });
  await writeAtomic(run.file("likelihood-terms.svg"), svg);
  await writeAtomic(run.file("likelihood-terms.png"), await svgToPng(svg));
}

/** Computes the bound of a run on every split; undefined if cancelled. */
async function evaluate(
  candidate: Candidate,
  splits: ReadonlyMap<Split, Dataset>,
  options: LikelihoodOptions,
  quiet: boolean,
): Promise<Map<Split, DiffusionLikelihood> | undefined> {
  const { run, model } = candidate;
  const total = [...splits.values()].reduce(
    (sum, dataset) => sum + evaluationsOf(model, dataset, options),
    0,
  );
  using progress = new Progress({
    label: `Evaluating ${run.name} at step ${candidate.step}`,
    total,
    unit: "evaluations",
    quiet,
  });
  let done = 0;
  const found = new Map<Split, DiffusionLikelihood>();
  for (const [split, dataset] of splits) {
    const likelihood = await likelihoodOf(model, dataset, {
      ...options,
      onStep: () => progress.update(++done),
    });
    if (!likelihood) return undefined;
    if (!Number.isFinite(likelihood.total)) {
      throw new Error(
        `Cannot evaluate ${run.path} as its network gives no finite numbers: the bound on ${split} ` +
          `images is ${likelihood.total}`,
      );
    }
    found.set(split, likelihood);
  }
  progress.finish();
  return found;
}

/** One line per run and split. */
function tableOf(
  rows: readonly (readonly [RunFolder, Split, DiffusionLikelihood])[],
): string {
  const head = ["Run", "Split", "Images", "Bits/dim", "±"];
  const numbers = [...head, "L_T", "L_1…T-1", "L_0", "RMSE of 255"];
  return formatTable([
    numbers,
    ...rows.map(([run, split, found]) => {
      const parts = partsOf(found);
      return [
        run.name,
        split,
        String(parts.images),
        parts.bitsPerDim.toFixed(3),
        parts.standardError.toFixed(3),
        parts.prior.toExponential(1),
        parts.rate.toFixed(3),
        parts.decoder.toFixed(3),
        parts.rmse.toFixed(2),
      ];
    }),
  ], { right: numbers.map((_, i) => i).slice(2) });
}

/**
 * Evaluates and writes what it found.
 *
 * @param parsed The command line.
 */
export async function main(
  { positionals, flags, json }: Parsed<typeof command.flags>,
): Promise<void> {
  useTuned();
  const say = (text: string) => json ? undefined : console.error(text);
  const candidates: Candidate[] = [];
  for (const path of positionals) {
    candidates.push(await open(userPath(path), flags, say));
  }
  let interrupted = false;
  using _ = onInterrupt(() => interrupted = true);
  const { count, timesteps, batchSize, ema } = flags;
  const options = {
    count,
    timesteps,
    batchSize,
    isCancelled: () => interrupted,
  };
  const rows: [RunFolder, Split, DiffusionLikelihood][] = [];
  const results: Record<string, unknown>[] = [];
  for (const candidate of candidates) {
    const { run, model, step } = candidate;
    const splits = await loadSplits(candidate, flags, say, json);
    const found = await evaluate(candidate, splits, options, json);
    if (!found) {
      throw new Error(`Interrupted: nothing was written to ${run.path}`);
    }
    await drawTerms(run, found);
    const visited = timesteps ?? model.diffusion.timesteps;
    const settings = { step, ema, seed: model.config.seed, timesteps: visited };
    await mergeEvaluation(run, {
      likelihood: {
        ...settings,
        ...Object.fromEntries(
          [...found].map((
            [split, likelihood],
          ) => [split, recordOf(likelihood, splits.get(split)!.checksum)]),
        ),
      },
    });
    for (const [split, likelihood] of found) {
      rows.push([run, split, likelihood]);
      results.push({
        run: run.path,
        split,
        ...settings,
        ...partsOf(likelihood),
      });
    }
    say(
      `Wrote ${run.file("evaluation.json")} and ${
        run.file("likelihood-terms.png")
      }`,
    );
  }
  if (json) console.log(JSON.stringify(results));
  else console.log(tableOf(rows));
}

if (import.meta.main) await runTask(command, main);
