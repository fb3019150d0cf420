/**
 * Images drawn from a run to be judged, kept below its folder:
 *
 * ```
 * runs/mine/evaluations/ddim-50/
 *   images.u8      bytes [N, C, H, W]
 *   drawing.json   how they were drawn, how many there are, and what they cost
 *   grid.png       the first 64
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
import { type Generator, inTurn } from "./_generator.ts";
import { generatorFlags, openGenerator } from "./_generators.ts";
import { saveGrid } from "./_images.ts";
import { arraySource, type ImageSource, Interrupted } from "./_image_source.ts";
import { basename, join } from "./_path.ts";
import { Progress } from "./_progress.ts";
import { writeAtomic } from "./_run_folder.ts";
import type { Subject } from "./_subject.ts";

/** Images drawn at once. Always whole batches, so that neither time nor rounding depends on the number. */
const BATCH = 64;
/** Images of the grid. */
const SHOWN = 64;

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
  readonly generator: Generator;
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

/** Reads `drawing.json`; undefined if it is not there, or no state. */
async function readState(file: string): Promise<State | undefined> {
  try {
    return JSON.parse(await Deno.readTextFile(file));
  } catch (error) {
    const isLost = error instanceof Deno.errors.NotFound ||
      error instanceof SyntaxError;
    if (!isLost) throw error;
  }
}

/** Writes bytes at a place of a file, and cuts off what follows. */
async function writeAt(
  path: string,
  at: number,
  bytes: Uint8Array,
): Promise<void> {
  using file = await Deno.open(path, { write: true, create: true });
  await file.truncate(at);
  await file.seek(at, Deno.SeekMode.Start);
  for (let written = 0; written < bytes.length;) {
    written += await file.write(bytes.subarray(written));
  }
  await file.sync();
}

/**
 * Opens the generator of a way.
 *
 * @throws {UsageError} If the run cannot be drawn from so.
 */
async function open(
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
  const { run, step, checkpoint, options: { say, quiet, isCancelled } } =
    subject;
  const { seed, ema } = way.flags;
  const generator = await open(subject, way);
  const { shape, method } = generator;
  const { classNames, ...size } = shape;
  const others = othersOf(way);
  const id = idOf(generator, way.flags, others);
  const options = { ...generator.summary, ...others };
  const folder = run.file("evaluations", id);
  const file = join(folder, "images.u8");
  const imageBytes = size.channels * size.height * size.width;
  const wanted = way.flags.class
    ? await asUsage(() => resolveClasses(classNames, way.flags.class!, id))
    : classNames.map((_, id) => id);
  const classesFrom = (first: number, n: number) =>
    generator.knowsClasses ? inTurn(n, wanted, first) : undefined;

  const of = {
    version: denoise.version,
    device: deviceInfo().adapter,
    step,
    checkpoint: createHash("sha256").update(checkpoint.bytes).digest("hex"),
    ema,
    seed,
    ...options,
  };
  await Deno.mkdir(folder, { recursive: true });
  const stateFile = join(folder, "drawing.json");
  const before = await readState(stateFile);
  const isSame = JSON.stringify(before?.of) === JSON.stringify(of);
  const state: State = isSame
    ? before!
    : { of, images: 0, timedMs: 0, timedImages: 0, peakBytes: 0 };

  /** Draws a batch; the first of a process compiles its kernels and is not timed. */
  let isWarm = false;
  const draw = async (first: number, onStep?: (done: number) => void) => {
    memory({ resetPeak: true });
    const start = performance.now();
    const bytes = await generator.generate({
      count: BATCH,
      seed,
      first,
      classes: classesFrom(first, BATCH),
      onStep,
      isCancelled,
    });
    if (!bytes) {
      throw new Interrupted(
        `Interrupted: ${state.images} of ${count} images are kept, and the same command goes on from there`,
      );
    }
    if (isWarm) {
      state.timedMs += performance.now() - start;
      state.timedImages += BATCH;
    }
    isWarm = true;
    state.peakBytes = Math.max(state.peakBytes, memory().peakBytes);
    return bytes;
  };
  if (state.images < count || state.timedImages === 0) {
    const steps = generator.steps(BATCH);
    const batches = Math.ceil(count / BATCH);
    using progress = new Progress({
      label: `Drawing ${count} images of ${run.name} by ${method}`,
      total: batches * steps,
      initial: state.images / BATCH * steps,
      quiet,
    });
    while (state.images < count) {
      const before = state.images / BATCH * steps;
      const bytes = await draw(
        state.images,
        (done) => progress.update(before + done),
      );
      await writeAt(file, state.images * imageBytes, bytes);
      state.images += BATCH;
      await writeAtomic(stateFile, `${JSON.stringify(state, null, 2)}\n`);
    }
    if (state.timedImages === 0) {
      await draw(state.images); // not kept
      await writeAtomic(stateFile, `${JSON.stringify(state, null, 2)}\n`);
    }
    progress.finish();
  } else say(`${run.name}: ${count} images by ${method} are there`);

  const images = (await Deno.readFile(file)).subarray(0, count * imageBytes);
  if (images.length < count * imageBytes) {
    throw new Error(
      `Cannot use ${file} as it is cut off at ${images.length} bytes: delete ${folder}, and images are drawn anew`,
    );
  }
  await saveGrid(join(folder, "grid.png"), images, {
    ...size,
    count: Math.min(SHOWN, count),
  });
  const flops = generator.flops?.();
  return {
    id,
    folder,
    generator,
    options,
    source: arraySource(images, {
      name: `${run.name} (${id})`,
      shape: size,
      labels: classesFrom(0, count),
      classNames,
    }),
    cost: {
      msPerImage: state.timedMs / state.timedImages,
      batchSize: BATCH,
      gflopPerImage: flops === undefined ? undefined : flops / 1e9,
      peakBytes: state.peakBytes,
    },
  };
}
