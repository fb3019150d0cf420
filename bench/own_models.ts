/**
 * Items of this library alone: training steps of its VAEs, GANs and classifiers as their classes are.
 *
 * @module
 */
import {
  Adam,
  BernoulliLikelihood,
  ConvVae,
  crossEntropy,
  gradients,
  KerasDcgan,
  LeNet5,
  mean,
  type Module,
  nonSaturatingLoss,
  Rng,
  type Tensor,
  tensor,
  vaeLoss,
} from "../mod.ts";
import { uniform } from "./data.ts";
import { captured } from "./denoise.ts";
import type { ItemOf } from "./items.ts";

/** Images of a step. */
const BATCH = 16;
const CLASSES = 10;

/** What a step is given. */
interface Data {
  /** In [-1, 1], `[BATCH, 1, 28, 28]`. */
  x: Tensor;
  /** Classes, `[BATCH]`. */
  y: Tensor;
  /** Draws all that is drawn. */
  rng: Rng;
}

/** Makes a loss smaller by a step of Adam, and returns it. */
type Update = (loss: () => Tensor) => Tensor;

/** An `Update` of each module's parameters. */
function adam(module: Module, betas: [number, number] = [0.9, 0.999]): Update {
  const parameters = module.parameters();
  const optimizer = new Adam(parameters, { learningRate: 2e-4, betas });
  return (loss) => {
    const value = loss();
    optimizer.step(gradients(value, parameters));
    return value;
  };
}

/** A training step; `make` builds the networks, and gives what one step does. */
function training(
  name: string,
  flops: number,
  make: (rng: Rng) => { module: Module; step: (data: Data) => Tensor },
): ItemOf<Tensor> {
  return {
    name,
    flops: flops * BATCH,
    images: BATCH,
    prepare() {
      const rng = new Rng(2);
      const { module, step } = make(new Rng(1));
      const shape = [BATCH, 1, 28, 28];
      const x = tensor(uniform(shape, 11), shape);
      const y = tensor(
        Int32Array.from({ length: BATCH }, (_, i) => i % CLASSES),
      );
      return {
        run: captured(() => step({ x, y, rng }), []),
        layouts: [],
        params: module.parameterCount,
      };
    },
  };
}

/**
 * All of them, with operations for an image: a backward pass is two forward ones, and what a gradient
 * only passes through is one. A GAN's step is three passes of the generator and eight of the discriminator.
 */
export const MODEL_ITEMS: readonly ItemOf<Tensor>[] = [
  training("step_conv_vae", 30_179_328, (rng) => {
    const module = new ConvVae({ shape: [1, 28, 28], latent: 16 }, rng);
    const likelihood = new BernoulliLikelihood();
    const update = adam(module);
    return {
      module,
      step: ({ x, rng }) =>
        update(() => mean(vaeLoss(module, likelihood, x, { rng }).loss)),
    };
  }),
  training("step_keras_dcgan", 3 * 103_738_880 + 8 * 26_982_144, (rng) => {
    const numClasses = CLASSES;
    const module = new KerasDcgan({ size: 28, inChannels: 1, numClasses }, rng);
    const { G, D } = module, loss = nonSaturatingLoss();
    const updateG = adam(G, [0.5, 0.999]), updateD = adam(D, [0.5, 0.999]);
    return {
      module,
      step({ x, y, rng }) {
        const told = { y, rng, training: true };
        const fake = G.forward(rng.normal([BATCH, G.latent]), told);
        updateD(() =>
          loss.discriminator(
            D.forward(x, told),
            D.forward(fake.detach(), told),
          )
        );
        return updateG(() => loss.generator(D.forward(fake, told)));
      },
    };
  }),
  training("step_lenet", 2_499_120, (rng) => {
    const module = new LeNet5({}, rng);
    const update = adam(module);
    return {
      module,
      step: ({ x, y }) => update(() => crossEntropy(module.forward(x), y)),
    };
  }),
];
