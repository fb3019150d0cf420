/**
 * Classifiers of clean images. Metrics take their features where Inception's suit badly, and count the
 * classes of generated images by them.
 *
 * @module
 */
import { add } from "../kernels/binary.ts";
import { maxPool2d } from "../kernels/pool.ts";
import { mean } from "../kernels/reduce.ts";
import { flatten, pad, slice } from "../kernels/shape.ts";
import { relu } from "../kernels/unary.ts";
import { BatchNorm2d } from "../nn/batch_norm.ts";
import { Conv2d } from "../nn/conv2d.ts";
import { kaimingNormal } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { type ForwardOptions, Module } from "../nn/module.ts";
import { requireThat } from "../tensor/kernel.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** A network that tells images apart by features of them. */
export interface ImageClassifier extends Module {
  /** Columns of `features`. */
  readonly featureCount: number;
  /** Images `[N, C, H, W]` to what the last layer sees, `[N, featureCount]`. */
  features(x: Tensor, options?: ForwardOptions): Tensor;
  /** What `features` gives to logits, `[N, numClasses]`. */
  logits(features: Tensor): Tensor;
  /** Images `[N, C, H, W]` to logits, `[N, numClasses]`. */
  forward(x: Tensor, options?: ForwardOptions): Tensor;
}

/** What every classifier may be told. */
export interface ClassifierOptions {
  /** Channels of the images; defaults to 1, and to 3 of `ResNet`. */
  inChannels?: number;
  /** Defaults to 10. */
  numClasses?: number;
}

/** What classifiers of images of one size may be told. */
export interface SizedClassifierOptions extends ClassifierOptions {
  /** Height and width of the images; defaults to 28. */
  size?: number;
}

/** Pixels a side of what is left after all layers. */
function requireSide(name: string, size: number, side: number): number {
  if (side >= 1) return side;
  throw new RangeError(
    `Cannot make a ${name} as its layers must leave a pixel: size is ${size}`,
  );
}

function requireImages(
  name: string,
  x: Tensor,
  channels: number,
  size: number,
): void {
  const shape = `${channels},${size},${size}`;
  requireThat(
    x.rank === 4 && x.shape.slice(1).join() === shape,
    name,
    `images must be [N, ${channels}, ${size}, ${size}]`,
    { x },
  );
}

/**
 * LeNet-5 (LeCun et al. 1998, section II) in the form that is usual today, with ReLU and the maxima of
 * windows: 61,706 parameters for MNIST, 44,426 with `padding: 0`.
 */
export class LeNet5 extends Module implements ImageClassifier {
  /** 5×5 to 6 channels. */
  readonly conv1: Conv2d;
  /** 5×5 to 16. */
  readonly conv2: Conv2d;
  /** To 120. */
  readonly fc1: Linear;
  /** To the features. */
  readonly fc2: Linear;
  /** To the classes. */
  readonly fc3: Linear;
  /** Columns of `features`. */
  readonly featureCount = 84;
  readonly #size: number;
  readonly #channels: number;

  /**
   * Draws the weights from `rng`.
   *
   * @param options `padding`: zeros around the image; defaults to 2, which makes 32 of 28.
   * @throws {RangeError} If `size` is too small.
   */
  constructor(
    options: SizedClassifierOptions & { padding?: number },
    rng: Rng,
  ) {
    super();
    const { inChannels = 1, numClasses = 10, size = 28, padding = 2 } = options;
    const half = Math.floor((size + 2 * padding - 4) / 2);
    const side = requireSide("LeNet5", size, Math.floor((half - 4) / 2));
    this.conv1 = new Conv2d(inChannels, 6, 5, rng, { padding });
    this.conv2 = new Conv2d(6, 16, 5, rng);
    this.fc1 = new Linear(16 * side ** 2, 120, rng);
    this.fc2 = new Linear(120, 84, rng);
    this.fc3 = new Linear(84, numClasses, rng);
    this.#size = size;
    this.#channels = inChannels;
  }

