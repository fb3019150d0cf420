/**
 * Inception-v3 (Szegedy et al. 2016, arXiv:1512.00567) as the Fréchet inception distance has it: the
 * TensorFlow model of 2015-12-05, whose pooling and 1008 classes differ from torchvision's. Names are those
 * of the state dict that pytorch-fid and torch-fidelity load.
 *
 * @module
 */
import { add, div, mul, sub } from "../kernels/binary.ts";
import { avgPool2d, maxPool2d } from "../kernels/pool.ts";
import { mean } from "../kernels/reduce.ts";
import { concat, reshape } from "../kernels/shape.ts";
import { relu, sqrt } from "../kernels/unary.ts";
import { BatchNorm2d } from "../nn/batch_norm.ts";
import { Conv2d } from "../nn/conv2d.ts";
import { kaimingUniform, zeros } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { type ForwardOptions, Module } from "../nn/module.ts";
import { noGrad, scope } from "../tensor/context.ts";
import { requireThat } from "../tensor/kernel.ts";
import { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ImageClassifier } from "./classifiers.ts";

/** Height and width of the images that the network sees. */
export const INCEPTION_SIZE = 299;
/** Added to variances by every batch normalisation. */
const EPS = 1e-3;

/** How the layers are made. */
interface Making {
  rng: Rng;
  folded: boolean;
}

/** A convolution as the tables below give it. */
interface Convolution {
  name: string;
  channels: number;
  window: readonly [number, number];
  stride: number;
  padding: readonly [number, number];
  /** Of images that are averaged over 3×3 pixels first. */
  averaged?: boolean;
}

/** What a branch does next: a convolution, several side by side, or pooling. */
type Step = Convolution | readonly Convolution[] | ((x: Tensor) => Tensor);

/** Convolution of an image to one of the same size. */
function same(
  name: string,
  channels: number,
  height: number,
  width: number = height,
): Convolution {
  const padding = [(height - 1) / 2, (width - 1) / 2] as const;
  return { name, channels, window: [height, width], stride: 1, padding };
}

/** Convolution without padding. */
function valid(
  name: string,
  channels: number,
  side: number,
  stride = 1,
): Convolution {
  return { name, channels, window: [side, side], stride, padding: [0, 0] };
}

/** 1×1 convolution of averages. */
function averaged(name: string, channels: number): Convolution {
  return { ...same(name, channels, 1), averaged: true };
}

const halve = (x: Tensor) => maxPool2d(x, 3, { stride: 2 });
const largest = (x: Tensor) => maxPool2d(x, 3, { stride: 1, padding: 1 });
/** Here, other than in torchvision, padding does not count. */
const average = (x: Tensor) =>
  avgPool2d(x, 3, { stride: 1, padding: 1, countIncludePad: false });

// The blocks: each line is a branch, and their results are concatenated. A to E are torchvision's names.

const blockA = (pooled: number): Step[][] => [
  [same("branch1x1", 64, 1)],
  [same("branch5x5_1", 48, 1), same("branch5x5_2", 64, 5)],
  [
    same("branch3x3dbl_1", 64, 1),
    same("branch3x3dbl_2", 96, 3),
    same("branch3x3dbl_3", 96, 3),
  ],
  [averaged("branch_pool", pooled)],
];

const blockB = (): Step[][] => [
  [valid("branch3x3", 384, 3, 2)],
  [
    same("branch3x3dbl_1", 64, 1),
    same("branch3x3dbl_2", 96, 3),
    valid("branch3x3dbl_3", 96, 3, 2),
  ],
  [halve],
];

const blockC = (channels: number): Step[][] => [
  [same("branch1x1", 192, 1)],
  [
    same("branch7x7_1", channels, 1),
    same("branch7x7_2", channels, 1, 7),
    same("branch7x7_3", 192, 7, 1),
  ],
  [
    same("branch7x7dbl_1", channels, 1),
    same("branch7x7dbl_2", channels, 7, 1),
    same("branch7x7dbl_3", channels, 1, 7),
    same("branch7x7dbl_4", channels, 7, 1),
    same("branch7x7dbl_5", 192, 1, 7),
  ],
  [averaged("branch_pool", 192)],
];

