/**
 * Linear probes: how much of the classes a linear classifier finds in features.
 *
 * @module
 */
import { add, div, sub } from "../kernels/binary.ts";
import { matmul } from "../kernels/matmul.ts";
import { argMax, mean, sum, variance } from "../kernels/reduce.ts";
import { scale, sqrt, square } from "../kernels/unary.ts";
import { crossEntropy } from "../nn/losses.ts";
import { parameter } from "../nn/module.ts";
import { Adam } from "../nn/optimizers.ts";
import { cosine } from "../nn/schedules.ts";
import { gradients } from "../tensor/autograd.ts";
import { capture } from "../tensor/capture.ts";
import { scope } from "../tensor/context.ts";
import { zeros } from "../tensor/fill.ts";
import { type Tensor, tensor } from "../tensor/tensor.ts";
import { accuracyOf, classesOf, type LabelledFeatures } from "./_labelled.ts";

/** How a linear probe is trained. */
export interface LinearProbeOptions {
  /** Steps over all training features; defaults to 300. */
  steps?: number;
  /** Of Adam, decaying to 0 as half a cosine; defaults to 0.05. */
  learningRate?: number;
  /** Factor of `½ |W|²` in the loss; defaults to 1e-3. */
  penalty?: number;
}

/** Part of the mean variance that is added to every variance. */
const VARIANCE_FLOOR = 0.01;

/**
 * Accuracy of multinomial logistic regression on frozen features. Each dimension is first divided by
 * its standard deviation in the training set; a hundredth of the mean variance is added to all
 * variances, so that a pixel that hardly varies is not blown up. Trained from zeros by Adam on the whole
 * training set, a convex problem: nothing is random.
 *
 * @returns Shares of the training and of the test set, in [0, 1]; higher is better.
 * @throws {TypeError} If shapes do not fit.
 * @throws {RangeError} If all training features are of one class.
 */
export async function linearProbe(
  train: LabelledFeatures,
  test: LabelledFeatures,
  options: LinearProbeOptions = {},
): Promise<{ train: number; test: number }> {
  const { steps = 300, learningRate = 0.05, penalty = 1e-3 } = options;
  const classes = classesOf("linearProbe", train, test);
  return await scope(async () => {
    const axis = 0;
    const centre = mean(train.features, { axis });
    const spread = variance(train.features, { axis, correction: 0 });
    const std = sqrt(add(spread, scale(mean(spread), VARIANCE_FLOOR)));
    const standard = ({ features }: LabelledFeatures) =>
      div(sub(features, centre), std);
    const x = standard(train), y = tensor(train.labels);
    const weight = parameter(zeros([x.shape[1]!, classes]));
    const bias = parameter(zeros([classes]));
    const logits = (x: Tensor) => add(matmul(x, weight), bias);
    const optimizer = new Adam([weight, bias]);
    const step = capture(() => {
      const loss = add(
        crossEntropy(logits(x), y),
        scale(sum(square(weight)), penalty / 2),
      );
      optimizer.step(gradients(loss, [weight, bias]));
      return {};
    }, { rows: steps });
    const rate = cosine(learningRate, { totalSteps: steps });
    for (let i = 0; i < steps; i++) {
      optimizer.learningRate = rate(i);
      step.replay({});
    }
    const accuracy = async (x: Tensor, labels: Int32Array) =>
      accuracyOf(await argMax(logits(x), { axis: 1 }).data(), labels);
    const found = {
      train: await accuracy(x, train.labels),
      test: await accuracy(standard(test), test.labels),
    };
    step.dispose();
    optimizer.dispose();
    weight.dispose();
    bias.dispose();
    return found;
  });
}
