/**
 * Training of one network by gradient descent: optimizer, moving average, and everything that a
 * checkpoint holds of them, so that a resumed run continues bit for bit. A training step is captured
 * and replayed. What is minimised and what is drawn to look at is the model's business.
 *
 * @module
 */
import {
  AdamW,
  autocast,
  type Batch,
  capture,
  type CapturedStep,
  type CaptureInfo,
  clipScale,
  type Dataset,
  Ema,
  gradients,
  type HostTensor,
  type InputSpec,
  type Module,
  parseSafetensors,
  type Rng,
  type RngState,
  saveSafetensors,
  type Schedule,
  schedules,
  type Tensor,
  type TypedArray,
} from "../mod.ts";
import type { Chart } from "./_plots.ts";
import type { RunFolder } from "./_run_folder.ts";
import type { TrainingConfig } from "./_training_config.ts";

/** Value of the metadata key `format` of a checkpoint. */
export const FORMAT = "denoise-run-1";

/** What describes the data to a model: stored in the checkpoint, so that sampling needs no flags. */
export interface DataShape {
  /** Image channels. */
  channels: number;
  /** Pixels. */
  height: number;
  /** Pixels. */
  width: number;
  /** Names of the classes trained on, by the network's ids. */
  classNames: string[];
}

/** The shape of a data set as a model needs it. */
export function shapeOf(dataset: Dataset): DataShape {
  const { channels, height, width, classes, classNames } = dataset;
  return {
    channels,
    height,
    width,
    classNames: classes.map((id) => classNames[id]!),
  };
}

/** Images to look at. */
export interface Picture {
  /** 0 to 255, `[count, channels, height, width]`. */
  bytes: Uint8Array<ArrayBuffer>;
  /** Number of images. */
  count: number;
}

/** What is minimised, and other numbers of a step. */
export type Losses =
  & Readonly<Record<string, Tensor>>
  & { readonly loss: Tensor };

/** A part of a network with an optimizer of its own. */
export interface Player {
  /** Comes before the names of its numbers, as in `generator_loss`. */
  readonly name: string;
  /** What it may change. */
  readonly module: Module;
  /** Default: the configuration's. */
  readonly optimizer?: TrainingConfig["optimizer"];
  /** Whether it plays at a step; default: always. */
  plays?(step: number): boolean;
  /** As in `Trainable`. */
  losses(inputs: Readonly<Record<string, Tensor>>, step: number): Losses;
}

/** A model as the trainer and the loop of `train` need it. */
export interface Trainable<C extends TrainingConfig = TrainingConfig> {
  /** As configured. */
  readonly config: C;
  /** Of the images. */
  readonly shape: DataShape;
  /** What is trained: its parameters and buffers are saved. */
  readonly network: Module;
  /** What the step draws with, by purpose; saved. */
  readonly rngs: Readonly<Record<string, Rng>>;
  /** What a step is given beside `images` (f32, in [-1, 1]) and `labels` (i32). */
  readonly inputs?: Readonly<Record<string, InputSpec>>;
  /** Values of the inputs for step `step`; default: those of the batch. */
  prepare?(batch: Batch, step: number): Readonly<Record<string, TypedArray>>;
  /**
   * What is minimised, a scalar, and other numbers for the log; runs inside `capture`. Named tensors of
   * one axis are handed to `observe` and not logged. Missing if there are `players`.
   */
  losses?(
    inputs: Readonly<Record<string, Tensor>>,
    step: number,
  ): Losses;
  /** Parts of the network that train in turn within a step, each for itself; default: all for `losses`. */
  readonly players?: readonly Player[];
  /** Steps of one stage replay one captured step; default: all the same. */
  stage?(step: number): string;
  /** Given the outputs of every step as soon as it is done, which costs a wait for the device. */
  observe?(outputs: Readonly<Record<string, TypedArray>>): void;
  /** Given the means of every line of the log: further numbers for it, and warnings for people. */
  watch?(
    step: number,
    means: Readonly<Record<string, number>>,
  ): {
    readonly numbers: Readonly<Record<string, number>>;
    readonly warnings: readonly string[];
  };
  /** What else a checkpoint holds. */
  extraState?(): Record<string, HostTensor>;
  /** Takes over what `extraState` gave. */
  restoreExtra?(state: Readonly<Record<string, HostTensor>>): void;
  /** Floating-point operations forward per image. */
  flops(): number;
  /** Lines about the model, printed before training. */
  report(): string[];
  /** Pictures of the log; the first is called `curves`. */
  readonly charts: readonly Chart[];
  /** Draws a grid; undefined if cancelled, or missing if there is nothing to see. */
  picture?(isCancelled: () => boolean): Promise<Picture | undefined>;
  /** Numbers on held-out and on training data, for the metrics. */
  evaluate?(
    data: { readonly train: Dataset; readonly test: Dataset },
    isCancelled: () => boolean,
  ): Promise<Record<string, number> | undefined>;
  /** Draws what it has learned into the folder of its run, once training is over. */
  figures?(run: RunFolder, train: Dataset): Promise<void>;
  /** What the summary says besides. */
  summary?(): Record<string, unknown>;
}

