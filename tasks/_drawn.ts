/**
 * Images drawn from a run to be judged, kept below its folder:
 *
 * ```
 * runs/mine/evaluations/ddim-50/
 *   images.u8      bytes [N, C, H, W]
 *   drawing.json   how they were drawn, how many there are, and what they cost
 *   grid.png       the first 64
 *   real.png       real images, as many
 * ```
 *
 * Images do not depend on each other, so what was interrupted goes on, and more of them may follow.
 *
 * @module
 */
import { createHash } from "node:crypto";
import denoise from "../deno.json" with { type: "json" };
import { deviceInfo, memory, resolveClasses } from "../mod.ts";
import { asUsage, kebab } from "./_cli.ts";
import { type GenerateOptions, type Generator, inTurn } from "./_generator.ts";
import { generatorFlags, openGenerator } from "./_generators.ts";
import { saveGrid } from "./_images.ts";
import { arraySource, type ImageSource, Interrupted } from "./_image_source.ts";
import { basename, join } from "./_path.ts";
import { Progress } from "./_progress.ts";
import { writeAtomic } from "./_run_folder.ts";
import type { Subject } from "./_subject.ts";

/** Images drawn at once. Always whole batches, so that neither time nor rounding depends on the number. */
const BATCH = 64;
/** Images of a grid. */
export const SHOWN = 64;
/** Names of the files. */
const IMAGES = "images.u8", STATE = "drawing.json";

/** Flags of `sample` that say how to draw. */
const { count: _, first: __, interpolate: ___, ...flags } = generatorFlags;
/** The same. */
export const drawingFlags = flags;

/** A way to draw: values of `drawingFlags`, and which of them stand on the command line. */
export interface Way {
  readonly flags: Readonly<Record<string, unknown>> & {
    readonly seed: number;
    readonly ema: boolean;
    readonly class?: readonly string[];
  };
  readonly given: ReadonlySet<string>;
}

/** What `drawing.json` says. */
interface State {
  /** What the images depend on: others are drawn anew. */
  readonly of: Readonly<Record<string, unknown>>;
  /** In `images.u8`. */
  images: number;
  /** Of drawing images after the first batch of a process. */
  timedMs: number;
  timedImages: number;
  peakBytes: number;
}

/** Images of a run, with all that is said of how they were drawn. */
export interface Drawn {
  /** Names the way: `ddim-50`, `gmm-class-s2`. */
  readonly id: string;
  /** Of the files. */
  readonly folder: string;
  /** As the generator says. */
  readonly method: string;
  readonly nfe: number;
  readonly guidance?: number;
  /** Other flags of `sample` than seed and average. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly source: ImageSource;
  readonly cost: {
    readonly msPerImage: number;
    readonly batchSize: number;
    readonly gflopPerImage?: number;
    readonly peakBytes: number;
  };
}

/** Flags that the generator's summary tells, that stand by themselves, or that are of no account to an image. */
const TOLD = ["sampler", "samplingSteps", "gmm", "seed", "ema", "dataDir"];

/** Other flags that stand on the command line. */
function othersOf({ flags, given }: Way): Record<string, unknown> {
  return Object.fromEntries(
    Object.keys(drawingFlags)
      .filter((name) => given.has(name) && !TOLD.includes(name))
      .map((name) => [name, flags[name]]),
  );
}

/** `ddim-50`, `gmm-class-components-5-s2`. */
function idOf(
  { method, summary }: Generator,
  { seed, ema }: Way["flags"],
  others: Readonly<Record<string, unknown>>,
): string {
  const said = Object.entries(others).flatMap(([name, value]) => [
    kebab(name),
    name === "classifier" ? basename(String(value)) : String(value),
  ]);
  const words = [
    method,
    ...("steps" in summary ? [summary.steps] : []),
    ...said,
    ...(ema ? [] : ["no-ema"]),
    ...(seed === 1 ? [] : [`s${seed}`]),
  ];
  return words.join("-").replace(/[^\p{L}\p{N}_.,-]+/gu, "-");
}

/** The files of a way to draw. */
class Store {
  readonly folder: string;
  readonly state: State;

  private constructor(folder: string, state: State) {
    this.folder = folder;
    this.state = state;
  }

  /** Opens what was drawn before; nothing, if it was drawn otherwise. */
  static async open(folder: string, of: State["of"]): Promise<Store> {
    await Deno.mkdir(folder, { recursive: true });
    const before = await readState(join(folder, STATE));
    const isSame = JSON.stringify(before?.of) === JSON.stringify(of);
    const none = { of, images: 0, timedMs: 0, timedImages: 0, peakBytes: 0 };
    return new Store(folder, isSame ? before! : none);
  }

  /** Adds images; what a killed process wrote behind the last whole batch is cut off. */
  async append(bytes: Uint8Array, imageBytes: number): Promise<void> {
    const at = this.state.images * imageBytes;
    const path = join(this.folder, IMAGES);
    using file = await Deno.open(path, { write: true, create: true });
    await file.truncate(at);
    await file.seek(at, Deno.SeekMode.Start);
    for (let written = 0; written < bytes.length;) {
      written += await file.write(bytes.subarray(written));
    }
    await file.sync();
    this.state.images += bytes.length / imageBytes;
    await this.save();
  }

  /** Writes the state. */
  save(): Promise<void> {
    const text = JSON.stringify(this.state, null, 2);
    return writeAtomic(join(this.folder, STATE), `${text}\n`);
  }

