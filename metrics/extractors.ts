/**
 * Networks whose features stand for images: Inception, by which FID is defined; LeNet-5, where images are
 * digits or clothes; one with random weights, for images of any kind; and any classifier.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { conv2d } from "../kernels/conv2d.ts";
import { linear } from "../kernels/linear.ts";
import { mean } from "../kernels/reduce.ts";
import { concat, flatten, narrow } from "../kernels/shape.ts";
import { scale } from "../kernels/unary.ts";
import type { ImageClassifier } from "../models/classifiers.ts";
import { INCEPTION_SIZE, InceptionV3 } from "../models/inception.ts";
import {
  pretrainedLeNet,
  type PretrainedLeNetName,
} from "../models/pretrained_lenet.ts";
import { fans } from "../nn/init.ts";
import type { StateDict } from "../nn/module.ts";
import { capture, type CapturedStep } from "../tensor/capture.ts";
import { keep, noGrad } from "../tensor/context.ts";
import { deviceInfo } from "../tensor/device.ts";
import { philoxWords, toUnit } from "../tensor/philox.ts";
import { Rng } from "../tensor/rng.ts";
import {
  sizeOf,
  type Tensor,
  tensor,
  type TypedArray,
} from "../tensor/tensor.ts";
import type {
  FeatureExtractor,
  ImageFeatures,
  ImageShape,
} from "./feature_extractor.ts";
import { imageResizer, type ResizeDialect } from "./resize.ts";

/** The file with the weights by which FID is defined, as pytorch-fid has it. */
export const INCEPTION_WEIGHTS = {
  name: "pt_inception-2015-12-05-6726825d.pth",
  folder:
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/",
  sizeBytes: 95_628_359,
  sha256: "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
} as const;

/** Channels of the map whose places sFID compares. */
const SPATIAL_CHANNELS = 7;
/** Channels of the random network's layers; all but the first halve the image. */
const RANDOM_CHANNELS = [32, 64, 128, 256];
/** First word of the key by which its weights are drawn, which makes them the same for all. */
const RANDOM_SEED = 2015;
/** Batches whose outputs are read at once. */
const ROWS = 8;
/** Most numbers of a batch: of large images fewer are taken at once. */
const BATCH_NUMBERS = 1 << 21;

/** A network as metrics take it. */
export interface NetworkExtractor extends FeatureExtractor {
  /** Most images that go through it at once; it is always as many, so features do not depend on it. */
  readonly batchSize: number;
  /** Frees the network. */
  dispose(): void;
}

/** What a network makes of images, by the names of `ImageFeatures`. */
type Outputs = Partial<Record<keyof ImageFeatures, Tensor>>;

/** What an extractor is made of. */
interface Parts extends Omit<NetworkExtractor, "extract"> {
  /**
   * The network for images of a shape, which takes bytes as floats, `[N, C, H, W]`.
   *
   * @throws {RangeError} If it does not take such.
   */
  networkFor(shape: ImageShape): (x: Tensor) => Outputs;
}

/** A captured step, and the shape of the images that it takes. */
interface Captured {
  readonly key: string;
  readonly batchSize: number;
  readonly step: CapturedStep<"x", string>;
}