/** Outputs of steps that no log line has taken yet. */
type Row = Readonly<Record<string, number>>;

/** A player with what training adds to it. */
class Part {
  readonly player: Player;
  /** Before the names of what it saves and logs; nothing if it is the only one. */
  readonly prefix: string;
  readonly parameters: readonly Tensor[];
  readonly optimizer: AdamW;
  /** Of its weights. */
  readonly ema: Ema;
  readonly schedule: Schedule;
  readonly #clip: number;

  constructor(player: Player, { network, config }: Trainable, prefix: string) {
    const { optimizer = config.optimizer, module } = player;
    const { learningRate, betas, eps, weightDecay, warmupSteps } = optimizer;
    this.player = player;
    this.prefix = prefix;
    this.#clip = optimizer.gradientClip || Infinity;
    const own = new Set(module.parameters());
    const named = Object.fromEntries(
      Object.entries(network.namedParameters())
        .filter(([, parameter]) => own.has(parameter)),
    );
    this.parameters = Object.values(named);
    this.optimizer = new AdamW(named, {
      learningRate,
      betas,
      eps,
      weightDecay,
    });
    this.ema = new Ema(named, config.ema);
    const rest = optimizer.schedule === "cosine"
      ? schedules.warmupCosine(learningRate, {
        warmupSteps,
        totalSteps: config.steps,
      })
      : schedules.constant(learningRate);
    this.schedule = (step) =>
      step < warmupSteps ? learningRate * (step + 1) / warmupSteps : rest(step);
  }

  /** Whether it plays at a step. */
  plays(step: number): boolean {
    return this.player.plays?.(step) ?? true;
  }

  /** Takes one step; inside `capture`. */
  train(
    inputs: Readonly<Record<string, Tensor>>,
    step: number,
    storage: TrainingConfig["storage"],
  ): Record<string, Tensor> {
    const forward = () => this.player.losses(inputs, step);
    const found = storage === "f16" ? autocast("f16", forward) : forward();
    const slopes = gradients(found.loss, [...this.parameters]);
    const { norm, scale } = clipScale(slopes, this.#clip);
    this.optimizer.step(slopes, { scale, ema: this.ema });
    const { loss, ...rest } = found;
    return {
      ...detached(rest),
      ...prefixed(this.prefix, detached({ loss, grad_norm: norm })),
    };
  }
}

function detached(tensors: Readonly<Record<string, Tensor>>) {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, value]) => [name, value.detach()]),
  );
}

/** A model with what training adds to it. */
export class Trainer<M extends Trainable = Trainable> {
  /** What is trained. */
  readonly model: M;
  /** Optimizer steps done. */
  step = 0;
  /** Seconds of training before, as far as a checkpoint tells. */
  seconds = 0;
  readonly #parts: readonly Part[];
  /** The moving average of what layers keep besides weights, such as running means. */
  readonly #emaOfBuffers: Ema | undefined;
  /** By stage; captured when first needed, as the capture compiles the kernels. */
  readonly #captured = new Map<string, CapturedStep<string, string>>();
  #rows: Row[] = [];
  #unread = 0;

  /** Takes over the model's weights as they are. */
  constructor(model: M) {
    this.model = model;
    const { network, config, players } = model;
    this.#parts = players
      ? players.map((player) => new Part(player, model, `${player.name}_`))
      : [
        new Part(
          {
            name: "",
            module: network,
            losses: (inputs, step) => model.losses!(inputs, step),
          },
          model,
          "",
        ),
      ];
    const buffers = network.namedBuffers();
    if (Object.keys(buffers).length > 0) {
      this.#emaOfBuffers = new Ema(buffers, config.ema);
    }
  }

  /** Learning rate of a step, counted from 0; of the first player. */
  learningRate(step: number): number {
    return this.#parts[0]!.schedule(step);
  }

