/**
 * Takes down what a step asks of the device: an executor that notes instead of doing. See `capture`.
 *
 * @module
 */
import { context } from "./context.ts";
import type {
  BufferWindow,
  Command,
  DeviceBuffer,
  DeviceInfo,
  Executor,
  Pipeline,
  PipelineSpec,
  Program,
} from "./executor.ts";

/** A parameter whose value is asked for before every run of a captured step. */
export class Live {
  /** The value for the next run. */
  readonly value: () => number;

  /** `value` is called before every run. */
  constructor(value: () => number) {
    this.value = value;
  }
}

/** What a step does to the host's state once it has run. */
export interface Advance {
  /** Moves on, such as a step count. */
  forward(): void;
  /** Takes one `forward` back. */
  back(): void;
}

/** Memory of a step that is not placed yet. */
export interface PlannedBuffer extends DeviceBuffer {
  /** The trace it belongs to. */
  readonly trace: Trace;
}

/** Whether memory is only planned. */
export function isPlanned(buffer: DeviceBuffer): buffer is PlannedBuffer {
  return "trace" in buffer;
}

function uncapturable(what: string, remedy: string): never {
  throw new Error(`Cannot capture ${what}: ${remedy}`);
}

/** The executor inside a step that is captured. */
export class Trace implements Executor {
  /** What was asked for, in order. */
  readonly commands: Command[] = [];
  /** What moves on after every run. */
  readonly advances: Advance[] = [];
  /** Operations of the products so far; see `countFlops`. */
  flops = 0;
  readonly #inner: Executor;
  readonly #ordinals = new Map<object, number>();
  readonly #parts = new Map<
    PlannedBuffer,
    { whole: PlannedBuffer; offset: number }
  >();
  #planned = 0;

  /** Notes what `inner` will be asked to do. */
  constructor(inner: Executor) {
    this.#inner = inner;
  }

  get info(): DeviceInfo {
    return this.#inner.info;
  }

  get counts(): Executor["counts"] {
    return this.#inner.counts;
  }

  allocate(bytes: number): PlannedBuffer {
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    return { id: -++this.#planned, bytes: size, trace: this };
  }

  compile(spec: PipelineSpec): Pipeline {
    return this.#inner.compile(spec);
  }

  dispatch(command: Command): void {
    for (const { buffer } of command.windows as BufferWindow[]) {
      if (isPlanned(buffer) && buffer.trace !== this) {
        throw new Error(
          `Cannot run ${command.what()} as an argument belongs to another captured step`,
        );
      }
    }
    this.commands.push(command);
  }

  write(): void {
    uncapturable(
      "tensor() or a change of a tensor's elements",
      "host data would stay the same at every replay; make the tensor outside the step, or pass " +
        "the data as an input",
    );
  }

  read(): Promise<ArrayBuffer> {
    uncapturable(
      "data(), item() or another readback",
      "return the tensor from the step, and read it with outputs()",
    );
  }

  sync(): Promise<void> {
    uncapturable("sync()", "wait outside the step");
  }

  turn(): Promise<void> {
    uncapturable("turn()", "wait outside the step");
  }

  flush(): void {}

  destroy(): void {}

  prepare(): Program {
    uncapturable("a captured step", "steps do not nest");
  }

  replay(): void {
    uncapturable("a replay", "steps do not nest");
  }

  release(): void {
    uncapturable("the end of a captured step", "steps do not nest");
  }

  /**
   * Asks that buffers lie in one, each at its offset. A second call for the same ones gives the same.
   *
   * @param bytes Of the whole.
   * @returns The whole, or null if a buffer is a part of another whole already.
   */
  join(
    parts: readonly { buffer: PlannedBuffer; offset: number }[],
    bytes: number,
  ): PlannedBuffer | null {
    const before = this.#parts.get(parts[0]!.buffer)?.whole;
    const same = parts.every(({ buffer, offset }) => {
      const part = this.#parts.get(buffer);
      return part?.whole === before && (!part || part.offset === offset);
    });
    if (!same) return null;
    if (before) return before;
    const whole = this.allocate(bytes);
    for (const { buffer, offset } of parts) {
      this.#parts.set(buffer, { whole, offset });
    }
    return whole;
  }

  /** Where a buffer lies: in another, if it was joined with others. */
  partOf(buffer: PlannedBuffer): { whole: PlannedBuffer; offset: number } {
    return this.#parts.get(buffer) ?? { whole: buffer, offset: 0 };
  }

  /** How many times `owner` has counted in this step. */
  ordinalOf(owner: object): number {
    return this.#ordinals.get(owner) ?? 0;
  }

  /** Counts once for `owner`, and returns the count before. */
  count(owner: object): number {
    const ordinal = this.ordinalOf(owner);
    this.#ordinals.set(owner, ordinal + 1);
    return ordinal;
  }

  /** Runs `body` with `owner` counting from `ordinal`, then goes on as if it had not run. */
  again<T>(owner: object, ordinal: number, body: () => T): T {
    const now = this.ordinalOf(owner), { length } = this.advances;
    this.#ordinals.set(owner, ordinal);
    try {
      return body();
    } finally {
      this.#ordinals.set(owner, now);
      this.advances.length = length;
    }
  }
}

/**
 * A kernel parameter that differs from step to step. Inside a captured step `value` is asked for
 * before every replay, else now.
 */
export function live(value: () => number): number | Live {
  return context().trace ? new Live(value) : value();
}

/**
 * Moves the host's own state on after the step: now, or inside a captured step after every replay,
 * and not while the step is taken down.
 */
export function afterStep(advance: Advance): void {
  const { trace } = context();
  if (trace) trace.advances.push(advance);
  else advance.forward();
}
