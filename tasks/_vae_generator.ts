/**
 * Drawing from variational autoencoders: decoded draws from the prior, or from where training images
 * have their latents.
 *
 * @module
 */
import {
  add,
  ClassMixtures,
  type GaussianMixture,
  mul,
  Rng,
  scope,
  type Tensor,
  tensor,
  turn,
} from "../mod.ts";
import { philoxWords, toUnit } from "../tensor/philox.ts";
import { between } from "./_between.ts";
import {
  asUsage,
  type Flags as FlagTable,
  type FlagValues,
  UsageError,
} from "./_cli.ts";
import { loadData } from "./_data.ts";
import {
  classFlag,
  defineGenerator,
  type drawFlags,
  type GenerateOptions,
  type GeneratorSource,
  interpolateFlag,
} from "./_generator.ts";
import { loadVae, VAE_STREAM, type VaeModel } from "./_vae.ts";
import { saveLatents } from "./_vae_figures.ts";
import { type Latents, latentsOf, openMixtures } from "./_vae_mixtures.ts";

/** Images that are decoded at once. */
const BATCH = 64;

const FLAGS = {
  ...classFlag,
  ...interpolateFlag,
  gmm: {
    type: "string",
    choices: ["class", "all", "posterior"],
    optionalValue: true,
    placeholder: "HOW",
    description:
      "Draw latents of a VAE where those of training images are, instead of from the prior: from a mixture of normal distributions for each class (class, the default, with equal shares), from one for all (all), or from the posteriors themselves (posterior)",
  },
  components: {
    type: "integer",
    min: 1,
    description:
      "Components of the mixture of each class (default: 3), or the most of one for all, of which the best number by BIC is taken (default: 10)",
  },
  minResponsibility: {
    type: "number",
    min: 0,
    max: 0.999,
    description:
      "Draw latents again whose class is less certain than this, for --gmm class",
  },
  dataDir: {
    type: "string",
    placeholder: "DIR",
    description:
      "A folder that holds the training data, which --gmm needs; nothing is downloaded then",
  },
} as const satisfies FlagTable;

type Flags = FlagValues<typeof FLAGS & typeof drawFlags>;

/** Latents of images number `first` on, `[count, latent]`. */
type Draw = (options: GenerateOptions) => Tensor | Promise<Tensor>;

/** Where latents are drawn from, in words. */
const WAYS = {
  prior: "the prior",
  class: "a mixture for each class",
  all: "one mixture",
  posterior: "the posteriors",
} as const;

type Way = keyof typeof WAYS;

function wayOf({ gmm }: Flags): Way {
  return gmm === undefined ? "prior" : gmm || "class";
}

/** Says what does not fit the model, or each other. */
function check(model: VaeModel, flags: Flags): void {
  const { conditional } = model.config, way = wayOf(flags);
  if (flags.class && !conditional && (way === "prior" || way === "all")) {
    throw new UsageError(
      "Cannot choose a class as the model was trained without --conditional: it knows none. " +
        "--gmm class draws them from mixtures of their latents, and --gmm posterior from training images",
    );
  }
  const needs = (name: string, value: unknown, ...ways: Way[]) => {
    if (value === undefined || ways.includes(way)) return;
    throw new UsageError(
      `--${name} is for --gmm ${ways.join(" or ")}: latents are those of ${
        WAYS[way]
      }`,
    );
  };
  needs("components", flags.components, "class", "all");
  needs("min-responsibility", flags.minResponsibility, "class");
  needs("data-dir", flags.dataDir, "class", "all", "posterior");
  if (flags.interpolate !== undefined && way !== "prior") {
    throw new UsageError(
      `--interpolate is without --gmm: between latents of ${
        WAYS[way]
      } there may be nothing`,
    );
  }
}

/** Rows that a draw of its own gives each image, so that none depends on the others. */
function rows(
  latent: number,
  { count, seed, first = 0 }: GenerateOptions,
  draw: (rng: Rng, i: number) => ArrayLike<number>,
): Tensor {
  const all = new Float32Array(count * latent);
  for (let i = 0; i < count; i++) {
    all.set(draw(new Rng(seed, VAE_STREAM.draws + first + i), i), i * latent);
  }
  return tensor(all, [count, latent]);
}

/** From a mixture of each image's class. */
function fromClasses(
  mixtures: ClassMixtures,
  minResponsibility: number | undefined,
): Draw {
  return (options) =>
    rows(
      mixtures.dimensions,
      options,
      (rng, i) =>
        mixtures.sample([options.classes![i]!], rng, { minResponsibility })
          .data,
    );
}

/** From one mixture. */
function fromAll(mixture: GaussianMixture): Draw {
  return (options) =>
    rows(
      mixture.dimensions,
      options,
      (rng) => mixture.sample(1, rng).points.data,
    );
}

