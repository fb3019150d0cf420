/**
 * `deno task probe RUN…`: how well the classes of images can be told by an autoencoder's latents,
 * beside pixels and an encoder that has learned nothing.
 *
 * @module
 */
import { deviceFlag } from "./_device.ts"; // before the engine, which opens the device
import {
  type AutoencoderKl,
  concat,
  type Dataset,
  type LabelledFeatures,
  linearProbe,
  nearestNeighbors,
  noGrad,
  reshape,
  scope,
  type Split,
  type Tensor,
  tensor,
} from "../mod.ts";
import {
  loadAutoencoder,
  type LoadedAutoencoder,
  spread,
} from "./_autoencoder.ts";
import { defineCommand, type Parsed, runTask, UsageError } from "./_cli.ts";
import { loadData } from "./_data.ts";
import { writeAtomic } from "./_run_folder.ts";
import { taskInfo } from "./_tasks.ts";
import { formatTable } from "./_text.ts";
import { useTuned } from "./_tuned.ts";

/** What `deno task probe` accepts. */
export const command = defineCommand({
  ...taskInfo("probe"),
  positionals: [{
    name: "run",
    description: "Run folders of autoencoders, or checkpoints in them",
    repeated: true,
  }],
  flags: {
    ...deviceFlag,
    trainCount: {
      type: "integer",
      min: 2,
      default: 10_000,
      description: "Most training images, spread over the data set",
    },
    testCount: {
      type: "integer",
      min: 1,
      default: 2_000,
      description: "Most test images",
    },
    dataDir: {
      type: "string",
      placeholder: "DIR",
      description:
        "A folder that already holds the data set's files; nothing is downloaded then",
    },
  },
  notes:
    "Features are the means of the latents, the latents of the same encoder before training, and the pixels. linear: accuracy of logistic regression on them; 1-NN and 5-NN: of the nearest neighbours. probe.json in each run keeps the numbers.",
});

type Flags = Parsed<typeof command.flags>["flags"];

/** How many neighbours vote. */
const NEIGHBORS = [1, 5];

/** Accuracies on test images, 0 to 1, but for `linearTrain`. */
interface Accuracies {
  dimensions: number;
  linear: number;
  linearTrain: number;
  /** By the number of neighbours. */
  neighbors: Record<string, number>;
}

/** A data set of a run's configuration. */
async function load(
  { config, run }: LoadedAutoencoder,
  split: Split,
  flags: Flags,
  quiet: boolean,
): Promise<Dataset> {
  const data = await loadData(config, split, flags, quiet);
  if (data.classes.length >= 2) return data;
  throw new UsageError(
    `Cannot probe ${run.path} as its images must be of at least 2 classes: ${data.title} has ${data.classes.length}`,
  );
}

/** What `represent` makes of images: one row each. */
function featuresOf(
  dataset: Dataset,
  count: number,
  represent: (x: Tensor) => Tensor,
): LabelledFeatures {
  const { channels, height, width } = dataset;
  const rows: Tensor[] = [], labels: number[] = [];
  for (const batch of spread(dataset, count)) {
    const n = batch.labels.length;
    rows.push(scope(() =>
      noGrad(() => {
        const x = tensor(batch.images, [n, channels, height, width]);
        return reshape(represent(x), [n, -1]);
      })
    ));
    labels.push(...batch.labels);
  }
  return { features: concat(rows), labels: Int32Array.from(labels) };
}

/** Probes one way to represent images. */
function judge(
  train: Dataset,
  test: Dataset,
  { trainCount, testCount }: Flags,
  represent: (x: Tensor) => Tensor,
): Promise<Accuracies> {
  return scope(async () => {
    const known = featuresOf(train, trainCount, represent);
    const asked = featuresOf(test, testCount, represent);
    const linear = await linearProbe(known, asked);
    const shares = await nearestNeighbors(known, asked, NEIGHBORS);
    return {
      dimensions: known.features.shape[1]!,
      linear: linear.test,
      linearTrain: linear.train,
      neighbors: Object.fromEntries(NEIGHBORS.map((k, i) => [k, shares[i]!])),
    };
  });
}

/** Probes an autoencoder and what it is compared with, and keeps the numbers in its run. */
async function probe(path: string, flags: Flags, quiet: boolean) {
  const loaded = await loadAutoencoder(path);
  const { run, config, step } = loaded;
  const train = await load(loaded, "train", flags, quiet);
  const test = await load(loaded, "test", flags, quiet);
  const means = (network: AutoencoderKl) => (x: Tensor) =>
    network.encode(x).mean;
  const untrained = loaded.untrained();
  const judged = (represent: (x: Tensor) => Tensor) =>
    judge(train, test, flags, represent);
  const report = {
    run: run.path,
    step,
    dataset: config.dataset,
    trainImages: Math.min(flags.trainCount, train.length),
    testImages: Math.min(flags.testCount, test.length),
    classes: train.classes.length,
    results: {
      latents: await judged(means(loaded.network)),
      untrained: await judged(means(untrained)),
      pixels: await judged((x) => x),
    },
  };
  loaded.network.dispose();
  untrained.dispose();
  const text = JSON.stringify(report, null, 2) + "\n";
  await writeAtomic(run.file("probe.json"), text);
  return { name: run.name, ...report };
}

/**
 * Probes runs and prints a table.
 *
 * @param parsed The command line.
 */
export async function main(
  { positionals, flags, json }: Parsed<typeof command.flags>,
): Promise<void> {
  useTuned();
  const reports = [];
  for (const path of positionals) reports.push(await probe(path, flags, json));
  if (json) {
    console.log(JSON.stringify(reports.map(({ name: _, ...rest }) => rest)));
    return;
  }
  const percent = (share: number) => (100 * share).toFixed(1);
  for (const { name, dataset, results, ...report } of reports) {
    console.log(
      `${name} at step ${report.step}: ${dataset}, ${report.classes} classes, ` +
        `${report.trainImages} training and ${report.testImages} test images, accuracy in %`,
    );
    const rows = Object.entries(results).map(([features, found]) => [
      features,
      String(found.dimensions),
      percent(found.linear),
      ...NEIGHBORS.map((k) => percent(found.neighbors[k]!)),
    ]);
    const header = [
      "Features",
      "Dimensions",
      "linear",
      ...NEIGHBORS.map((k) => `${k}-NN`),
    ];
    console.log(formatTable([header, ...rows], { right: [1, 2, 3, 4] }));
  }
}

if (import.meta.main) await runTask(command, main);
