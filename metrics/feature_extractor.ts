/**
 * What metrics ask of a network: features of images.
 *
 * @module
 */

/** What a network sees in images. */
export interface ImageFeatures {
  /** `[N, dimensions]`. */
  features: Float32Array<ArrayBuffer>;
  /** Scores of the classes, `[N, classes]`; of networks that have classes. */
  logits?: Float32Array<ArrayBuffer>;
  /** Features of places in the images, `[N, spatialDimensions]`, for sFID; of networks that have such. */
  spatial?: Float32Array<ArrayBuffer>;
}

/** Channels and sides of images. */
export interface ImageShape {
  /** 1 or 3. */
  readonly channels: number;
  /** In pixels. */
  readonly height: number;
  /** In pixels. */
  readonly width: number;
}

/** A network whose features stand for images. Scores are comparable only if name, hash and resize are equal. */
export interface FeatureExtractor {
  /** `inception`, `lenet-mnist`, `random`, or a file's name. */
  readonly name: string;
  /** Stands before the names of scores: empty for Inception alone, else `LeNet-`, `Random-`, `Classifier-`. */
  readonly prefix: string;
  /** SHA-256 of the weights, in hexadecimal. */
  readonly sha256: string;
  /** How images come to the network's size: `pytorch-fid`, `clean-fid`, `torch-fidelity`, or `none`. */
  readonly resize: string;
  /** Columns of the features. */
  readonly dimensions: number;
  /** Of the classes that the logits are of, by id; of networks that know them. */
  readonly classNames?: readonly string[];
  /** Images that go through the network at once: fewer take as long; defaults to 64. */
  readonly batchSize?: number;
  /** Share of test images whose class it finds, where known. */
  readonly accuracy?: number;
  /**
   * Features of images, in batches of one size, so that they depend on neither their number nor their order.
   *
   * @param images Bytes 0 to 255, `[N, C, H, W]`. Grey ones become RGB here, where the network wants it.
   * @throws {TypeError} If the images are not of the shape.
   * @throws {RangeError} If the network does not take images of this shape.
   */
  extract(images: Uint8Array, shape: ImageShape): Promise<ImageFeatures>;
}