function networkExtractor({ networkFor, ...parts }: Parts): NetworkExtractor {
  const { name } = parts;
  /** For the shape of the last images. */
  let captured: Captured | undefined;
  let last: Promise<unknown> = Promise.resolve();

  function capturedFor(shape: ImageShape): Captured {
    const { channels, height, width } = shape;
    const key = `${channels},${height},${width}`;
    if (captured?.key === key) return captured;
    const network = networkFor(shape);
    captured?.step.dispose();
    captured = undefined;
    const most = Math.floor(BATCH_NUMBERS / (channels * height * width));
    const batchSize = Math.max(1, Math.min(parts.batchSize, most));
    const step = capture(
      ({ x }) => noGrad(() => network(x) as Record<string, Tensor>),
      {
        inputs: { x: { shape: [batchSize, channels, height, width] } },
        rows: ROWS,
      },
    );
    return captured = { key, batchSize, step };
  }

  async function extract(
    images: Uint8Array,
    shape: ImageShape,
  ): Promise<ImageFeatures> {
    const { channels, height, width } = shape;
    const size = channels * height * width, count = images.length / size;
    if (!(images instanceof Uint8Array) || !Number.isInteger(count)) {
      throw new TypeError(
        `Cannot take features by ${name} as images must be bytes [N, ${channels}, ${height}, ${width}]: ` +
          `they are a ${images.constructor.name} of ${images.length}`,
      );
    }
    const { batchSize, step } = capturedFor(shape);
    const found: Record<string, TypedArray[]> = { features: [] };
    const x = new Float32Array(batchSize * size);
    const batches = Math.ceil(count / batchSize);
    for (let batch = 1; batch <= batches; batch++) {
      const at = (batch - 1) * x.length;
      // What is left of the batch before fills up the last one, and is computed in vain.
      x.set(images.subarray(at, at + x.length));
      step.replay({ x });
      if (batch % ROWS > 0 && batch < batches) continue;
      for (const outputs of await step.outputs()) {
        for (const [kind, data] of Object.entries(outputs)) {
          (found[kind] ??= []).push(data);
        }
      }
    }
    return Object.fromEntries(
      Object.entries(found).map(([kind, pieces]) => {
        const length = pieces[0]?.length ?? 0;
        const rows = new Float32Array(count * length / batchSize);
        pieces.forEach((piece, i) => {
          const at = i * length;
          rows.set(piece.subarray(0, rows.length - at), at);
        });
        return [kind, rows];
      }),
    ) as unknown as ImageFeatures;
  }

  return {
    ...parts,
    extract(images, shape) {
      // One call after another, as they share a captured step.
      const found = last.then(() => extract(images, shape));
      last = found.catch(() => {});
      return found;
    },
    dispose() {
      captured?.step.dispose();
      captured = undefined;
      parts.dispose();
    },
  };
}

/** Throws unless images are of the one shape that a network takes. */
function requireShape(name: string, wanted: ImageShape, found: ImageShape) {
  const text = ({ channels, height, width }: ImageShape) =>
    `${channels} × ${height} × ${width}`;
  if (text(found) === text(wanted)) return;
  throw new RangeError(
    `Cannot take features by ${name} as images must be ${
      text(wanted)
    }: they are ${text(found)}`,
  );
}

/** SHA-256 of names, shapes and elements. */
async function hashOf(
  state: Readonly<Record<string, Tensor>>,
): Promise<string> {
  const hash = createHash("sha256");
  for (const [name, value] of Object.entries(state)) {
    hash.update(`${name} [${value.shape}]`).update(await value.data());
  }
  return hash.digest("hex");
}

/** What is known of the weights of an Inception network. */
export interface InceptionFacts {
  /** SHA-256 of their file, in hexadecimal. */
  sha256: string;
  /** Name of their file, which is the extractor's unless they are those of FID; defaults to `inception-` and the beginning of the hash. */
  name?: string;
  /** How images come to 299×299; defaults to `pytorch-fid`. */
  resize?: ResizeDialect;
  /** Images that go through it at once; defaults to 8 on the CPU and 32 on a GPU. */
  batchSize?: number;
}

/**
 * The network of FID. Gives the 2048 means over its last maps; logits without their bias, as torch-fidelity
 * takes them for the Inception score; and the first 7 channels of `Mixed_6d` at 17×17 places, for sFID. Grey
 * images are repeated to RGB. Only the weights of `INCEPTION_WEIGHTS` earn scores the name FID; with others
 * the first digits of their hash stand before it.
 *
 * @param weights The state of `InceptionV3`, as a file gives it.
 * @throws {TypeError} Naming all entries of `weights` that are missing, unexpected, or of another shape.
 * @throws {RangeError} If the dialect is unknown.
 */
export function inceptionExtractor(
  weights: Readonly<StateDict>,
  facts: InceptionFacts,
): NetworkExtractor {
  const { sha256, name, resize = "pytorch-fid" } = facts;
  imageResizer(1, 1, 1, resize); // throws if there is none
  const loaded = new InceptionV3(new Rng(0));
  let network: InceptionV3;
  try {
    loaded.loadStateDict(weights);
    network = loaded.folded();
  } finally {
    loaded.dispose();
  }
  const isFid = sha256 === INCEPTION_WEIGHTS.sha256;
  const short = sha256.slice(0, 8);
  return networkExtractor({
    name: isFid ? "inception" : name ?? `inception-${short}`,
    prefix: isFid ? "" : `Inception(${short})-`,
    sha256,
    resize,
    dimensions: network.featureCount,
    batchSize: facts.batchSize ?? (deviceInfo().executor === "cpu" ? 8 : 32),
    networkFor({ channels, height, width }) {
      if (channels !== 1 && channels !== 3) {
        throw new RangeError(
          `Cannot take features by Inception as images must have 1 or 3 channels: they have ${channels}`,
        );
      }
      const resized = imageResizer(height, width, INCEPTION_SIZE, resize);
      return (x) => {
        const one = resized(x);
        const { mixed6d, mixed7c } = network.maps(
          channels === 3 ? one : concat([one, one, one], 1),
        );
        const features = mean(mixed7c, { axis: [2, 3] });
        return {
          features,
          logits: linear(features, network.fc.weight),
          spatial: flatten(narrow(mixed6d, 1, 0, SPATIAL_CHANNELS), 1),
        };
      };
    },
    dispose: () => network.dispose(),
  });
}

