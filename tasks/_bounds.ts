/**
 * How well the models of runs bound the likelihood of images, for `evaluation.json`: diffusion models and
 * VAEs. GANs have none.
 *
 * @module
 */
import {
  type Dataset,
  type DiffusionLikelihood,
  rateDistortion,
  type Split,
} from "../mod.ts";
import { UsageError } from "./_cli.ts";
import {
  type Bound,
  type Evaluation,
  mergeEvaluation,
  readEvaluation,
} from "./_evaluation.ts";
import { Interrupted } from "./_image_source.ts";
import { evaluationsOf, likelihoodOf } from "./_likelihood.ts";
import { curvesSvg, svgToPng } from "./_plots.ts";
import { Progress } from "./_progress.ts";
import { type RunFolder, writeAtomic } from "./_run_folder.ts";
import type { Subject } from "./_subject.ts";
import { shapeOf } from "./_trainer.ts";

/** Of which images, and how well. */
export interface BoundOptions {
  /** Default: both. */
  split?: Split;
  /** Images of each split. */
  boundCount: number;
  /** Of diffusion: visited timesteps; default: 50, or all if there are fewer. */
  timesteps?: number;
  /** Images that go through the network at once. */
  batchSize: number;
}

/** Timesteps that are visited unless told otherwise. */
const TIMESTEPS = 50;

/** A bound, and what it consists of. */
type Terms = Bound & Record<string, unknown>;

/** A bound with all that `evaluation.json` says of it. */
export type BoundRecord = Terms & { checksum: string };

/** A model whose likelihood is bounded. */
interface Bounded {
  /** What the numbers depend on besides the images. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Steps of which progress tells. */
  steps(dataset: Dataset): number;
  /** Undefined if cancelled. */
  bound(dataset: Dataset, onStep: () => void): Promise<Terms | undefined>;
  /** Draws what was found. */
  draw?(found: ReadonlyMap<Split, BoundRecord>): Promise<void>;
  dispose(): void;
}