  /** The last hidden layer, `[N, 84]`. */
  features(x: Tensor): Tensor {
    requireImages("LeNet5", x, this.#channels, this.#size);
    let h = maxPool2d(this.conv1.forward(x, { activation: "relu" }), 2);
    h = maxPool2d(this.conv2.forward(h, { activation: "relu" }), 2);
    return relu(this.fc2.forward(relu(this.fc1.forward(flatten(h, 1)))));
  }

  /** `[N, featureCount]` to logits, `[N, numClasses]`. */
  logits(features: Tensor): Tensor {
    return this.fc3.forward(features);
  }

  /** Logits, `[N, numClasses]`. */
  forward(x: Tensor): Tensor {
    return this.logits(this.features(x));
  }
}

/** Three 3×3 convolutions and a hidden layer, after the tutorials of Keras: 159,254 parameters for MNIST. */
export class SmallCnn extends Module implements ImageClassifier {
  /** To 32 channels. */
  readonly conv1: Conv2d;
  /** To 64. */
  readonly conv2: Conv2d;
  /** To 64. */
  readonly conv3: Conv2d;
  /** To the features. */
  readonly fc1: Linear;
  /** To the classes. */
  readonly fc2: Linear;
  /** Columns of `features`. */
  readonly featureCount = 100;
  readonly #size: number;
  readonly #channels: number;

  /**
   * Draws the weights from `rng`.
   *
   * @throws {RangeError} If `size` is too small.
   */
  constructor(options: SizedClassifierOptions, rng: Rng) {
    super();
    const { inChannels = 1, numClasses = 10, size = 28 } = options;
    const half = Math.floor((size - 2) / 2);
    const side = requireSide("SmallCnn", size, Math.floor((half - 4) / 2));
    this.conv1 = new Conv2d(inChannels, 32, 3, rng);
    this.conv2 = new Conv2d(32, 64, 3, rng);
    this.conv3 = new Conv2d(64, 64, 3, rng);
    this.fc1 = new Linear(64 * side ** 2, 100, rng);
    this.fc2 = new Linear(100, numClasses, rng);
    this.#size = size;
    this.#channels = inChannels;
  }

  /** The hidden layer, `[N, 100]`. */
  features(x: Tensor): Tensor {
    requireImages("SmallCnn", x, this.#channels, this.#size);
    const activation = "relu";
    let h = maxPool2d(this.conv1.forward(x, { activation }), 2);
    h = this.conv2.forward(h, { activation });
    h = maxPool2d(this.conv3.forward(h, { activation }), 2);
    return relu(this.fc1.forward(flatten(h, 1)));
  }

  /** `[N, featureCount]` to logits, `[N, numClasses]`. */
  logits(features: Tensor): Tensor {
    return this.fc2.forward(features);
  }

  /** Logits, `[N, numClasses]`. */
  forward(x: Tensor): Tensor {
    return this.logits(this.features(x));
  }
}

/** A 3×3 convolution without bias, before a normalisation. */
function conv3x3(from: number, to: number, stride: number, rng: Rng): Conv2d {
  const weightInit = kaimingNormal();
  return new Conv2d(from, to, 3, rng, {
    stride,
    padding: 1,
    bias: false,
    weightInit,
  });
}

/** `relu(x + norm(conv(relu(norm(conv(x))))))`. */
export class ResNetBlock extends Module {
  /** First; halves the image if the block does. */
  readonly conv1: Conv2d;
  /** Behind it. */
  readonly bn1: BatchNorm2d;
  /** Second. */
  readonly conv2: Conv2d;
  /** Behind it. */
  readonly bn2: BatchNorm2d;
  readonly #stride: number;
  readonly #more: number;

  /** From `from` channels to no fewer; `stride` 2 halves the image. */
  constructor(from: number, to: number, stride: number, rng: Rng) {
    super();
    this.conv1 = conv3x3(from, to, stride, rng);
    this.bn1 = new BatchNorm2d(to);
    this.conv2 = conv3x3(to, to, 1, rng);
    this.bn2 = new BatchNorm2d(to);
    this.#stride = stride;
    this.#more = to - from;
  }

