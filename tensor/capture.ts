/**
 * Captured steps: what a function asks of the device is taken down once, its memory planned, and from
 * then on replayed without running the function again.
 *
 * @module
 */
import { context, keep, outsideCapture, withTrace } from "./context.ts";
import { executor } from "./device.ts";
import type {
  BufferWindow,
  Command,
  DeviceBuffer,
  Executor,
  Program,
} from "./executor.ts";
import { withoutPadding } from "./flat.ts";
import { Kernel } from "./kernel.ts";
import { Storage } from "./memory.ts";
import { type Interval, place } from "./plan.ts";
import {
  type DType,
  overwrite,
  show,
  sizeOf,
  Tensor,
  type TypedArray,
} from "./tensor.ts";
import { isPlanned, live, Trace } from "./trace.ts";
import source from "./capture.wgsl" with { type: "text" };

const kernel = new Kernel("capture", source);
/** Replays whose inputs may be on the device at once. */
const INPUT_SLOTS = 8;

/** Shape and type of an input; the type defaults to `f32`. */
export interface InputSpec {
  /** Lengths of the axes. */
  shape: readonly number[];
  /** Element type. */
  dtype?: DType;
}

/** How a step is captured. */
export interface CaptureOptions<In extends string> {
  /** What differs from replay to replay and comes from the host. */
  inputs?: Readonly<Record<In, InputSpec>>;
  /** Replays whose outputs the device keeps until `outputs()`; defaults to 64. */
  rows?: number;
}

/** Memory and work of a captured step. */
export interface CaptureInfo {
  /** Bytes of all intermediates together, as placed. */
  arenaBytes: number;
  /** Most bytes of intermediates alive at once: no plan needs less. */
  liveBytes: number;
  /** Kernels of one replay. */
  dispatches: number;
}

interface Ring {
  readonly spec: Required<InputSpec>;
  readonly size: number;
  readonly tensor: Tensor;
}

function ring(spec: InputSpec, rows: number): Ring {
  const { shape, dtype = "f32" } = spec;
  const size = sizeOf(shape);
  return {
    spec: { shape, dtype },
    size,
    tensor: keep(new Tensor([rows, size], dtype)),
  };
}

function copy(
  entry: "take" | "put",
  inner: Tensor,
  { tensor, size }: Ring,
  row: () => number,
) {
  kernel.run(entry, { n: size, at: live(() => row() * size) }, {
    inner,
    ring: tensor,
  }, {
    workgroups: ({ n }) => Math.ceil(Number(n) / 64),
  });
}

/** A step that runs without its function; made by `capture`. */
export class CapturedStep<In extends string, Out extends string> {
  /** Memory and work of one replay. */
  readonly info: CaptureInfo;
  readonly #step: (inputs: Record<In, Tensor>) => Record<Out, Tensor>;
  readonly #executor: Executor;
  readonly #program: Program;
  readonly #commands: readonly Command[];
  readonly #trace: Trace;
  readonly #arenas: Storage[];
  readonly #inputs: Record<string, Ring> = {};
  readonly #outputs: Record<string, Ring> = {};
  readonly #rows: number;
  readonly #liveBits: readonly (() => number)[];
  readonly #words: Uint32Array<ArrayBuffer>;
  #replays = 0;
  #pending = 0;
  #disposed = false;