/** What is known of a classifier. */
export interface ClassifierFacts {
  /** What to call it, such as its run. */
  name: string;
  /** Of the images that it was trained on: it takes no others. */
  shape: ImageShape;
  /** Of its classes, by id. */
  classNames: readonly string[];
  /** Share of test images whose class it finds. */
  accuracy?: number;
}

function byClassifier(
  network: ImageClassifier,
  facts: ClassifierFacts,
  { prefix, sha256 }: { prefix: string; sha256: string },
): NetworkExtractor {
  const { name, shape, classNames, accuracy } = facts;
  return networkExtractor({
    name,
    prefix,
    sha256,
    resize: "none",
    dimensions: network.featureCount,
    classNames,
    accuracy,
    batchSize: 64,
    networkFor(found) {
      requireShape(name, shape, found);
      return (x) => {
        const features = network.features(toUnits(x));
        return { features, logits: network.logits(features) };
      };
    },
    dispose: () => network.dispose(),
  });
}

/** Bytes as classifiers of this library see them, in [-1, 1]. */
function toUnits(x: Tensor): Tensor {
  return scale(x, 1 / 127.5, -1);
}

/**
 * The 84 features and the logits of the LeNet-5 that comes with the project.
 *
 * @param dataset `mnist`, `fashion-mnist` or `digits`, whose size images must have.
 * @throws {RangeError} If there are no weights for `dataset`.
 */
export async function lenetExtractor(
  dataset: PretrainedLeNetName,
): Promise<NetworkExtractor> {
  const { network, sha256, size, ...facts } = await pretrainedLeNet(dataset);
  return byClassifier(network, {
    ...facts,
    name: `lenet-${dataset}`,
    shape: { channels: 1, height: size, width: size },
  }, { prefix: "LeNet-", sha256 });
}

/**
 * The features and logits of a classifier of clean images. It belongs to the extractor from then on.
 *
 * @param network Takes images in [-1, 1].
 */
export async function classifierExtractor(
  network: ImageClassifier,
  facts: ClassifierFacts,
): Promise<NetworkExtractor> {
  const sha256 = await hashOf(network.stateDict());
  return byClassifier(network, facts, { prefix: "Classifier-", sha256 });
}

/**
 * 256 means over the maps of a convolutional network that nobody has trained: what such a one sees does not
 * favour what classifiers were taught to see (Naeem et al. 2020, arXiv:2002.09797). Four 3×3 convolutions with
 * ReLU, whose weights are the same everywhere, for images of any size.
 *
 * @param options `channels` of the images; defaults to 3.
 */
export async function randomExtractor(
  { channels = 3 }: { channels?: number } = {},
): Promise<NetworkExtractor> {
  const weights = RANDOM_CHANNELS.map((to, i) => {
    const shape = [to, RANDOM_CHANNELS[i - 1] ?? channels, 3, 3];
    // Drawn on the host, so that all devices have the same bits; uniform of variance 2 / fanIn, for ReLU.
    const spread = 2 * Math.sqrt(6 / fans(shape).fanIn);
    const words = philoxWords(sizeOf(shape), [RANDOM_SEED, i]);
    const drawn = Float32Array.from(
      words,
      (word) => (toUnit(word) - 0.5) * spread,
    );
    return keep(tensor(drawn, shape));
  });
  return networkExtractor({
    name: "random",
    prefix: "Random-",
    sha256: await hashOf(Object.fromEntries(weights.entries())),
    resize: "none",
    dimensions: RANDOM_CHANNELS.at(-1)!,
    batchSize: 64,
    networkFor(shape) {
      requireShape("random", { ...shape, channels }, shape);
      return (x) => {
        const maps = weights.reduce(
          (h, weight, i) =>
            conv2d(h, weight, undefined, {
              padding: 1,
              stride: i === 0 ? 1 : 2,
              activation: "relu",
            }),
          toUnits(x),
        );
        return { features: mean(maps, { axis: [2, 3] }) };
      };
    },
    dispose: () => weights.forEach((weight) => weight.dispose()),
  });
}