  /** `[N, from, H, W]` to `[N, to, H / stride, W / stride]`. */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    const h = relu(this.bn1.forward(this.conv1.forward(x), options));
    const change = this.bn2.forward(this.conv2.forward(h), options);
    return relu(add(change, this.#shortcut(x)));
  }

  /** Every other pixel, and zeros for the new channels: option A of the paper, without parameters. */
  #shortcut(x: Tensor): Tensor {
    const by = this.#stride, before = Math.floor(this.#more / 2);
    const channels = [before, this.#more - before];
    return pad(
      slice(x, [0, 0, 0, 0], [], [1, 1, by, by]),
      [0, 0, 0, 0, ...channels],
    );
  }
}

/** Size and shape of a `ResNet`. */
export interface ResNetOptions extends ClassifierOptions {
  /** Layers with weights, `6 n + 2`: 8, 14, 20, …; defaults to 20. */
  depth?: number;
  /** Channels at full resolution, of which each halving makes twice as many; defaults to 16. */
  channels?: number;
}

/**
 * The residual network for CIFAR-10 of He et al. 2016 (arXiv:1512.03385, section 4.2). Depth 20 has
 * 269,722 parameters and depth 8 75,290.
 */
export class ResNet extends Module implements ImageClassifier {
  /** To the first channels. */
  readonly conv1: Conv2d;
  /** Behind it. */
  readonly bn1: BatchNorm2d;
  /** Blocks at full resolution. */
  readonly layer1: readonly ResNetBlock[];
  /** At a half. */
  readonly layer2: readonly ResNetBlock[];
  /** At a quarter. */
  readonly layer3: readonly ResNetBlock[];
  /** To the classes. */
  readonly linear: Linear;
  /** Columns of `features`. */
  readonly featureCount: number;
  readonly #inChannels: number;

  /**
   * Draws the weights from `rng`.
   *
   * @throws {RangeError} If `depth` is not 6 n + 2.
   */
  constructor(options: ResNetOptions, rng: Rng) {
    super();
    const { inChannels = 3, numClasses = 10, depth = 20, channels = 16 } =
      options;
    const blocks = (depth - 2) / 6;
    if (!Number.isInteger(blocks) || blocks < 1) {
      throw new RangeError(
        `Cannot make a ResNet as depth must be 8, 14, 20, …: it is ${depth}`,
      );
    }
    const level = (from: number, to: number) =>
      Array.from(
        { length: blocks },
        (_, i) =>
          i === 0
            ? new ResNetBlock(from, to, to / from, rng)
            : new ResNetBlock(to, to, 1, rng),
      );
    this.conv1 = conv3x3(inChannels, channels, 1, rng);
    this.bn1 = new BatchNorm2d(channels);
    this.layer1 = level(channels, channels);
    this.layer2 = level(channels, 2 * channels);
    this.layer3 = level(2 * channels, 4 * channels);
    this.featureCount = 4 * channels;
    this.linear = new Linear(this.featureCount, numClasses, rng);
    this.#inChannels = inChannels;
  }

  /** Means over the last image, `[N, 4 channels]`; any height and width. */
  features(x: Tensor, options: ForwardOptions = {}): Tensor {
    requireThat(
      x.rank === 4 && x.shape[1] === this.#inChannels,
      "ResNet",
      `images must be [N, ${this.#inChannels}, H, W]`,
      { x },
    );
    let h = relu(this.bn1.forward(this.conv1.forward(x), options));
    for (const block of [...this.layer1, ...this.layer2, ...this.layer3]) {
      h = block.forward(h, options);
    }
    return mean(h, { axis: [2, 3] });
  }

  /** `[N, featureCount]` to logits, `[N, numClasses]`. */
  logits(features: Tensor): Tensor {
    return this.linear.forward(features);
  }

  /** Logits, `[N, numClasses]`. */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    return this.logits(this.features(x, options));
  }
}
