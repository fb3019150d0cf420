/**
 * A run that is evaluated: its model and its data, each loaded once.
 *
 * @module
 */
import type { Dataset, Split } from "../mod.ts";
import { checkpointOf } from "./_checkpoint.ts";
import { checkConfig } from "./_config.ts";
import { loadData } from "./_data.ts";
import { loadDdpm } from "./_ddpm.ts";
import type { RunFacts } from "./_evaluation.ts";
import { loadGan } from "./_gan.ts";
import { MODELS } from "./_models.ts";
import { RunFolder } from "./_run_folder.ts";
import { type DataShape, readCheckpoint, type Trainable } from "./_trainer.ts";
import type { TrainingConfig } from "./_training_config.ts";
import { loadVae } from "./_vae.ts";
import { UsageError } from "./_cli.ts";

/** Kinds of model that draw images. */
const LOADERS = {
  ddpm: loadDdpm,
  joint: loadDdpm,
  gan: loadGan,
  vae: loadVae,
} as const;

type Loaded<K extends keyof typeof LOADERS> = ReturnType<
  typeof LOADERS[K]
>["model"];

/** What all parts of an evaluation are told. */
export interface SubjectOptions {
  /** Whether the moving average of the weights is evaluated. */
  ema: boolean;
  /** As `--data-dir`. */
  dataDir?: string;
  /** Prints a line for people. */
  say: (text: string) => void;
  /** Whether nothing but the result is printed. */
  quiet: boolean;
  /** Asked now and then. */
  isCancelled: () => boolean;
}

/** A run that can be evaluated. */
export class Subject {
  readonly run: RunFolder;
  readonly options: SubjectOptions;
  readonly checkpoint: Awaited<ReturnType<typeof checkpointOf>>;
  /** Kind of the model. */
  readonly kind: keyof typeof LOADERS;
  readonly config: TrainingConfig;
  /** Of its images. */
  readonly shape: DataShape;
  /** Optimizer steps. */
  readonly step: number;
  /** Wall time of its training. */
  readonly trainSeconds: number;
  /** Of the training data; unknown of imported weights. */
  readonly #checksum: unknown;
  readonly #data = new Map<Split, Promise<Dataset>>();

  private constructor(
    run: RunFolder,
    checkpoint: Subject["checkpoint"],
    checksum: unknown,
    options: SubjectOptions,
  ) {
    const { bytes, path } = checkpoint;
    const { model, config, shape, step, seconds } = readCheckpoint(bytes, path);
    if (!(model in LOADERS)) {
      const hint = model === "autoencoder" ? ": deno task probe does" : "";
      throw new UsageError(
        `Cannot evaluate ${run.path} as runs of ${model} draw no images${hint}`,
      );
    }
    this.run = run;
    this.options = options;
    this.checkpoint = checkpoint;
    this.kind = model as Subject["kind"];
    this.config = checkConfig(
      MODELS[model]!.schema,
      config,
      path,
    ) as unknown as TrainingConfig;
    this.shape = shape;
    this.step = step;
    this.trainSeconds = seconds;
    this.#checksum = checksum;
  }

  /**
   * Opens a run, or a checkpoint in one.
   *
   * @throws {UsageError} If there is none, or its model draws no images.
   */
  static async open(path: string, options: SubjectOptions): Promise<Subject> {
    const run = await RunFolder.open(path);
    const { dataChecksum } = (await run.readConfig()).run;
    const checkpoint = await checkpointOf(run, path, options.say);
    return new Subject(run, checkpoint, dataChecksum, options);
  }

  /** The model, of its kind, with the weights to evaluate. */
  load<K extends Subject["kind"]>(kind: K): Loaded<K> {
    const { checkpoint: { bytes, path }, options: { ema } } = this;
    return LOADERS[kind](bytes, path, ema).model as Loaded<K>;
  }

  /** What is known whatever is drawn. */
  facts(): RunFacts {
    const model: Trainable = this.load(this.kind);
    const { network } = model;
    const facts = {
      model: this.kind,
      parameters: network.parameterCount,
      trainSeconds: this.trainSeconds,
      imagesSeen: this.step * this.config.batchSize,
      gflopForward: model.flops() / 1e9,
    };
    network.dispose();
    return facts;
  }

  /**
   * What it was trained on.
   *
   * @throws {UsageError} If the data are not those any more.
   */
  async train(): Promise<Dataset> {
    const data = await this.#load("train");
    const before = this.#checksum;
    if (before === undefined || data.checksum === before) return data;
    throw new UsageError(
      `Cannot evaluate ${this.run.path} as the training data differ from those it was trained on: sha256 ` +
        `is ${data.checksum}, was ${before}`,
    );
  }

  /** The test images of the same classes; undefined if there are none apart from those it was trained on. */
  async test(): Promise<Dataset | undefined> {
    const [train, test] = [await this.train(), await this.#load("test")];
    return test.checksum === train.checksum ? undefined : test;
  }

  #load(split: Split): Promise<Dataset> {
    const { dataDir, quiet } = this.options;
    const data = this.#data.get(split) ??
      loadData(this.config, split, { dataDir }, quiet);
    this.#data.set(split, data);
    return data;
  }
}
