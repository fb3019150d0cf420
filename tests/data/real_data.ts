/**
 * Checks the loaders on real data: `DATA_DIR=<folder> deno task test:data`, or
 * `DATA_DIR=<folder> deno run --allow-read --allow-env tests/data/real_data.ts`.
 * The folder has the layout that `--data-dir` takes; what is absent is
 * skipped. Prints a line per check, then `N passed, N failed`.
 *
 * @module
 */

import { Batches } from "../../datasets/batches.ts";
import {
  checkRange,
  type Dataset,
  type Split,
} from "../../datasets/dataset.ts";
import { loadDataset, type NamedDataset } from "../../datasets/load.ts";
import {
  argMax,
  noGrad,
  normalize,
  PRETRAINED_LENETS,
  pretrainedLeNet,
  scope,
  tensor,
} from "../../mod.ts";

/** What one split of a data set must be. Statistics are of pixels / 255, per channel. */
interface Expected {
  name: NamedDataset;
  split: Split;
  perClass: number[];
  shape: [channels: number, height: number, width: number];
  mean: number[];
  std: number[];
  /** Largest difference of a statistic. */
  tolerance: number;
  /** `Dataset.checksum`, where one is known. */
  checksum?: string;
}

const each = (count: number) => Array<number>(10).fill(count);
const GREY: Expected["shape"] = [1, 28, 28];