const blockD = (): Step[][] => [
  [same("branch3x3_1", 192, 1), valid("branch3x3_2", 320, 3, 2)],
  [
    same("branch7x7x3_1", 192, 1),
    same("branch7x7x3_2", 192, 1, 7),
    same("branch7x7x3_3", 192, 7, 1),
    valid("branch7x7x3_4", 192, 3, 2),
  ],
  [halve],
];

const blockE = (pooled: Step[]): Step[][] => [
  [same("branch1x1", 320, 1)],
  [
    same("branch3x3_1", 384, 1),
    [same("branch3x3_2a", 384, 1, 3), same("branch3x3_2b", 384, 3, 1)],
  ],
  [
    same("branch3x3dbl_1", 448, 1),
    same("branch3x3dbl_2", 384, 3),
    [same("branch3x3dbl_3a", 384, 1, 3), same("branch3x3dbl_3b", 384, 3, 1)],
  ],
  pooled,
];

/** `relu(bn(conv(x)))`, of x or of averages of it; folded, the convolution does all three in one pass. */
export class InceptionConvolution extends Module {
  /** Without bias, or folded with one. */
  readonly conv: Conv2d;
  /** None if folded. */
  readonly bn: BatchNorm2d | null;
  readonly #averaged: boolean;

  /** Use `InceptionV3`. @internal */
  constructor(
    inChannels: number,
    { channels, window, stride, padding, averaged = false }: Convolution,
    { rng, folded }: Making,
  ) {
    super();
    this.#averaged = averaged;
    this.conv = new Conv2d(inChannels, channels, window, rng, {
      stride,
      padding,
      bias: folded,
      // Folded weights are copied from another network.
      weightInit: folded ? zeros : kaimingUniform(),
    });
    this.bn = folded ? null : new BatchNorm2d(channels, { eps: EPS });
  }

  /** `[N, inChannels, H, W]` to `[N, channels, H', W']`. */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    if (this.bn) {
      const seen = this.#averaged ? average(x) : x;
      return relu(this.bn.forward(this.conv.forward(seen), options));
    }
    // Means of a 1×1 convolution are a convolution of means, and there are fewer.
    return this.#averaged
      ? relu(average(this.conv.forward(x)))
      : this.conv.forward(x, { activation: "relu" });
  }
}

/** Branches that see the same images, and whose channels are put one after another. */
export class InceptionBlock extends Module {
  /** Channels of the result. */
  readonly outChannels: number;
  readonly #convolutions: Record<string, InceptionConvolution> = {};
  readonly #branches: Step[][];

  /** Use `InceptionV3`. @internal */
  constructor(inChannels: number, branches: Step[][], making: Making) {
    super();
    const make = (from: number, convolution: Convolution) => {
      this.#convolutions[convolution.name] = new InceptionConvolution(
        from,
        convolution,
        making,
      );
      return convolution.channels;
    };
    this.#branches = branches;
    this.outChannels = branches.map((steps) =>
      steps.reduce((from, step) => {
        if (typeof step === "function") return from;
        if (!Array.isArray(step)) return make(from, step as Convolution);
        return step.map((one) => make(from, one)).reduce((a, b) => a + b);
      }, inChannels)
    ).reduce((a, b) => a + b);
  }

  /** The convolutions by name. @internal */
  override members(): Iterable<readonly [string, unknown]> {
    return Object.entries(this.#convolutions);
  }

  /** `[N, inChannels, H, W]` to `[N, outChannels, H', W']`. */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    const apply = (h: Tensor, step: Step): Tensor => {
      if (typeof step === "function") return step(h);
      if (Array.isArray(step)) {
        return concat(step.map((one) => apply(h, one)), 1);
      }
      const { name } = step as Convolution;
      return this.#convolutions[name]!.forward(h, options);
    };
    return concat(this.#branches.map((steps) => steps.reduce(apply, x)), 1);
  }
}