  /** Use `capture`. @internal */
  constructor(
    step: (inputs: Record<In, Tensor>) => Record<Out, Tensor>,
    options: CaptureOptions<In>,
  ) {
    const { inputs = {} as Record<In, InputSpec>, rows = 64 } = options;
    if (context().trace) {
      throw new Error(
        "Cannot capture inside a captured step: steps do not nest",
      );
    }
    this.#step = step;
    this.#rows = rows;
    this.#executor = executor();
    const trace = this.#trace = new Trace(this.#executor);
    for (const [name, spec] of Object.entries<InputSpec>(inputs)) {
      this.#inputs[name] = ring(spec, INPUT_SLOTS);
    }
    const owned = new Set<Tensor>();
    try {
      withTrace(trace, owned, () => {
        const given: Record<string, Tensor> = {};
        for (const [name, input] of Object.entries(this.#inputs)) {
          given[name] = new Tensor(input.spec.shape, input.spec.dtype);
          copy("take", given[name], input, () => this.#replays % INPUT_SLOTS);
        }
        const results: unknown = step(given as Record<In, Tensor>);
        if (results instanceof Promise) {
          results.catch(() => {}); // its first await may throw what this error says better
          throw new TypeError(
            "Cannot capture an asynchronous step: it must not wait for anything",
          );
        }
        for (
          const [name, result] of Object.entries<Tensor>(
            results as Record<string, Tensor>,
          )
        ) {
          const { shape, dtype } = result;
          if (dtype === "f16") {
            throw new TypeError(
              `Cannot capture a step as output ${name} must not be f16; cast it first`,
            );
          }
          const row = outsideCapture(() => ring({ shape, dtype }, rows));
          this.#outputs[name] = row;
          copy("put", result, row, () => this.#pending);
        }
      });
    } catch (error) {
      this.#freeRings();
      throw error;
    } finally {
      for (const tensor of owned) tensor.dispose();
    }
    const { commands, arenas, info } = planned(trace, this.#executor);
    this.#commands = commands;
    this.#arenas = arenas;
    this.#program = this.#executor.prepare(commands);
    this.info = { ...info, dispatches: this.#program.dispatches };
    this.#liveBits = commands.flatMap((command) =>
      command.live.map(({ bits }) => bits)
    );
    this.#words = new Uint32Array(this.#liveBits.length);
  }

  /**
   * Runs the step once more. Nothing is waited for.
   *
   * @param inputs Elements of each input, row-major.
   * @throws {TypeError} If an input is missing, or has another type or number of elements than it was
   *   captured with.
   * @throws {RangeError} If outputs of more replays than there are rows wait to be read.
   * @throws {ReferenceError} If the step is disposed.
   */
  replay(inputs: Readonly<Record<In, TypedArray>>): void {
    if (this.#disposed) {
      throw new ReferenceError(
        "Cannot replay as the step is disposed: capture it again",
      );
    }
    for (const [name, { spec, size }] of Object.entries(this.#inputs)) {
      const data = inputs[name as In] as TypedArray | undefined;
      const type =
        { f32: Float32Array, i32: Int32Array, u32: Uint32Array }[spec.dtype];
      if (!(data instanceof type) || data.length !== size) {
        throw new TypeError(
          `Cannot replay as input ${name} must be ${spec.dtype}${
            show(spec.shape)
          }, as captured: it ` +
            `is ${
              data ? `a ${data.constructor.name} of ${data.length}` : "missing"
            }; capture ` +
            "another step for another shape",
        );
      }
    }
    if (this.#pending === this.#rows && Object.keys(this.#outputs).length > 0) {
      throw new RangeError(
        `Cannot replay as the outputs of ${this.#rows} replays wait to be read: call outputs()`,
      );
    }
    const slot = this.#replays % INPUT_SLOTS;
    // Slots come round only after a flush, so no work on record reads what is written now.
    if (slot === 0) this.#executor.flush();
    for (const [name, { tensor, size }] of Object.entries(this.#inputs)) {
      const { buffer } = tensor.storage;
      this.#executor.write(buffer, inputs[name as In], slot * size * 4, true);
    }
    this.#liveBits.forEach((bits, i) => this.#words[i] = bits());
    this.#executor.replay(this.#program, this.#words);
    for (const advance of this.#trace.advances) advance.forward();
    this.#replays++;
    this.#pending++;
  }

  /**
   * What the step returned in each replay since the last call, on the host, oldest first; waits for
   * the device.
   */
  async outputs(): Promise<Record<Out, TypedArray>[]> {
    const count = this.#pending;
    this.#pending = 0;
    if (count === 0) return [];
    const columns = await Promise.all(
      Object.entries(this.#outputs).map(async ([name, { tensor, size }]) =>
        [name, size, await tensor.data()] as const
      ),
    );
    return Array.from(
      { length: count },
      (_, row) =>
        Object.fromEntries(
          columns.map((
            [name, size, data],
          ) => [name, data.slice(row * size, (row + 1) * size)]),
        ) as Record<Out, TypedArray>,
    );
  }

  /**
   * Runs one step twice from the same state, replayed and then by calling its function, and compares
   * every output and every tensor that the step changes, bit by bit. Leaves the state after one step.
   *
   * @throws {Error} Naming the first difference.
   */
  async verify(inputs: Readonly<Record<In, TypedArray>>): Promise<void> {
    if (this.#pending > 0) {
      throw new Error("Cannot verify as outputs wait to be read");
    }
    const changed = this.#changed();
    const read = () =>
      Promise.all(
        changed.map(async ({ buffer, bytes }) =>
          withoutPadding(
            buffer,
            new Uint32Array(await this.#executor.read(buffer, bytes)),
          )
        ),
      );
    const before = await read();
    this.replay(inputs);
    const [replayed] = await this.outputs();
    const afterReplay = await read();
    changed.forEach(({ buffer }, i) =>
      this.#executor.write(buffer, before[i]!)
    );
    for (const advance of this.#trace.advances.toReversed()) advance.back();
    const given = Object.fromEntries(
      Object.entries(this.#inputs).map(([name, { spec }]) => {
        const tensor = keep(new Tensor(spec.shape, spec.dtype));
        overwrite(tensor, inputs[name as In]);
        return [name, tensor];
      }),
    ) as Record<In, Tensor>;
    const results = this.#step(given);
    for (const [name, result] of Object.entries<Tensor>(results)) {
      const bits = (data: TypedArray) =>
        new Uint32Array(data.buffer, data.byteOffset, data.length);
      requireSame(
        `output ${name}`,
        bits(replayed![name as Out]),
        bits(await result.data()),
      );
      result.dispose();
    }
    for (const tensor of Object.values<Tensor>(given)) tensor.dispose();
    const afterCall = await read();
    changed.forEach(({ what }, i) =>
      requireSame(what(), afterReplay[i]!, afterCall[i]!)
    );
  }

  /** Frees the memory of the step, but not what it returned or changed. A second call does nothing. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#executor.release(this.#program);
    for (const arena of this.#arenas.splice(0)) arena.release();
    this.#freeRings();
  }

  #freeRings(): void {
    for (
      const { tensor } of [
        ...Object.values(this.#inputs),
        ...Object.values(this.#outputs),
      ]
    ) {
      tensor.dispose();
    }
  }

  /** Memory that outlives the step and that it writes to. */
  #changed(): { buffer: DeviceBuffer; bytes: number; what: () => string }[] {
    const own = new Set<DeviceBuffer>([
      ...this.#arenas.map(({ buffer }) => buffer),
      ...Object.values(this.#outputs).map(({ tensor }) =>
        tensor.storage.buffer
      ),
    ]);
    const found = new Map<
      DeviceBuffer,
      { bytes: number; what: () => string }
    >();
    for (const { pipeline, windows, what } of this.#commands) {
      windows.forEach(({ buffer, offset, used }, i) => {
        if (!pipeline.spec.bindings[i]!.writable || own.has(buffer)) return;
        const bytes = Math.max(found.get(buffer)?.bytes ?? 0, offset + used);
        found.set(buffer, { bytes, what: () => `what ${what()} changes` });
      });
    }
    // Inputs are bound writable too, but never written.
    for (const { tensor } of Object.values(this.#inputs)) {
      found.delete(tensor.storage.buffer);
    }
    return [...found].map(([buffer, rest]) => ({ buffer, ...rest }));
  }
}

function requireSame(
  what: string,
  replayed: Uint32Array<ArrayBuffer>,
  called: Uint32Array<ArrayBuffer>,
): void {
  const at = replayed.findIndex((bits, i) => bits !== called[i]);
  if (at < 0) return;
  const [a, b] = [replayed, called].map((words) =>
    new Float32Array(words.buffer, words.byteOffset)[at]
  );
  throw new Error(
    `A replayed step differs from a called one in ${what}, at ${at}: ${a}, not ${b}`,
  );
}

/** Puts the planned memory of commands into arenas. */
function planned(
  trace: Trace,
  executor: Executor,
): {
  commands: Command[];
  arenas: Storage[];
  info: Omit<CaptureInfo, "dispatches">;
} {
  const { commands } = trace;
  const intervals = new Map<
    DeviceBuffer,
    { first: number; last: number; bytes: number }
  >();
  commands.forEach(({ windows }, at) => {
    for (const { buffer: named } of windows) {
      if (!isPlanned(named)) continue;
      const { whole: buffer } = trace.partOf(named);
      const interval = intervals.get(buffer);
      if (interval) interval.last = at;
      else intervals.set(buffer, { first: at, last: at, bytes: buffer.bytes });
    }
  });
  const list: Interval[] = [...intervals.values()];
  const { arenas: sizes, places, liveBytes } = place(
    list,
    executor.info.offsetAlignment,
    executor.info.maxBufferBytes,
  );
  const arenas = sizes.map((bytes) =>
    Storage.allocate(bytes, () => "the arena of a captured step")
  );
  const placeOf = new Map(
    [...intervals.keys()].map((buffer, i) => [buffer, places[i]!]),
  );
  const moved = (window: BufferWindow): BufferWindow => {
    if (!isPlanned(window.buffer)) return window;
    const { whole, offset } = trace.partOf(window.buffer);
    const found = placeOf.get(whole)!;
    return {
      buffer: arenas[found.arena]!.buffer,
      offset: found.offset + offset + window.offset,
      bytes: window.bytes,
      used: window.used,
    };
  };
  return {
    commands: commands.map((command) => ({
      ...command,
      windows: command.windows.map(moved),
    })),
    arenas,
    info: { arenaBytes: sizes.reduce((a, b) => a + b, 0), liveBytes },
  };
}

/**
 * Captures a step: calls `step` once without running its kernels, plans the memory of its
 * intermediates, and returns what can replay it at little cost per kernel.
 *
 * The step must be synchronous. It may run ops, take gradients, draw from an `Rng`, call optimizers and
 * an `Ema`: what these count on the host moves on at every replay, and is read anew before it, so a
 * learning rate that is a schedule or is assigned between replays counts. What else the function
 * computes on the host is done once, at the capture, and stays. Making tensors from host data and
 * reading back are errors.
 *
 * @param step From inputs to outputs by name.
 * @returns The step; the first replay is its first run.
 * @throws {Error} Saying what cannot be captured and what to do instead.
 */
export function capture<In extends string = never, Out extends string = never>(
  step: (inputs: Record<In, Tensor>) => Record<Out, Tensor>,
  options: CaptureOptions<In> = {},
): CapturedStep<In, Out> {
  return new CapturedStep(step, options);
}
