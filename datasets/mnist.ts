/**
 * MNIST and Fashion-MNIST, from IDX files, compressed or not.
 *
 * @module
 */

import { type FindOptions, obtainFile, type Place } from "./cache.ts";
import type { RemoteFile } from "./cache.ts";
import { type Dataset, makeDataset, type Split } from "./dataset.ts";
import { readMaybeGzip } from "./_gzip.ts";
import { IDX_IMAGES, IDX_LABELS, parseIdx } from "./_idx.ts";

/** One half of a data set: its files and what the whole of it must be. */
interface Half {
  images: RemoteFile;
  labels: RemoteFile;
  count: number;
  /** `Dataset.checksum` of the official data. */
  checksum: string;
}

interface Family {
  name: string;
  place: Place;
  classNames: readonly string[];
  horizontalFlip: boolean;
  halves: Record<Split, Half>;
}

const EXPECTED = ["train", "t10k"].flatMap((half) => [
  `${half}-images-idx3-ubyte.gz`,
  `${half}-labels-idx1-ubyte.gz`,
]);

const MNIST: Family = {
  name: "mnist",
  place: {
    title: "MNIST",
    folders: ["mnist", "MNIST/raw"],
    expected: EXPECTED,
    mirrors: [
      "https://ossci-datasets.s3.amazonaws.com/mnist/",
      "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ],
  },
  classNames: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
  horizontalFlip: false,
  halves: {
    train: {
      images: {
        name: "train-images-idx3-ubyte.gz",
        sizeBytes: 9_912_422,
        sha256:
          "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
      },
      labels: {
        name: "train-labels-idx1-ubyte.gz",
        sizeBytes: 28_881,
        sha256:
          "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
      },
      count: 60_000,
      checksum:
        "edc0d1098aa497be14ace79ddd5171e5a3dcf9c4d196c015389203eb3ba1f59b",
    },
    test: {
      images: {
        name: "t10k-images-idx3-ubyte.gz",
        sizeBytes: 1_648_877,
        sha256:
          "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
      },
      labels: {
        name: "t10k-labels-idx1-ubyte.gz",
        sizeBytes: 4_542,
        sha256:
          "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
      },
      count: 10_000,
      checksum:
        "c3f9adf9c66efb572b1f9326c3a511b45910c7173b97be66ceceeeeaef6b802b",
    },
  },
};

const FASHION_MNIST: Family = {
  name: "fashion-mnist",
  place: {
    title: "Fashion-MNIST",
    folders: ["fashion-mnist", "FashionMNIST/raw"],
    expected: EXPECTED,
    mirrors: [
      "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
      "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ],
  },
  classNames: [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
  ],
  horizontalFlip: true,
  halves: {
    train: {
      images: {
        name: "train-images-idx3-ubyte.gz",
        sizeBytes: 26_421_880,
        sha256:
          "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
      },
      labels: {
        name: "train-labels-idx1-ubyte.gz",
        sizeBytes: 29_515,
        sha256:
          "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
      },
      count: 60_000,
      checksum:
        "16d82e2b505296aa2b78bd5ea0992634f30419a4c97def7c907d154a35ac6157",
    },
    test: {
      images: {
        name: "t10k-images-idx3-ubyte.gz",
        sizeBytes: 4_422_102,
        sha256:
          "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
      },
      labels: {
        name: "t10k-labels-idx1-ubyte.gz",
        sizeBytes: 5_148,
        sha256:
          "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
      },
      count: 10_000,
      checksum:
        "9f1ec356a747bfe4ebab3cfb722d3694c9ca737e2570f6f90cf31d7b6fd689d4",
    },
  },
};

/**
 * MNIST handwritten digits. Images `[N, 1, 28, 28]`, labels 0 to 9; 60,000 for
 * training, 10,000 for testing.
 *
 * Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied
 * to Document Recognition", Proc. IEEE 86(11), 1998. Commonly cited as
 * CC BY-SA 3.0.
 *
 * @param split `train` (default) or `test`.
 * @param options Where to find the four official files, `.gz` or not; see
 *   `FindOptions`.
 * @returns The data set, with a warning if it is not the official one.
 * @throws {Error} If a file is missing and cannot be downloaded.
 * @throws {SyntaxError} If a file is corrupt or not IDX.
 * @throws {RangeError} If a label is not a class, images and labels differ in
 *   number, or the files are those of Fashion-MNIST.
 */
export function loadMnist(
  split: Split = "train",
  options: FindOptions = {},
): Promise<Dataset> {
  return loadIdx(MNIST, split, options);
}

/**
 * Fashion-MNIST, pictures of clothes. Images `[N, 1, 28, 28]`, labels 0 to 9;
 * 60,000 for training, 10,000 for testing.
 *
 * H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for
 * Benchmarking Machine Learning Algorithms", arXiv:1708.07747, 2017. MIT
 * licence, © 2017 Zalando SE.
 *
 * @param split `train` (default) or `test`.
 * @param options Where to find the four official files, `.gz` or not; see
 *   `FindOptions`.
 * @returns The data set, with a warning if it is not the official one.
 * @throws {Error} If a file is missing and cannot be downloaded.
 * @throws {SyntaxError} If a file is corrupt or not IDX.
 * @throws {RangeError} If a label is not a class, images and labels differ in
 *   number, or the files are those of MNIST.
 */
export function loadFashionMnist(
  split: Split = "train",
  options: FindOptions = {},
): Promise<Dataset> {
  return loadIdx(FASHION_MNIST, split, options);
}

async function loadIdx(
  family: Family,
  split: Split,
  options: FindOptions,
): Promise<Dataset> {
  const half = family.halves[split];
  const { title } = family.place;
  const find = (file: RemoteFile) => {
    const plain = file.name.replace(/\.gz$/, "");
    return obtainFile(family.place, [plain, file.name], file, options);
  };
  // One after the other, so that a missing first file is reported at once.
  const imagesPath = await find(half.images);
  const labelsPath = await find(half.labels);
  const [images, labels] = await Promise.all([
    readMaybeGzip(imagesPath).then((b) => parseIdx(b, IDX_IMAGES, imagesPath)),
    readMaybeGzip(labelsPath).then((b) => parseIdx(b, IDX_LABELS, labelsPath)),
  ]);
  const [count = 0, height = 0, width = 0] = images.shape;
  if (count === 0 || height * width === 0) {
    throw new RangeError(
      `Cannot load ${title} as "${imagesPath}" holds no images: it is [${
        images.shape.join(", ")
      }]`,
    );
  }
  if (labels.data.length !== count) {
    throw new RangeError(
      `Cannot load ${title} as there must be one label per image: "${imagesPath}" has ${count} images, "${labelsPath}" has ${labels.data.length} labels`,
    );
  }
  const bad = labels.data.findIndex((id) => id >= family.classNames.length);
  if (bad >= 0) {
    throw new RangeError(
      `Cannot load ${title} as labels must be below ${family.classNames.length}: label ${bad} of "${labelsPath}" is ${
        labels.data[bad]
      }`,
    );
  }
  const { name, classNames, horizontalFlip } = family;
  const parts = {
    name,
    title,
    split,
    images: images.data,
    labels: labels.data,
    channels: 1,
    height,
    width,
    classNames,
    horizontalFlip,
  };
  const dataset = makeDataset(parts);
  if (dataset.checksum === half.checksum) return dataset;
  const other = family === MNIST ? FASHION_MNIST : MNIST;
  if (dataset.checksum === other.halves[split].checksum) {
    throw new RangeError(
      `Cannot load ${title} as "${imagesPath}" is that of ${other.place.title}`,
    );
  }
  const warning = count === half.count
    ? `not the official images or labels of ${title} (checksum ${dataset.checksum})`
    : `${count.toLocaleString("en")} of ${half.count.toLocaleString("en")} ${
      split === "train" ? "training" : "test"
    } images`;
  return makeDataset({ ...parts, warnings: [warning] });
}