/** From the posterior of a training image, of the image's class where it is told. */
function fromPosteriors({ means, logVariances, labels }: Latents): Draw {
  const [, latent] = means.shape as [number, number];
  const everyone = [...labels.keys()];
  const members = Map.groupBy(everyone, (i) => labels[i]!);
  return (options) => {
    const { count, seed, first = 0, classes } = options;
    const words = philoxWords(first + count, [seed, VAE_STREAM.mixture], 0);
    const noise = new Rng(seed, VAE_STREAM.samples)
      .normalRows([count, latent], first);
    const mean = new Float32Array(count * latent);
    const deviation = new Float32Array(count * latent);
    for (let i = 0; i < count; i++) {
      const own = classes ? members.get(classes[i]!) : everyone;
      if (!own) {
        throw new UsageError(
          `Cannot draw class ${classes![i]} as no training image is of it`,
        );
      }
      const from = latent *
        own[Math.floor(toUnit(words[first + i]!) * own.length)]!;
      for (let j = 0; j < latent; j++) {
        mean[i * latent + j] = means.data[from + j]!;
        deviation[i * latent + j] = Math.exp(logVariances[from + j]! / 2);
      }
    }
    const shape = [count, latent];
    return add(tensor(mean, shape), mul(tensor(deviation, shape), noise));
  };
}

/** From the prior, N(0, I); if `way` is given, so many on the way from each draw to another. */
function fromPrior(latent: number, way?: number): Draw {
  return ({ count, seed, first = 0 }) => {
    const draws = (n: number, row: number) =>
      new Rng(seed, VAE_STREAM.samples).normalRows([n, latent], row);
    return way
      ? between(draws, { from: first, n: count, way })
      : draws(count, first);
  };
}

/** The way to draw that the flags ask for. */
async function drawOf(
  model: VaeModel,
  step: number,
  flags: Flags,
  { run, say, quiet }: GeneratorSource,
): Promise<Draw> {
  const { components, minResponsibility, ema, interpolate } = flags;
  const way = wayOf(flags);
  if (way === "prior") return fromPrior(model.config.latent, interpolate);
  const latents = async () => {
    const data = await loadData(model.config, "train", flags, quiet);
    const { run: { dataChecksum } } = await run.readConfig();
    if (data.checksum !== dataChecksum) {
      throw new UsageError(
        `Cannot use these data as they differ from those that ${run.path} was trained on: sha256 is ${data.checksum}, was ${dataChecksum}`,
      );
    }
    say(`Encoding ${data.length} training images …`);
    return await latentsOf(model, data);
  };
  if (way === "posterior") return fromPosteriors(await latents());
  const { mixtures, fitted } = await openMixtures(
    run,
    model,
    { of: way, components, step, ema },
    latents,
  );
  if (fitted) {
    say(`Wrote ${run.file("gmm.json")}`);
    const drawn = await saveLatents(run, model, fitted, mixtures);
    say(
      drawn
        ? `Wrote ${drawn}`
        : `Ellipses are not drawn, as there are ${model.config.latent} latents, not 2`,
    );
  }
  return mixtures instanceof ClassMixtures
    ? fromClasses(mixtures, minResponsibility)
    : fromAll(mixtures);
}

/** Variational autoencoders. */
export const vaeGenerator = defineGenerator({
  flags: FLAGS,
  async open(source, flags) {
    const { bytes, path } = source.checkpoint;
    const { model, step } = loadVae(bytes, path, flags.ema);
    check(model, flags);
    const draw = await drawOf(model, step, flags, source);
    const way = wayOf(flags);
    const byClass = way === "class" ||
      way === "posterior" && flags.class !== undefined;
    return {
      shape: model.shape,
      step,
      knowsClasses: model.config.conditional || byClass,
      method: way === "prior" ? way : `gmm ${way}`,
      nfe: 1,
      summary: { latents: way },
      columns: flags.interpolate,
      steps: (count) => Math.ceil(count / BATCH),
      flops: () => model.drawingFlops(),
      async generate(options) {
        const { count, isCancelled, onStep, first = 0 } = options;
        const pieces: Uint8Array[] = [];
        for (let from = 0; from < count; from += BATCH) {
          const n = Math.min(BATCH, count - from);
          const classes = options.classes?.slice(from, from + n);
          pieces.push(
            await scope(async () => {
              const part = { ...options, count: n, first: first + from };
              const z = await asUsage(() => draw({ ...part, classes }));
              return await model.decode(z, classes ?? new Int32Array(n));
            }),
          );
          onStep?.(pieces.length);
          await turn();
          if (isCancelled?.()) return undefined;
        }
        return joined(pieces);
      },
      dispose: () => model.network.dispose(),
    };
  },
});

function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const size = pieces.reduce((sum, { length }) => sum + length, 0);
  const all = new Uint8Array(size);
  let from = 0;
  for (const piece of pieces) {
    all.set(piece, from);
    from += piece.length;
  }
  return all;
}