  /** Memory and work of a step; undefined before the first. */
  get stepInfo(): CaptureInfo | undefined {
    return [...this.#captured.values()].at(-1)?.info;
  }

  /** One optimizer step on a batch. The device is only waited for where the model observes it. */
  async train(batch: Batch): Promise<void> {
    const { model, step } = this;
    const stage = [
      model.stage?.(step),
      ...this.#parts.map((part) => part.plays(step)),
    ].join();
    if (!this.#captured.has(stage)) this.#captured.set(stage, this.#capture());
    for (const { optimizer, schedule } of this.#parts) {
      optimizer.learningRate = schedule(step);
    }
    const { images, labels } = batch;
    this.#captured.get(stage)!.replay(
      model.prepare?.(batch, step) ?? { images, labels },
    );
    this.#unread++;
    this.step++;
    if (model.observe) await this.#readRows();
  }

  #capture(): CapturedStep<string, string> {
    const { model, step } = this;
    const { config, shape } = model;
    const n = config.batchSize;
    return capture((inputs: Record<string, Tensor>) => {
      const outputs: Record<string, Tensor> = {};
      for (const part of this.#parts) {
        if (!part.plays(step)) continue;
        Object.assign(outputs, part.train(inputs, step, config.storage));
      }
      this.#emaOfBuffers?.update();
      return outputs;
    }, {
      inputs: {
        images: { shape: [n, shape.channels, shape.height, shape.width] },
        labels: { shape: [n], dtype: "i32" },
        ...model.inputs,
      },
      rows: Math.max(64, config.logEvery),
    });
  }

  /** Means since the last call, of losses, gradient norms and what else the model logs; waits for the device. */
  async takeLosses(): Promise<Record<string, number>> {
    await this.#readRows();
    const rows = this.#rows.splice(0);
    const names = new Set(rows.flatMap((row) => Object.keys(row)));
    return Object.fromEntries([...names].map((name) => {
      const values = rows.flatMap((row) => row[name] ?? []);
      return [name, values.reduce((sum, v) => sum + v, 0) / values.length];
    }));
  }

  async #readRows(): Promise<void> {
    if (this.#unread === 0) return;
    this.#unread = 0;
    for (const captured of this.#captured.values()) {
      for (const outputs of await captured.outputs()) {
        this.model.observe?.(outputs);
        this.#rows.push(Object.fromEntries(
          Object.entries(outputs).flatMap(([name, values]) =>
            values.length === 1 ? [[name, values[0]!]] : []
          ),
        ));
      }
    }
  }

  /** `model.picture` with the moving average for weights. */
  picture(isCancelled: () => boolean): Promise<Picture | undefined> {
    return this.#averaged(async () => await this.model.picture?.(isCancelled));
  }

  /** `model.evaluate` with the moving average for weights. */
  evaluate(
    data: { readonly train: Dataset; readonly test: Dataset },
    isCancelled: () => boolean,
  ): Promise<Record<string, number> | undefined> {
    return this.#averaged(async () =>
      await this.model.evaluate?.(data, isCancelled)
    );
  }

  /** `model.figures` with the moving average for weights. */
  figures(run: RunFolder, train: Dataset): Promise<void> {
    return this.#averaged(async () => await this.model.figures?.(run, train));
  }

  /** Runs `body` while the network holds its moving average. */
  #averaged<T>(body: () => Promise<T>): Promise<T> {
    const averages = this.#parts.map(({ ema }) => ema);
    if (this.#emaOfBuffers) averages.push(this.#emaOfBuffers);
    return averages.reduce<() => Promise<T>>(
      (inner, ema) => () => ema.withWeights(inner),
      body,
    )();
  }

  /** All that `restore` needs, as a safetensors file. */
  async checkpoint(): Promise<Uint8Array> {
    await this.#readRows();
    const { model } = this;
    return await saveSafetensors({
      ...model.network.stateDict("model."),
      ...Object.assign(
        {},
        ...this.#parts.map(({ prefix, ema, optimizer }) => ({
          ...ema.stateDict(`${prefix}ema.`),
          ...optimizer.stateDict(`${prefix}optimizer.`),
        })),
      ),
      ...this.#emaOfBuffers?.stateDict("buffers_ema."),
      ...prefixed("extra.", model.extraState?.() ?? {}),
    }, {
      format: FORMAT,
      model: model.config.model,
      step: String(this.step),
      seconds: String(this.seconds),
      pending: JSON.stringify(this.#rows),
      rng: JSON.stringify(
        Object.fromEntries(
          Object.entries(model.rngs).map(([name, { state }]) => [name, state]),
        ),
      ),
      config: JSON.stringify(model.config),
      shape: JSON.stringify(model.shape),
    });
  }

  /**
   * Takes over a checkpoint of the same configuration.
   *
   * @param path For messages.
   * @throws {SyntaxError} If the file is not a whole checkpoint.
   * @throws {TypeError} If it is of another architecture; the message names the differences.
   */
  restore(bytes: Uint8Array<ArrayBuffer>, path: string): void {
    const { model } = this;
    const saved = readCheckpoint(bytes, path);
    model.network.loadStateDict(under("model.", saved.tensors));
    for (const { prefix, ema, optimizer } of this.#parts) {
      ema.loadStateDict(under(`${prefix}ema.`, saved.tensors));
      optimizer.loadStateDict(under(`${prefix}optimizer.`, saved.tensors));
    }
    this.#emaOfBuffers?.loadStateDict(under("buffers_ema.", saved.tensors));
    model.restoreExtra?.(under("extra.", saved.tensors));
    for (const [name, generator] of Object.entries(model.rngs)) {
      generator.state = saved.rng[name]!;
    }
    this.#rows = saved.pending;
    this.step = saved.step;
    this.seconds = saved.seconds;
  }
}

