/**
 * An autoencoder and a diffusion model of its latents, trained together: the experiment of letting what
 * is easy to denoise shape a representation (as in Vahdat et al. 2021, arXiv:2106.05931, with fixed
 * weights of the losses). First the autoencoder learns alone, then the denoiser beside it, and at last
 * the gradient of the denoising loss reaches the encoder. The latents are normalised by the batch, so
 * that no loss can be lowered by scaling them.
 *
 * @module
 */
import {
  add,
  type AutoencoderKl,
  type Batch,
  countFlops,
  type Dataset,
  type DenoiserNetwork,
  Module,
  Rng,
  samplePosterior,
  scale,
  type Tensor,
  zeros,
} from "../mod.ts";
import {
  AUTOENCODER_STREAM,
  evaluateAutoencoder,
  namedLosses,
} from "./_autoencoder.ts";
import { type DdpmModel, jointDdpm } from "./_ddpm.ts";
import type { JointConfig } from "./_joint_config.ts";
import type { Chart } from "./_plots.ts";
import type { DataShape, Losses, Picture, Trainable } from "./_trainer.ts";

/** What is drawn of the log. */
const CHARTS: readonly Chart[] = [
  {
    file: "curves",
    yTitle: "Loss",
    curves: {
      loss: "all",
      reconstruction: "reconstruction (nats per value)",
      denoising: "denoising (mean square error)",
    },
  },
  {
    file: "divergence",
    yTitle: "KL divergence (nats per image)",
    curves: { kl: "training data" },
  },
  {
    file: "reconstruction",
    yTitle: "Mean square error",
    curves: { mse_train: "train", mse_test: "test" },
    logY: true,
  },
];

/** Both networks. */
class JointNetwork extends Module {
  readonly autoencoder: AutoencoderKl;
  readonly denoiser: DenoiserNetwork;

  constructor(autoencoder: AutoencoderKl, denoiser: DenoiserNetwork) {
    super();
    this.autoencoder = autoencoder;
    this.denoiser = denoiser;
  }
}

/** Networks and losses of a configuration. */
export class JointModel implements Trainable<JointConfig> {
  readonly charts = CHARTS;
  readonly config: JointConfig;
  readonly shape: DataShape;
  readonly network: JointNetwork;
  readonly rngs: Readonly<Record<string, Rng>>;
  readonly inputs?: Trainable["inputs"];
  readonly observe?: Trainable["observe"];
  readonly #ddpm: DdpmModel;
  readonly #posteriors: Rng;

  /** Draws the initial weights from the configuration's seed. */
  constructor(config: JointConfig, shape: DataShape) {
    const ddpm = jointDdpm(config, shape);
    this.config = config;
    this.shape = shape;
    this.network = new JointNetwork(ddpm.latents!.network, ddpm.network);
    this.#ddpm = ddpm;
    this.#posteriors = new Rng(config.seed, AUTOENCODER_STREAM.latents);
    this.rngs = { ...ddpm.rngs, posteriors: this.#posteriors };
    this.inputs = ddpm.inputs;
    if (ddpm.observe) {
      this.observe = (outputs) => outputs.terms && ddpm.observe!(outputs); // none while the autoencoder is alone
    }
  }

  /** Of the latents. */
  get latents(): DataShape {
    return this.#ddpm.noised;
  }

  prepare(batch: Batch, step: number) {
    return this.#ddpm.prepare(batch, step);
  }

  stage(step: number): "autoencoder" | "detached" | "joint" {
    const { autoencoderSteps, detachedSteps } = this.config.stages;
    if (step < autoencoderSteps) return "autoencoder";
    return step < autoencoderSteps + detachedSteps ? "detached" : "joint";
  }

  losses(inputs: Readonly<Record<string, Tensor>>, step: number): Losses {
    const { autoencoder } = this.network;
    const { reconstruction, stages } = this.config;
    const stage = this.stage(step);
    const images = inputs.images!;
    const posterior = autoencoder.encode(images);
    const z = samplePosterior(posterior, this.#posteriors);
    const own = namedLosses(
      autoencoder.losses(images, posterior, z, reconstruction),
    );
    const x0 = autoencoder.normalize(stage === "joint" ? z : z.detach(), {
      training: true,
    });
    if (stage === "autoencoder") return own;
    const { loss: denoising, ...rest } = this.#ddpm.denoise(x0, inputs);
    const loss = add(own.loss, scale(denoising, stages.weight));
    return { ...own, ...rest, denoising, loss };
  }

  extraState() {
    return this.#ddpm.extraState();
  }

  restoreExtra(state: Parameters<DdpmModel["restoreExtra"]>[0]): void {
    this.#ddpm.restoreExtra(state);
  }

  flops(): number {
    const { channels, height, width } = this.latents;
    const decoder = countFlops(() =>
      this.network.autoencoder.decode(zeros([1, channels, height, width]))
    );
    return this.#ddpm.flops() + decoder;
  }

  report(): string[] {
    const { stages: { autoencoderSteps, detachedSteps }, steps } = this.config;
    const alone = Math.min(autoencoderSteps, steps);
    const both = Math.min(autoencoderSteps + detachedSteps, steps);
    return [
      ...this.#ddpm.report(),
      `Stages: the autoencoder alone to step ${alone}, diffusion beside it to step ${both}, ` +
      (both < steps
        ? `its gradient in the encoder to step ${steps}`
        : "and no step with its gradient in the encoder"),
    ];
  }

  picture(isCancelled: () => boolean): Promise<Picture | undefined> {
    return this.#ddpm.picture(isCancelled);
  }

  evaluate(
    data: { readonly train: Dataset; readonly test: Dataset },
    isCancelled: () => boolean,
  ): Promise<Record<string, number> | undefined> {
    const { count } = this.config.evaluation;
    const { autoencoder } = this.network;
    return evaluateAutoencoder(autoencoder, data, count, isCancelled);
  }
}