/** Sums of the terms that have names, and the terms. */
function recordOf(found: DiffusionLikelihood): Terms {
  const { t, spans, terms, x0Mse, epsMse, prior, total } = found;
  const decoder = terms[0]!;
  const curve = rateDistortion(found);
  return {
    images: found.perImage.length,
    comparable: true,
    bitsPerDim: total,
    standardError: found.standardError,
    prior, // L_T
    rate: total - prior - decoder, // L_1 … L_{T-1}
    decoder, // L_0
    rmse: Math.sqrt(x0Mse[0]!) * 127.5, // of x̂_0 at t = 0, of 0 to 255
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

/** Draws the terms of the bound of a diffusion model. */
async function drawTerms(
  run: RunFolder,
  found: ReadonlyMap<Split, BoundRecord>,
): Promise<void> {
  const curves = [...found].map(([split, { t, terms }]) => ({
    name: split,
    steps: t as number[],
    values: terms as number[],
  }));
  const sums = [...found].map(([split, { bitsPerDim }]) =>
    `${bitsPerDim!.toFixed(3)} on ${split}`
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

function ofDiffusion(subject: Subject, options: BoundOptions): Bounded {
  const { run, options: { isCancelled } } = subject;
  const model = subject.load("ddpm");
  const { timesteps: all } = model.diffusion;
  const { timesteps = Math.min(TIMESTEPS, all) } = options;
  if (timesteps > all) {
    throw new UsageError(
      `Cannot evaluate ${run.path} as --timesteps must be at most its ${all}: given ${timesteps}`,
    );
  }
  const { boundCount: count, batchSize } = options;
  const how = { count, timesteps, batchSize, isCancelled };
  return {
    settings: { timesteps },
    steps: (dataset) => evaluationsOf(model, dataset, how),
    async bound(dataset, onStep) {
      const found = await likelihoodOf(model, dataset, { ...how, onStep });
      return found && recordOf(found);
    },
    draw: (found) => drawTerms(run, found),
    dispose: () => model.network.dispose(),
  };
}

function ofVae(subject: Subject, { boundCount: count }: BoundOptions): Bounded {
  const { isCancelled } = subject.options;
  const model = subject.load("vae");
  const { likelihood, evaluation: { importanceSamples: samples } } =
    model.config;
  const comparable = likelihood.type === "discretized";
  return {
    settings: { samples, likelihood: likelihood.type },
    steps: (dataset) => Math.min(count, dataset.length),
    async bound(dataset, onStep) {
      let done = 0;
      const found = await model.bound(dataset, {
        count,
        samples,
        isCancelled,
        onImages: (images) => {
          for (; done < images; done++) onStep();
        },
      });
      if (!found) return undefined;
      const { elbo, iwae, reconstruction, kl, bits_per_dim } = found;
      const { channels, height, width } = dataset;
      const bits = channels * height * width * Math.LN2;
      return {
        images: Math.min(count, dataset.length),
        comparable,
        ...(comparable
          ? {
            bitsPerDim: bits_per_dim,
            standardError: found.standardError / bits,
          }
          : {}),
        elboNats: elbo,
        reconstructionNats: reconstruction,
        klNats: kl,
        iwaeNats: iwae,
        latentsInUse: found.latents_in_use,
      };
    },
    dispose: () => model.network.dispose(),
  };
}

/** The model, or why its likelihood has no bound. */
function boundedOf(subject: Subject, options: BoundOptions): Bounded | string {
  const { kind, config } = subject;
  if (kind === "gan") return "GANs have none";
  if (kind === "vae") return ofVae(subject, options);
  const isLatent = kind === "joint" ||
    "latent" in config && config.latent !== undefined;
  return isLatent
    ? "it models latents, whose likelihood is not that of images"
    : ofDiffusion(subject, options);
}

/** The images to evaluate on, by split. */
async function splitsOf(
  subject: Subject,
  { split }: BoundOptions,
): Promise<Map<Split, Dataset>> {
  const { run, options: { say } } = subject;
  const train = await subject.train(), test = await subject.test();
  const splits = new Map<Split, Dataset>();
  if (split !== "test") splits.set("train", train);
  if (split === "train") return splits;
  if (test) {
    const [found, known] = [test, train].map((data) => {
      const { channels, height, width } = shapeOf(data);
      return `${channels} × ${height} × ${width}`;
    });
    if (found !== known) {
      throw new UsageError(
        `Cannot evaluate ${run.path} on test images as they are ${found}, not ${known}`,
      );
    }
    return splits.set("test", test);
  }
  const why =
    `${train.title} has no test images apart from those it was trained on`;
  if (split === "test") {
    throw new UsageError(`Cannot evaluate ${run.path} as ${why}`);
  }
  say(`warning: ${why}: its likelihood is evaluated on train alone`);
  return splits;
}

/**
 * Bounds the likelihood of images under a run's model, and writes each split to `evaluation.json` as soon as
 * it is done. What is there from before, of the same images and settings, is not computed again.
 *
 * @returns What `evaluation.json` says then; undefined if the model's likelihood has no bound, which is said.
 * @throws {Interrupted} If cancelled.
 */
export async function evaluateBounds(
  subject: Subject,
  options: BoundOptions,
): Promise<Evaluation["likelihood"] | undefined> {
  const { run, step, config, options: { ema, say, quiet } } = subject;
  const bounded = boundedOf(subject, options);
  if (typeof bounded === "string") {
    say(`${run.name}: no likelihood, as ${bounded}`);
    return undefined;
  }
  try {
    const splits = await splitsOf(subject, options);
    const settings = { step, ema, seed: config.seed, ...bounded.settings };
    const { train, test, ...before } = (await readEvaluation(run)).likelihood ??
      {};
    const known: Partial<Record<Split, unknown>> =
      JSON.stringify(before) === JSON.stringify(settings)
        ? { train, test }
        : {};
    const found = new Map<Split, BoundRecord>();
    for (const [split, dataset] of splits) {
      const old = known[split] as BoundRecord | undefined;
      const images = Math.min(options.boundCount, dataset.length);
      const isThere = old?.checksum === dataset.checksum &&
        old.images === images;
      if (isThere) say(`${run.name}: the bound on ${split} images is there`);
      const record = isThere
        ? old
        : await boundOf(bounded, dataset, `${run.name} on ${split}`, quiet);
      found.set(split, record);
      known[split] = record;
      const likelihood = { ...settings, ...known } as Evaluation["likelihood"];
      await mergeEvaluation(run, { likelihood });
    }
    await bounded.draw?.(found);
    return { ...settings, ...Object.fromEntries(found) };
  } finally {
    bounded.dispose();
  }
}

async function boundOf(
  bounded: Bounded,
  dataset: Dataset,
  label: string,
  quiet: boolean,
): Promise<BoundRecord> {
  using progress = new Progress({
    label: `Likelihood of ${label}`,
    total: bounded.steps(dataset),
    unit: "evaluations",
    quiet,
  });
  let done = 0;
  const bound = await bounded.bound(dataset, () => progress.update(++done));
  if (!bound) {
    throw new Interrupted(
      "Interrupted: what was found before is kept, and the same command goes on from there",
    );
  }
  const value = bound.bitsPerDim ?? bound.elboNats!;
  if (!Number.isFinite(value)) {
    throw new Error(
      `Cannot evaluate ${label} images as the network gives no finite numbers: the bound is ${value}`,
    );
  }
  progress.finish();
  return { checksum: dataset.checksum, ...bound };
}
