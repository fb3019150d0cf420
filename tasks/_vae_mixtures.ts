/**
 * What a variational autoencoder makes of its training images, and mixtures of normal distributions
 * that follow it where the prior does not: for each class, or one for all.
 *
 * @module
 */
import {
  ClassMixtures,
  type ClassMixturesState,
  type Dataset,
  GaussianMixture,
  type MixtureState,
  noGrad,
  type Points,
  Rng,
  scope,
  tensor,
  turn,
} from "../mod.ts";
import { spread } from "./_autoencoder.ts";
import { UsageError } from "./_cli.ts";
import { type RunFolder, writeAtomic } from "./_run_folder.ts";
import { VAE_STREAM, type VaeModel } from "./_vae.ts";

/** Components of the mixture of a class, if not told. */
const OF_A_CLASS = 3;
/** Most components of one mixture for all, if not told. */
const OF_ALL = 10;

/** Of training images, row by row. */
export interface Latents {
  /** Means of q(z | x), `[N, latent]`. */
  means: Points<Float32Array<ArrayBuffer>>;
  /** Logarithms of its variances, like the means. */
  logVariances: Float32Array<ArrayBuffer>;
  /** Of the classes trained on, `[N]`. */
  labels: Int32Array<ArrayBuffer>;
}

/** Encodes images, at most `count`, spread over the data set. */
export async function latentsOf(
  model: VaeModel,
  dataset: Dataset,
  count = dataset.length,
): Promise<Latents> {
  const { channels, height, width } = dataset;
  const { latent, seed } = model.config;
  const n = Math.min(count, dataset.length);
  const means = new Float32Array(n * latent);
  const logVariances = new Float32Array(n * latent);
  const all = new Int32Array(n);
  const rng = new Rng(seed, VAE_STREAM.evaluation);
  let from = 0;
  for (const { images, labels } of spread(dataset, n)) {
    const x = [labels.length, channels, height, width];
    const [mean, logVariance] = await scope(() =>
      noGrad(() => {
        const found = model.posterior(tensor(images, x), tensor(labels), rng);
        return Promise.all([found.mean.data(), found.logVariance.data()]);
      })
    );
    means.set(mean as Float32Array, from * latent);
    logVariances.set(logVariance as Float32Array, from * latent);
    all.set(labels, from);
    from += labels.length;
    await turn();
  }
  return {
    means: { data: means, shape: [n, latent] },
    logVariances,
    labels: all,
  };
}

/** `gmm.json` of a run: the mixtures of one checkpoint. */
interface Stored {
  step: number;
  /** Whether the moving average of the weights has encoded. */
  ema: boolean;
  /** By what they are of, and the number of components asked for. */
  mixtures: Record<string, ClassMixturesState | MixtureState>;
}

/** What mixtures are of. */
export interface MixtureChoice {
  of: "class" | "all";
  /** Of every class; or of all, at most. Default: 3, or 10. */
  components?: number;
  /** Optimizer steps of the checkpoint. */
  step: number;
  /** Whether its moving average is taken. */
  ema: boolean;
}

/** Mixtures of a choice. */
export type Mixtures = ClassMixtures | GaussianMixture;

/**
 * Mixtures that are stored in the run for its checkpoint, or else are fitted to what `latents` gives,
 * and stored.
 *
 * @returns Whether they were `fitted` now, besides.
 * @throws {UsageError} If they cannot be fitted, with the name of the class.
 */
export async function openMixtures(
  run: RunFolder,
  model: VaeModel,
  choice: MixtureChoice,
  latents: () => Promise<Latents>,
): Promise<{ mixtures: Mixtures; fitted?: Latents }> {
  const { of, step, ema } = choice;
  const components = choice.components ??
    (of === "class" ? OF_A_CLASS : OF_ALL);
  const key = `${of}-${components}`;
  const before = await readStored(run);
  const fits = before?.step === step && before.ema === ema;
  const known = fits ? before.mixtures[key] : undefined;
  if (known) {
    const mixtures = of === "class"
      ? ClassMixtures.fromJSON(known as ClassMixturesState)
      : GaussianMixture.fromJSON(known as MixtureState);
    return { mixtures };
  }
  const fitted = await latents();
  const mixtures = fit(model, fitted, of, components);
  const stored: Stored = {
    step,
    ema,
    mixtures: {
      ...(fits ? before.mixtures : {}),
      [key]: mixtures.toJSON(),
    },
  };
  await writeAtomic(run.file("gmm.json"), `${JSON.stringify(stored)}\n`);
  return { mixtures, fitted };
}

function fit(
  { config, shape: { classNames } }: VaeModel,
  { means, labels }: Latents,
  of: MixtureChoice["of"],
  components: number,
): Mixtures {
  const rng = new Rng(config.seed, VAE_STREAM.mixture);
  try {
    if (of === "all") {
      return GaussianMixture.fitBest(means, components, { rng });
    }
    const classes = classNames.length;
    return ClassMixtures.fit(means, labels, { components, classes, rng });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const text = error.message.replace(
      /^Class (\d+): /,
      (_, id) => `Class "${classNames[Number(id)]}": `,
    );
    throw new UsageError(`${text}. Fewer --components may do`, {
      cause: error,
    });
  }
}

async function readStored(run: RunFolder): Promise<Stored | undefined> {
  const path = run.file("gmm.json");
  try {
    return JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    if (!(error instanceof SyntaxError)) throw error;
    throw new UsageError(
      `Cannot read ${path}: ${error.message}. Delete it, and the mixtures are fitted anew`,
      { cause: error },
    );
  }
}