/** What the network sees on its way, of 299×299 images. */
export interface InceptionMaps {
  /** After the first pooling, `[N, 64, 73, 73]`. */
  block0: Tensor;
  /** After the second, `[N, 192, 35, 35]`. */
  block1: Tensor;
  /** After `Mixed_6d`, `[N, 768, 17, 17]`, whose first 7 channels sFID compares. */
  mixed6d: Tensor;
  /** After `Mixed_6e`, `[N, 768, 17, 17]`. */
  block2: Tensor;
  /** Before the last pooling, `[N, 2048, 8, 8]`. */
  mixed7c: Tensor;
}

/**
 * The network of FID: 23,885,392 numbers, 23,850,960 of which are parameters. Trained elsewhere: it is
 * loaded by `loadStateDict`, and `folded` is what to use.
 */
export class InceptionV3 extends Module implements ImageClassifier {
  /** 3×3 in steps of 2 to 32 channels, 149×149. */
  readonly Conv2d_1a_3x3: InceptionConvolution;
  /** 3×3 to 32, 147×147. */
  readonly Conv2d_2a_3x3: InceptionConvolution;
  /** 3×3 to 64, of the same size. */
  readonly Conv2d_2b_3x3: InceptionConvolution;
  /** 1×1 to 80, 73×73. */
  readonly Conv2d_3b_1x1: InceptionConvolution;
  /** 3×3 to 192, 71×71. */
  readonly Conv2d_4a_3x3: InceptionConvolution;
  /** To 256, 35×35. */
  readonly Mixed_5b: InceptionBlock;
  /** To 288. */
  readonly Mixed_5c: InceptionBlock;
  /** To 288. */
  readonly Mixed_5d: InceptionBlock;
  /** To 768, 17×17. */
  readonly Mixed_6a: InceptionBlock;
  /** To 768. */
  readonly Mixed_6b: InceptionBlock;
  /** To 768. */
  readonly Mixed_6c: InceptionBlock;
  /** To 768. */
  readonly Mixed_6d: InceptionBlock;
  /** To 768. */
  readonly Mixed_6e: InceptionBlock;
  /** To 1280, 8×8. */
  readonly Mixed_7a: InceptionBlock;
  /** To 2048. */
  readonly Mixed_7b: InceptionBlock;
  /** To 2048; its pooling takes maxima, as the original does. */
  readonly Mixed_7c: InceptionBlock;
  /** To the 1008 classes. */
  readonly fc: Linear;
  /** Columns of `features`. */
  readonly featureCount: number;

  /**
   * Draws the weights from `rng`.
   *
   * @param options `folded`: without batch normalisation, for weights that it was put into; defaults to false.
   */
  constructor(rng: Rng, options: { folded?: boolean } = {}) {
    super();
    const making = { rng, folded: options.folded ?? false };
    let channels = 3;
    const convolution = (one: Convolution) => {
      const layer = new InceptionConvolution(channels, one, making);
      channels = one.channels;
      return layer;
    };
    const block = (branches: Step[][]) => {
      const layer = new InceptionBlock(channels, branches, making);
      channels = layer.outChannels;
      return layer;
    };
    this.Conv2d_1a_3x3 = convolution(valid("", 32, 3, 2));
    this.Conv2d_2a_3x3 = convolution(valid("", 32, 3));
    this.Conv2d_2b_3x3 = convolution(same("", 64, 3));
    this.Conv2d_3b_1x1 = convolution(same("", 80, 1));
    this.Conv2d_4a_3x3 = convolution(valid("", 192, 3));
    this.Mixed_5b = block(blockA(32));
    this.Mixed_5c = block(blockA(64));
    this.Mixed_5d = block(blockA(64));
    this.Mixed_6a = block(blockB());
    this.Mixed_6b = block(blockC(128));
    this.Mixed_6c = block(blockC(160));
    this.Mixed_6d = block(blockC(160));
    this.Mixed_6e = block(blockC(192));
    this.Mixed_7a = block(blockD());
    this.Mixed_7b = block(blockE([averaged("branch_pool", 192)]));
    this.Mixed_7c = block(blockE([largest, same("branch_pool", 192, 1)]));
    this.featureCount = channels;
    this.fc = new Linear(channels, 1008, rng);
  }

