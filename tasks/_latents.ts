/**
 * The space of a latent diffusion model (Rombach et al. 2022, section 3.2): an autoencoder that is not
 * trained any more, whose normalised latents the diffusion model takes for images.
 *
 * @module
 */
import {
  type AutoencoderKl,
  countFlops,
  type HostTensor,
  noGrad,
  Rng,
  samplePosterior,
  type Tensor,
  zeros,
} from "../mod.ts";
import { buildAutoencoder, loadAutoencoder } from "./_autoencoder.ts";
import type { latent } from "./_autoencoder_config.ts";
import { UsageError, userPath } from "./_cli.ts";
import type { z } from "./_config.ts";
import { type DataShape, prefixed, under } from "./_trainer.ts";

/** The section `latent` of a configuration. */
export type LatentConfig = z.output<typeof latent>;

/** Images on one side, normalised latents on the other. */
export class Latents {
  /** Makes latents of images and images of latents. */
  readonly network: AutoencoderKl;
  /** Of the latents. */
  readonly shape: DataShape;
  /** Of the images. */
  readonly images: DataShape;

  /** `images`: what the network makes latents of. */
  constructor(network: AutoencoderKl, images: DataShape) {
    const { factor, options } = network;
    this.network = network;
    this.images = images;
    this.shape = {
      ...images,
      channels: options.latentChannels,
      height: images.height / factor,
      width: images.width / factor,
    };
  }

  /**
   * Latents of images, without gradient.
   *
   * @param rng Draws them from their posteriors; without, they are the means.
   */
  encode(images: Tensor, rng?: Rng): Tensor {
    return noGrad(() => {
      const posterior = this.network.encode(images);
      const z = rng ? samplePosterior(posterior, rng) : posterior.mean;
      return this.network.normalize(z);
    });
  }

  /** Images of latents, not limited to [-1, 1]. */
  decode(z: Tensor): Tensor {
    return noGrad(() => this.network.decode(this.network.denormalize(z)));
  }

  /** Lines for `report` of a model. */
  report(): string[] {
    const { channels, height, width } = this.shape;
    const { factor } = this.network;
    return [`Latents: ${width} × ${height} × ${channels} (f = ${factor})`];
  }

  /** What a checkpoint of the diffusion model holds of it. */
  extraState(): Record<string, HostTensor> {
    return {};
  }

  /** Takes over what `extraState` gave. */
  restoreExtra(_state: Readonly<Record<string, HostTensor>>): void {}

  /** Floating-point operations of the encoder per image. */
  flops(): number {
    const { channels, height, width } = this.images;
    return countFlops(() =>
      this.network.encode(zeros([1, channels, height, width]))
    );
  }
}

/** Latents of an autoencoder that another run has trained: its weights go into each checkpoint. */
export class FrozenLatents extends Latents {
  /** Of the configuration, with what rebuilds the network. */
  readonly config: LatentConfig;
  #weights?: Record<string, HostTensor>;

  /** Without weights, `restoreExtra` has to give them before anything is encoded. */
  constructor(
    config: LatentConfig,
    images: DataShape,
    weights?: Record<string, HostTensor>,
  ) {
    super(buildAutoencoder(config.architecture!, images, new Rng(0)), images);
    this.config = config;
    if (weights) this.#load(weights);
  }

  #load(weights: Record<string, HostTensor>): void {
    this.network.loadStateDict(weights);
    this.#weights = weights;
  }

  override report(): string[] {
    const [line] = super.report();
    return [`${line}, by the autoencoder of ${this.config.autoencoder}`];
  }

  override extraState(): Record<string, HostTensor> {
    return prefixed("autoencoder.", this.#weights!);
  }

  override restoreExtra(state: Readonly<Record<string, HostTensor>>): void {
    this.#load(under("autoencoder.", state));
  }

  override encode(images: Tensor, rng?: Rng): Tensor {
    if (this.#weights) return super.encode(images, rng);
    throw new UsageError(
      `Cannot go on as the run has no checkpoint with the autoencoder's weights, and its own run is gone ` +
        `or another: ${this.config.autoencoder}`,
    );
  }
}

/**
 * The latents that a configuration names.
 *
 * @param images Of the data.
 * @throws {UsageError} If there is no such run, or its images are others.
 */
export async function openLatents(
  config: LatentConfig,
  images: DataShape,
): Promise<FrozenLatents> {
  const path = userPath(config.autoencoder);
  let loaded;
  try {
    loaded = await loadAutoencoder(path);
  } catch (error) {
    // A run that goes on has the weights in its checkpoint.
    if (config.architecture && error instanceof UsageError) {
      return new FrozenLatents(config, images);
    }
    throw error;
  }
  const { config: { autoencoder: architecture }, shape, weights } = loaded;
  loaded.network.dispose();
  const text = ({ channels, height, width }: DataShape) =>
    `${width} × ${height} × ${channels}`;
  if (text(shape) !== text(images)) {
    throw new UsageError(
      `Cannot use the autoencoder of ${path} as its images must be like those of the data set, ${
        text(images)
      }: they are ${text(shape)}`,
    );
  }
  const before = config.architecture;
  if (before && JSON.stringify(before) !== JSON.stringify(architecture)) {
    return new FrozenLatents(config, images);
  }
  return new FrozenLatents(
    { ...config, autoencoder: path, architecture },
    images,
    weights,
  );
}