/** What a checkpoint says. */
export interface Checkpoint {
  /** Name of the kind of model. */
  model: string;
  /** `model.*`, `ema.*`, `optimizer.*` (with the player's name before it, if there are several), and `extra.*`. */
  tensors: Record<string, HostTensor>;
  /** Steps done. */
  step: number;
  /** Seconds of training. */
  seconds: number;
  /** Rows not logged yet. */
  pending: Row[];
  /** Where the generators stand. */
  rng: Record<string, RngState>;
  /** As written, not checked. */
  config: unknown;
  /** Of the data. */
  shape: DataShape;
}

/**
 * Reads a checkpoint of any model.
 *
 * @param path For messages.
 * @throws {SyntaxError} If the file is not a whole checkpoint.
 */
export function readCheckpoint(
  bytes: Uint8Array<ArrayBuffer>,
  path: string,
): Checkpoint {
  const { tensors, metadata } = parse(bytes, path);
  if (metadata.format !== FORMAT) {
    throw new SyntaxError(
      `Cannot read ${path} as it is no checkpoint of a training run: its format is ` +
        `${metadata.format ?? "not given"}, want ${FORMAT}`,
    );
  }
  return {
    tensors,
    model: metadata.model!,
    step: Number(metadata.step),
    seconds: Number(metadata.seconds),
    // JSON has no NaN.
    pending: JSON.parse(metadata.pending!, (_, value) => value ?? NaN),
    rng: JSON.parse(metadata.rng!),
    config: JSON.parse(metadata.config!),
    shape: JSON.parse(metadata.shape!),
  };
}

function parse(bytes: Uint8Array<ArrayBuffer>, path: string) {
  try {
    return parseSafetensors(bytes);
  } catch (error) {
    throw new SyntaxError(`Cannot read ${path}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/**
 * Parameters and buffers in a checkpoint.
 *
 * @param ema Whether to take the moving average.
 */
export function weightsOf(
  { tensors }: Checkpoint,
  ema: boolean,
): Record<string, HostTensor> {
  const weights = under("model.", tensors);
  if (!ema) return weights;
  // Those of players and of buffers have a word before.
  for (const [name, value] of Object.entries(tensors)) {
    const [, own] = /^(?:[a-z]+_)?ema\.(.*)$/.exec(name) ?? [];
    if (own !== undefined && own in weights) weights[own] = value;
  }
  return weights;
}

/**
 * Loads the weights of a checkpoint.
 *
 * @param ema Whether to take the moving average.
 * @throws {TypeError} If it is of another architecture; the message names the differences.
 */
export function loadWeights(
  network: Module,
  checkpoint: Checkpoint,
  ema: boolean,
): void {
  network.loadStateDict(weightsOf(checkpoint, ema));
}

/** The entries whose names begin with `prefix`, without it. */
export function under<T>(
  prefix: string,
  entries: Readonly<Record<string, T>>,
): Record<string, T> {
  return Object.fromEntries(
    Object.entries(entries).flatMap(([name, value]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), value]] : []
    ),
  );
}

/** The entries with `prefix` before their names. */
export function prefixed<T>(
  prefix: string,
  entries: Readonly<Record<string, T>>,
): Record<string, T> {
  return Object.fromEntries(
    Object.entries(entries).map(([name, value]) => [prefix + name, value]),
  );
}