  /** The first `sizeBytes` of the images. */
  async read(sizeBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    const path = join(this.folder, IMAGES);
    const images = (await Deno.readFile(path)).subarray(0, sizeBytes);
    if (images.length === sizeBytes) return images;
    throw new Error(
      `Cannot use ${path} as it is cut off at ${images.length} bytes: delete ${this.folder}, and images are drawn anew`,
    );
  }
}

/** Reads a state; undefined if it is not there, or none. */
async function readState(file: string): Promise<State | undefined> {
  try {
    return JSON.parse(await Deno.readTextFile(file));
  } catch (error) {
    const isLost = error instanceof Deno.errors.NotFound ||
      error instanceof SyntaxError;
    if (!isLost) throw error;
  }
}

/**
 * Opens the generator of a way.
 *
 * @throws {UsageError} If the run cannot be drawn from so.
 */
export async function openWay(
  { run, checkpoint, options: { say, quiet } }: Subject,
  { flags, given }: Way,
): Promise<Generator> {
  // Where data are is needed for latents alone, and known to be needed.
  const needsData = given.has("gmm");
  const asked = needsData ? flags : { ...flags, dataDir: undefined };
  const named = [...given].filter((name) => needsData || name !== "dataDir");
  const source = { run, checkpoint, say, quiet };
  return await openGenerator(source, asked, new Set(named));
}

/**
 * Draws images in a way, or goes on to.
 *
 * @param count How many, at least.
 * @throws {UsageError} If the run cannot be drawn from so.
 * @throws {Interrupted} If cancelled; whole batches are kept.
 */
export async function drawImages(
  subject: Subject,
  way: Way,
  count: number,
): Promise<Drawn> {
  const generator = await openWay(subject, way);
  try {
    return await drawWith(generator, subject, way, count);
  } finally {
    generator.dispose();
  }
}

async function drawWith(
  generator: Generator,
  subject: Subject,
  way: Way,
  count: number,
): Promise<Drawn> {
  const { run, step, checkpoint } = subject;
  const { shape, method, nfe, guidance } = generator;
  const { classNames, ...size } = shape;
  const others = othersOf(way);
  const id = idOf(generator, way.flags, others);
  const options = { ...generator.summary, ...others };
  const wanted = way.flags.class
    ? await asUsage(() => resolveClasses(classNames, way.flags.class!, id))
    : classNames.map((_, id) => id);
  const classesFrom = (first: number, n: number) =>
    generator.knowsClasses ? inTurn(n, wanted, { first }) : undefined;

  const store = await Store.open(run.file("evaluations", id), {
    version: denoise.version,
    device: deviceInfo().adapter,
    step,
    checkpoint: createHash("sha256").update(checkpoint.bytes).digest("hex"),
    ema: way.flags.ema,
    seed: way.flags.seed,
    ...options,
  });
  await drawMissing(
    store,
    count,
    generator,
    subject,
    (first, rest) =>
      generator.generate({
        ...rest,
        count: BATCH,
        seed: way.flags.seed,
        first,
        classes: classesFrom(first, BATCH),
      }),
  );
  const imageBytes = size.channels * size.height * size.width;
  const images = await store.read(count * imageBytes);
  await saveGrid(join(store.folder, "grid.png"), images, {
    ...size,
    count: Math.min(SHOWN, count),
  });
  const { timedMs, timedImages, peakBytes } = store.state;
  const flops = generator.flops?.();
  return {
    id,
    folder: store.folder,
    method,
    nfe,
    guidance,
    options,
    source: arraySource(images, {
      name: `${run.name} (${id})`,
      shape: size,
      labels: classesFrom(0, count),
      classNames,
    }),
    cost: {
      msPerImage: timedMs / timedImages,
      batchSize: BATCH,
      gflopPerImage: flops === undefined ? undefined : flops / 1e9,
      peakBytes,
    },
  };
}

/** Draws batches until there are `count` images, and the time of at least one is known. */
async function drawMissing(
  store: Store,
  count: number,
  { method, shape, steps }: Generator,
  { run, options: { say, quiet, isCancelled } }: Subject,
  generate: (
    first: number,
    options: Pick<GenerateOptions, "onStep" | "isCancelled">,
  ) => ReturnType<Generator["generate"]>,
): Promise<void> {
  const { state } = store;
  const imageBytes = shape.channels * shape.height * shape.width;
  if (state.images >= count && state.timedImages > 0) {
    say(`${run.name}: ${count} images by ${method} are there`);
    return;
  }
  const stepsOfBatch = steps(BATCH), before = state.images / BATCH;
  const missing = Math.ceil(count / BATCH) - before;
  // The first batch of a process compiles its kernels and is not timed.
  const batches = Math.max(missing, state.timedImages > 0 ? 0 : 2);
  using progress = new Progress({
    label: `Drawing ${count} images of ${run.name} by ${method}`,
    total: (before + batches) * stepsOfBatch,
    initial: before * stepsOfBatch,
    quiet,
  });
  for (let batch = 0; batch < batches; batch++) {
    memory({ resetPeak: true });
    const start = performance.now();
    const bytes = await generate(state.images, {
      onStep: (done) => progress.update((before + batch) * stepsOfBatch + done),
      isCancelled,
    });
    if (!bytes) {
      throw new Interrupted(
        `Interrupted: ${
          Math.min(state.images, count)
        } of ${count} images are kept, and the same command goes on from there`,
      );
    }
    if (batch > 0) {
      state.timedMs += performance.now() - start;
      state.timedImages += BATCH;
    }
    state.peakBytes = Math.max(state.peakBytes, memory().peakBytes);
    if (batch < missing) await store.append(bytes, imageBytes);
    else await store.save(); // the images are enough: only the time was missing
  }
  progress.finish();
}
