/**
 * What a classifier tells the sampler of another run, whose classes and noise may differ from its own.
 *
 * @module
 */
import {
  add,
  clamp,
  type ClassifierGuidance,
  crossEntropy,
  type GaussianDiffusion,
  log,
  mul,
  neg,
  reshape,
  rsqrt,
  square,
  sub,
  sum,
  type Tensor,
  tensor,
} from "../mod.ts";
import type { ClassifierModel } from "./_classifier.ts";
import { UsageError } from "./_cli.ts";
import type { DataShape } from "./_trainer.ts";

/** A diffusion run that is to be guided. */
export interface GuidedRun {
  readonly shape: DataShape;
  /** Its process, or that of Karras et al. 2022. */
  readonly noise: GaussianDiffusion | "edm";
}

/**
 * Makes a classifier of noised images guide a run.
 *
 * @param name Of the classifier, for messages.
 * @param scale Factor of its gradient.
 * @returns What guides images to their classes: the run's ids, one per image. The classifier finds the
 *   classes by their names; one that it does not know is a `UsageError`, too.
 * @throws {UsageError} If it was not trained on noise, or on images of another size.
 */
export function classifierGuide(
  classifier: ClassifierModel,
  name: string,
  run: GuidedRun,
  scale: number,
): (classes: Int32Array) => ClassifierGuidance {
  const refuse = (why: string) => {
    throw new UsageError(`Cannot guide by ${name} as ${why}`);
  };
  if (!classifier.config.noisy) {
    refuse(
      "it was trained on images without noise: train a classifier with --noisy",
    );
  }
  const sizeOf = ({ channels, height, width }: DataShape) =>
    `${width} × ${height} × ${channels}`;
  if (sizeOf(classifier.shape) !== sizeOf(run.shape)) {
    refuse(
      `it classifies images of ${sizeOf(classifier.shape)}, not of ${
        sizeOf(run.shape)
      }`,
    );
  }
  const seenBy = run.noise === "edm"
    ? ofSigma(classifier.diffusion)
    : ofTimestep(classifier.diffusion, run.noise);
  const known = classifier.shape.classNames;
  return (classes) => {
    const y = tensor(Int32Array.from(classes, (id) => {
      const wanted = run.shape.classNames[id]!;
      const own = known.indexOf(wanted);
      if (own < 0) {
        refuse(`it knows no class "${wanted}", only ${known.join(", ")}`);
      }
      return own;
    }));
    return {
      scale,
      logProbability(x, t) {
        const seen = seenBy(x, t);
        const logits = classifier.logits(seen.x, seen.t);
        return neg(crossEntropy(logits, y, { reduction: "none" }));
      },
    };
  };
}

/** The same images and noise as the classifier knows them. */
type Translation = (x: Tensor, t: Tensor) => { x: Tensor; t: Tensor };

/** From timesteps of another schedule. */
function ofTimestep(
  own: GaussianDiffusion,
  run: GaussianDiffusion,
): Translation {
  const timestep = interpolated(
    run.timestepMap,
    Array.from(run.timestepMap, (_, i) => own.timestepOf(run.level(i))),
  );
  return (x, t) => ({ x, t: timestep(t) });
}

/** From `x_0 + σ ε`. */
function ofSigma(own: GaussianDiffusion): Translation {
  const ratios = Array.from(own.betas, (_, t) => {
    const { alpha, sigma } = own.level(t);
    return Math.log(sigma / alpha);
  }).filter(Number.isFinite);
  const timestep = interpolated(ratios, ratios.map((_, t) => t));
  return (x, sigma) => {
    const shrink = rsqrt(add(square(sigma), 1)); // to unit variance, as images are about 1
    return {
      x: mul(x, reshape(shrink, [...shrink.shape, 1, 1, 1])),
      t: timestep(log(sigma)),
    };
  };
}

/**
 * The function through some points that is straight between and constant beyond them, as
 * `y_0 + Σ_i (y_{i+1} - y_i) clamp((x - x_i) / (x_{i+1} - x_i), 0, 1)`.
 *
 * @param xs Ascending, at least two.
 */
function interpolated(
  xs: ArrayLike<number>,
  ys: ArrayLike<number>,
): (x: Tensor) => Tensor {
  const pieces = { length: xs.length - 1 };
  const table = (value: (i: number) => number) =>
    tensor(Float32Array.from(pieces, (_, i) => value(i)));
  const start = table((i) => xs[i]!);
  const perLength = table((i) => 1 / (xs[i + 1]! - xs[i]!));
  const rise = table((i) => ys[i + 1]! - ys[i]!);
  return (x) => {
    const share = mul(sub(reshape(x, [x.size, 1]), start), perLength);
    const steps = mul(clamp(share, { min: 0, max: 1 }), rise);
    return add(sum(steps, { axis: 1 }), ys[0]!);
  };
}