  /**
   * A network of the same function with every batch normalisation put into the convolution before it: as
   * `γ (w * x - μ) / √(σ² + ε) + β` is again a convolution, an image takes half as many passes. It has
   * copies of the weights, and takes no part in training.
   */
  folded(): InceptionV3 {
    const copy = new InceptionV3(new Rng(0), { folded: true });
    scope(() => noGrad(() => copy.loadStateDict(foldState(this.stateDict()))));
    return copy;
  }

  /**
   * What the network sees on its way. FID's features of 64, 192 and 768 columns are the means over
   * `block0`, `block1` and `block2`.
   *
   * @param x Images in [-1, 1], `[N, 3, H, W]` of at least 75×75; FID's are 299×299.
   * @throws {TypeError} If they are no such images.
   */
  maps(x: Tensor, options: ForwardOptions = {}): InceptionMaps {
    requireThat(
      x.rank === 4 && x.shape[1] === 3,
      "InceptionV3",
      "images must be [N, 3, H, W]",
      { x },
    );
    const through = (
      x: Tensor,
      ...layers: (InceptionConvolution | InceptionBlock)[]
    ) => layers.reduce((h, layer) => layer.forward(h, options), x);
    const block0 = halve(
      through(x, this.Conv2d_1a_3x3, this.Conv2d_2a_3x3, this.Conv2d_2b_3x3),
    );
    const block1 = halve(
      through(block0, this.Conv2d_3b_1x1, this.Conv2d_4a_3x3),
    );
    const mixed5d = through(
      block1,
      this.Mixed_5b,
      this.Mixed_5c,
      this.Mixed_5d,
    );
    const mixed6d = through(
      mixed5d,
      this.Mixed_6a,
      this.Mixed_6b,
      this.Mixed_6c,
      this.Mixed_6d,
    );
    const block2 = through(mixed6d, this.Mixed_6e);
    const mixed7c = through(
      block2,
      this.Mixed_7a,
      this.Mixed_7b,
      this.Mixed_7c,
    );
    return { block0, block1, mixed6d, block2, mixed7c };
  }

  /** Means over the last maps, `[N, 2048]`. */
  features(x: Tensor, options: ForwardOptions = {}): Tensor {
    return mean(this.maps(x, options).mixed7c, { axis: [2, 3] });
  }

  /** `[N, 2048]` to logits, `[N, 1008]`. The Inception score of torch-fidelity leaves `fc.bias` out. */
  logits(features: Tensor): Tensor {
    return this.fc.forward(features);
  }

  /** Logits, `[N, 1008]`. */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    return this.logits(this.features(x, options));
  }
}

/** The state of a network whose batch normalisation is in its convolutions. */
function foldState(
  state: Readonly<Record<string, Tensor>>,
): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(state).flatMap(([name, value]) => {
      if (name.includes(".bn.")) return [];
      if (!name.endsWith(".conv.weight")) return [[name, value]];
      const path = name.slice(0, -".conv.weight".length);
      const [gain, offset, mean, variance] = [
        "weight",
        "bias",
        "running_mean",
        "running_var",
      ].map((part) => state[`${path}.bn.${part}`]!);
      const factor = div(gain!, sqrt(add(variance!, EPS)));
      return [
        [name, mul(value, reshape(factor, [-1, 1, 1, 1]))],
        [`${path}.conv.bias`, sub(offset!, mul(mean!, factor))],
      ];
    }),
  );
}