const EXPECTED: Expected[] = [
  {
    name: "mnist",
    split: "train",
    perClass: [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    shape: GREY,
    mean: [0.1306605],
    std: [0.3081078],
    tolerance: 1e-6,
    checksum:
      "edc0d1098aa497be14ace79ddd5171e5a3dcf9c4d196c015389203eb3ba1f59b",
  },
  {
    name: "mnist",
    split: "test",
    perClass: [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    shape: GREY,
    mean: [0.1325146],
    std: [0.3104802],
    tolerance: 1e-6,
    checksum:
      "c3f9adf9c66efb572b1f9326c3a511b45910c7173b97be66ceceeeeaef6b802b",
  },
  {
    name: "fashion-mnist",
    split: "train",
    perClass: each(6000),
    shape: GREY,
    mean: [0.2860406],
    std: [0.3530242],
    tolerance: 1e-6,
    checksum:
      "16d82e2b505296aa2b78bd5ea0992634f30419a4c97def7c907d154a35ac6157",
  },
  {
    name: "fashion-mnist",
    split: "test",
    perClass: each(1000),
    shape: GREY,
    mean: [0.2868493],
    std: [0.3524442],
    tolerance: 1e-6,
    checksum:
      "9f1ec356a747bfe4ebab3cfb722d3694c9ca737e2570f6f90cf31d7b6fd689d4",
  },
  {
    // The published per-channel statistics; a copy that went through JPEG
    // stays within the tolerance too.
    name: "cifar10",
    split: "train",
    perClass: each(5000),
    shape: [3, 32, 32],
    mean: [0.4914, 0.4822, 0.4465],
    std: [0.2470, 0.2435, 0.2616],
    tolerance: 0.004,
  },
  {
    name: "cifar10",
    split: "test",
    perClass: each(1000),
    shape: [3, 32, 32],
    mean: [0.4942, 0.4851, 0.4504],
    std: [0.2467, 0.2429, 0.2616],
    tolerance: 0.004,
  },
];

/** Counts checks and prints a line for each. */
class Checks {
  passed = 0;
  failed = 0;
  check(name: string, isRight: boolean, found: string): void {
    if (isRight) this.passed++;
    else this.failed++;
    console.log(`${name}: ${found} ... ${isRight ? "ok" : "FAILED"}`);
  }
}

/**
 * Runs all checks.
 *
 * @param dataDir The folder with the data sets.
 * @returns Exit code: 0 if all passed, 1 if one failed or there was no data.
 */
export async function main(dataDir: string): Promise<number> {
  const checks = new Checks();
  await checkDigits(checks, dataDir);
  let loaded = 0;
  for (const expected of EXPECTED) {
    const what = `${expected.name}/${expected.split}`;
    const start = performance.now();
    try {
      const dataset = await loadDataset(expected.name, {
        dataDir,
        split: expected.split,
      });
      const timeMs = Math.round(performance.now() - start);
      loaded++;
      checks.check(
        `${what} loads`,
        true,
        `${dataset.length} images in ${timeMs} ms`,
      );
      checkDataset(checks, what, dataset, expected);
      if (expected.split === "test") {
        await checkLeNet(checks, dataset, expected);
      }
    } catch (error) {
      const { message, cause } = error as Error;
      if (cause instanceof Deno.errors.NotFound) {
        console.log(`${what}: not in "${dataDir}", skipped`);
      } else {
        checks.check(`${what} loads`, false, message);
      }
    }
  }
  if (loaded === 0) checks.check("data", false, `none found in "${dataDir}"`);
  console.log(`${checks.passed} passed, ${checks.failed} failed`);
  return checks.failed === 0 ? 0 : 1;
}

function checkDataset(
  checks: Checks,
  what: string,
  dataset: Dataset,
  expected: Expected,
): void {
  const perClass = countClasses(dataset);
  const total = expected.perClass.reduce((a, b) => a + b);
  const isWhole = dataset.length === total;
  const shape = [dataset.channels, dataset.height, dataset.width];
  checks.check(
    `${what} shape`,
    shape.join() === expected.shape.join(),
    `[${dataset.length}, ${shape.join(", ")}]`,
  );
  if (isWhole) {
    checks.check(
      `${what} images per class`,
      perClass.join() === expected.perClass.join(),
      perClass.join(", "),
    );
  } else {
    // A part of the data: it must say so, and look like a fair sample.
    const stated = `${dataset.length.toLocaleString("en")} of ${
      total.toLocaleString("en")
    }`;
    checks.check(
      `${what} states that it is partial`,
      dataset.warnings.some((warning) => warning.includes(stated)),
      dataset.warnings.join("; ") || "no warning",
    );
    const slack = 4 * Math.sqrt(dataset.length * 0.1 * 0.9); // 4 standard deviations
    checks.check(
      `${what} images per class`,
      perClass.every((n) => Math.abs(n - dataset.length / 10) < slack),
      perClass.join(", "),
    );
  }
  const tolerance = isWhole
    ? expected.tolerance
    : Math.max(expected.tolerance, 1 / Math.sqrt(dataset.length));
  const { mean, std } = channelStatistics(dataset);
  const isNear = (a: number[], b: number[]) =>
    a.every((value, i) => Math.abs(value - b[i]!) <= tolerance);
  const show = (values: number[]) =>
    values.map((value) => value.toFixed(7)).join(", ");
  checks.check(`${what} mean`, isNear(mean, expected.mean), show(mean));
  checks.check(
    `${what} standard deviation`,
    isNear(std, expected.std),
    show(std),
  );
  if (expected.checksum !== undefined) {
    checks.check(
      `${what} checksum`,
      dataset.checksum === expected.checksum,
      dataset.checksum,
    );
  }
  checkBatches(checks, what, dataset);
}

/** One epoch of batches: every image once, all in range, labels those of the images. */
function checkBatches(checks: Checks, what: string, dataset: Dataset): void {
  const batches = new Batches(dataset, { batchSize: 250, seed: 1 });
  const seen = new Uint8Array(dataset.length);
  let labelled = 0;
  const start = performance.now();
  const steps = Math.floor(dataset.length / 250);
  for (let step = 0; step < steps; step++) {
    const { images, labels, indices } = batches.batch(step);
    if (step === 0) checkRange(images, -1, 1, what);
    indices.forEach((index, i) => {
      seen[index]!++;
      if (labels[i] === dataset.labels[index]) labelled++;
    });
  }
  const rate = Math.round(steps * 250 / (performance.now() - start) * 1000);
  checks.check(
    `${what} batches`,
    seen.every((times) => times <= 1) && labelled === steps * 250,
    `${steps} of 250 images, ${rate} images/s`,
  );
}

/** Images that go through a network at once. */
const CHUNK = 500;

/** That the weights that come with the project, if any are for this data, are as good as they say. */
async function checkLeNet(
  checks: Checks,
  dataset: Dataset,
  { name }: Expected,
): Promise<void> {
  const known = PRETRAINED_LENETS.find((known) => known === name);
  if (known === undefined) return;
  const { network, accuracy, testChecksum } = await pretrainedLeNet(known);
  const { images, labels, length, channels, height, width } = dataset;
  const size = channels * height * width;
  let right = 0;
  for (let from = 0; from < length; from += CHUNK) {
    const n = Math.min(CHUNK, length - from);
    const pixels = normalize(images.subarray(from * size, (from + n) * size));
    const found = scope(() =>
      noGrad(() =>
        argMax(network.forward(tensor(pixels, [n, channels, height, width])), {
          axis: 1,
        })
      )
    );
    (await found.data()).forEach((label, i) => {
      if (label === labels[from + i]) right++;
    });
    found.dispose();
  }
  const share = right / length;
  const isWhole = testChecksum === dataset.checksum;
  checks.check(
    `${name}/test LeNet-5 that comes with the project`,
    share >= (known === "mnist" ? 0.99 : 0.9) - (isWhole ? 0 : 0.01) &&
      // Another device may decide a close call in another way.
      (!isWhole || Math.abs(share - accuracy) < 3e-4),
    `accuracy ${share}, stated ${accuracy}`,
  );
  network.dispose();
}

/** The embedded digits, and that they are those of `digits/digits.csv.gz` if there is one. */
async function checkDigits(checks: Checks, dataDir: string): Promise<void> {
  const splits = [
    await loadDataset("digits"),
    await loadDataset("digits", { split: "test" }),
  ];
  const perClass = each(0).map((_, digit) =>
    splits.reduce((sum, split) => sum + countClasses(split)[digit]!, 0)
  );
  checks.check(
    "digits images per class",
    perClass.join() === "178,182,177,183,181,182,181,179,174,180",
    perClass.join(", "),
  );
  let file: Deno.FsFile;
  try {
    file = await Deno.open(`${dataDir}/digits/digits.csv.gz`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  const stream = file.readable.pipeThrough(new DecompressionStream("gzip"));
  const lines = (await new Response(stream).text()).trim().split("\n");
  const fromFile = lines.map((line) => {
    const row = line.split(",").map(Number);
    return [...row.slice(0, 64).map((v) => Math.round(v * 255 / 16)), row[64]]
      .join();
  });
  const embedded = splits.flatMap(({ images, labels }) =>
    Array.from(
      labels,
      (label, i) => [...images.subarray(i * 64, (i + 1) * 64), label].join(),
    )
  );
  checks.check(
    "digits equal digits.csv.gz",
    fromFile.sort().join("\n") === embedded.sort().join("\n"),
    `${lines.length} rows`,
  );
}

function countClasses({ labels }: Dataset): number[] {
  const counts = each(0);
  for (const label of labels) counts[label]!++;
  return counts;
}

/** Mean and standard deviation of pixels / 255, exact sums of integers. */
function channelStatistics(
  { images, length, channels, height, width }: Dataset,
): { mean: number[]; std: number[] } {
  const pixels = height * width;
  const sums = Array<number>(channels).fill(0);
  const squares = Array<number>(channels).fill(0);
  for (let plane = 0; plane < length * channels; plane++) {
    let sum = 0, square = 0;
    for (let i = plane * pixels; i < (plane + 1) * pixels; i++) {
      const value = images[i]!;
      sum += value;
      square += value * value;
    }
    sums[plane % channels]! += sum;
    squares[plane % channels]! += square;
  }
  const n = length * pixels;
  const mean = sums.map((sum) => sum / n / 255);
  const std = squares.map((square, c) =>
    Math.sqrt(square / n / 255 ** 2 - mean[c]! ** 2)
  );
  return { mean, std };
}

if (import.meta.main) {
  const dataDir = Deno.env.get("DATA_DIR");
  if (!dataDir) {
    console.error("Usage: DATA_DIR=<folder> deno task test:data");
    Deno.exit(2);
  }
  Deno.exit(await main(dataDir));
}
