/**
 * A classifier of a configuration: of images, or of noised ones, whose gradient guides diffusion.
 *
 * @module
 */
import {
  add,
  argMax,
  Batches,
  cast,
  countFlops,
  crossEntropy,
  type Dataset,
  diffAugment,
  equal,
  GaussianDiffusion,
  type HostTensor,
  mean,
  noGrad,
  Rng,
  scope,
  sub,
  type Tensor,
  tensor,
  turn,
  zeros,
} from "../mod.ts";
import { philoxWords, toUnit } from "../tensor/philox.ts";
import {
  type ClassifierConfig,
  classifierSchema,
} from "./_classifier_config.ts";
import {
  buildClassifier,
  type ClassifierNetwork,
  scoresOf,
} from "./_classifier_networks.ts";
import { checkConfig } from "./_config.ts";
import type { Chart } from "./_plots.ts";
import {
  type DataShape,
  loadWeights,
  readCheckpoint,
  type Trainable,
  under,
} from "./_trainer.ts";

/** Streams of the run's seed; evaluation has one per quarter of the timesteps from its own on. */
const STREAM = {
  weights: 1,
  timesteps: 2,
  noise: 3,
  dropout: 4,
  shift: 5,
  evaluation: 10,
} as const;
/** Images that go through the network at once while evaluating. */
const BATCH = 64;
/** Parts of the timesteps whose accuracies are told apart. */
const QUARTERS = 4;

/** What is drawn of the log. */
const CHARTS: readonly Chart[] = [
  {
    file: "curves",
    yTitle: "Cross entropy (nats)",
    curves: { loss: "training loss" },
  },
  {
    file: "accuracy",
    yTitle: "Accuracy",
    curves: { accuracy: "training accuracy", test_accuracy: "test accuracy" },
  },
];

/** Share of images whose class has the largest logit, `[]`. */
function accuracyOf(logits: Tensor, labels: Tensor): Tensor {
  const found = cast(argMax(logits, { axis: 1 }), "f32");
  return mean(equal(found, cast(labels, "f32")));
}

/** Moves every image by a draw of its own; what comes in is black, -1. */
function shifted(x: Tensor, share: number, rng: Rng): Tensor {
  const moved = diffAugment(add(x, 1), rng, {
    color: 0,
    cutout: 0,
    translation: share,
  });
  return sub(moved, 1);
}

/** Network and noise of a configuration. */
export class ClassifierModel implements Trainable<ClassifierConfig> {
  readonly charts = CHARTS;
  readonly config: ClassifierConfig;
  readonly shape: DataShape;
  /** Scores the classes. */
  readonly network: ClassifierNetwork;
  /** The noise that it is trained with, if `noisy`; else only its first timestep counts. */
  readonly diffusion: GaussianDiffusion;
  readonly rngs: Readonly<
    Record<"timesteps" | "noise" | "dropout" | "shift", Rng>
  >;
  /** Test accuracies by noise at the last evaluation, and the checksum of the data. */
  #found?: { accuracies: number[]; checksum: string };

  /**
   * Draws the initial weights from the configuration's seed.
   *
   * @throws {RangeError} If the network does not fit the data.
   */
  constructor(config: ClassifierConfig, shape: DataShape) {
    const { channels, height, width, classNames } = shape;
    if (height !== width || classNames.length < 2) {
      throw new RangeError(
        "Cannot classify as images must be square and of at least 2 classes: they are " +
          `${width} × ${height} of ${classNames.length}`,
      );
    }
    const { seed, diffusion } = config;
    this.config = config;
    this.shape = shape;
    // Nothing is predicted of the noise, so a schedule may end with no signal left.
    this.diffusion = new GaussianDiffusion({ ...diffusion, prediction: "x0" });
    this.network = buildClassifier(
      config,
      { channels, size: height, numClasses: classNames.length },
      new Rng(seed, STREAM.weights),
    );
    this.rngs = {
      timesteps: new Rng(seed, STREAM.timesteps),
      noise: new Rng(seed, STREAM.noise),
      dropout: new Rng(seed, STREAM.dropout),
      shift: new Rng(seed, STREAM.shift),
    };
  }

  /**
   * Scores of the classes; differentiable in `x`.
   *
   * @param x As noisy as `t` says, `[N, C, H, W]`.
   * @param t Timesteps of `diffusion`, f32 `[N]`; need not be whole. Only ADM looks at them.
   * @returns `[N, classes]`.
   */
  logits(x: Tensor, t: Tensor): Tensor {
    return scoresOf(this.network, x, t);
  }

  losses({ images, labels }: Readonly<Record<string, Tensor>>) {
    const { config, diffusion, network, rngs } = this;
    const { batchSize: n, augment: { shift } } = config;
    const inputs = { training: true, rng: rngs.dropout };
    let x = shift > 0 ? shifted(images!, shift, rngs.shift) : images!;
    let told = zeros([n]);
    if (config.noisy) {
      const t = rngs.timesteps.integers([n], 0, diffusion.timesteps);
      x = diffusion.diffuse(x, t, rngs.noise).xt;
      told = diffusion.times(t, n);
    }
    const logits = scoresOf(network, x, told, inputs);
    return {
      loss: crossEntropy(logits, labels!),
      accuracy: accuracyOf(logits.detach(), labels!),
    };
  }

  flops(): number {
    const { channels, height, width } = this.shape;
    return countFlops(() =>
      this.logits(zeros([1, channels, height, width]), zeros([1]))
    );
  }

  report(): string[] {
    const { noisy, diffusion } = this.config;
    return [
      noisy
        ? `Noise: ${diffusion.schedule}, ${diffusion.timesteps} timesteps`
        : "Images are without noise; train --noisy makes a classifier that guides diffusion",
    ];
  }

  /** Accuracy on test images: without noise, or in every quarter of the timesteps and in all. */
  async evaluate(
    { test }: { readonly test: Dataset },
    isCancelled: () => boolean,
  ): Promise<Record<string, number> | undefined> {
    const parts = this.config.noisy ? QUARTERS : 1;
    const accuracies: number[] = [];
    for (let part = 0; part < parts; part++) {
      const found = await this.#accuracy(test, part, isCancelled);
      if (found === undefined) return undefined;
      accuracies.push(found);
    }
    this.#found = { accuracies, checksum: test.checksum };
    const byNoise = parts === 1 ? [] : accuracies;
    return {
      test_accuracy: meanOf(accuracies),
      ...Object.fromEntries(
        byNoise.map((value, i) => [`test_accuracy_q${i + 1}`, value]),
      ),
    };
  }

  /** Accuracy with noise of a quarter of the timesteps, or without; undefined if cancelled. */
  async #accuracy(
    test: Dataset,
    quarter: number,
    isCancelled: () => boolean,
  ): Promise<number | undefined> {
    const { config, diffusion, shape: { channels, height, width } } = this;
    const { seed, noisy } = config;
    const count = Math.min(config.evaluation.count, test.length);
    const words = philoxWords(count, [seed, STREAM.evaluation], quarter);
    // Shuffled, as files may be sorted by class.
    const batches = new Batches(test, { batchSize: BATCH, seed, flip: false });
    let right = 0;
    for (let from = 0; from < count; from += BATCH) {
      const n = Math.min(BATCH, count - from);
      const { images, labels } = batches.batch(from / BATCH);
      const share = scope(() =>
        noGrad(() => {
          const shape = [n, channels, height, width];
          const x0 = tensor(
            images.subarray(0, n * channels * height * width),
            shape,
          );
          const y = tensor(labels.subarray(0, n));
          if (!noisy) return accuracyOf(this.logits(x0, zeros([n])), y);
          const t = Int32Array.from(
            words.subarray(from, from + n),
            (word) =>
              Math.floor(
                (quarter + toUnit(word)) / QUARTERS * diffusion.timesteps,
              ),
          );
          const noise = new Rng(seed, STREAM.evaluation + quarter)
            .normalRows(shape, from);
          const xt = diffusion.qSample(x0, t, noise);
          return accuracyOf(this.logits(xt, diffusion.times(t, n)), y);
        })
      );
      right += Math.round(n * await share.item());
      share.dispose();
      await turn();
      if (isCancelled()) return undefined;
    }
    return right / count;
  }

  extraState(): Record<string, HostTensor> {
    if (!this.#found) return {};
    const accuracies = Float32Array.from(this.#found.accuracies);
    const words = new Int32Array(
      Uint8Array.fromHex(this.#found.checksum).buffer,
    );
    return {
      accuracies: {
        dtype: "f32",
        shape: [accuracies.length],
        data: accuracies,
      },
      test_checksum: { dtype: "i32", shape: [words.length], data: words },
    };
  }

  restoreExtra(state: Readonly<Record<string, HostTensor>>): void {
    const { accuracies, test_checksum: words } = state;
    if (!accuracies || !words) return;
    this.#found = {
      // f32 holds no more digits than these.
      accuracies: Array.from(
        accuracies.data,
        (value) => Number(value.toPrecision(7)),
      ),
      checksum: new Uint8Array(
        (words.data as Int32Array<ArrayBuffer>).slice().buffer,
      ).toHex(),
    };
  }

  summary(): Record<string, unknown> {
    if (!this.#found) return {};
    const { accuracies, checksum } = this.#found;
    return {
      accuracy: meanOf(accuracies),
      ...(this.config.noisy ? { accuracyByNoise: accuracies } : {}),
      testChecksum: checksum,
    };
  }
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/**
 * The classifier in a checkpoint.
 *
 * @param path For messages.
 * @param ema Whether to take the moving average of the weights.
 * @throws {SyntaxError} If the file is not a whole checkpoint of a classifier.
 */
export function loadClassifier(
  bytes: Uint8Array<ArrayBuffer>,
  path: string,
  ema: boolean,
): { model: ClassifierModel; step: number } {
  const checkpoint = readCheckpoint(bytes, path);
  if (checkpoint.model !== "classifier") {
    throw new SyntaxError(
      `Cannot use ${path} as it is a checkpoint of ${checkpoint.model}, not of a classifier`,
    );
  }
  const config = checkConfig(classifierSchema, checkpoint.config, path);
  const model = new ClassifierModel(config, checkpoint.shape);
  loadWeights(model.network, checkpoint, ema);
  // Accuracies are those of the averages.
  if (ema) model.restoreExtra(under("extra.", checkpoint.tensors));
  return { model, step: checkpoint.step };
}
