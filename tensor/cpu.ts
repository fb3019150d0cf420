/**
 * The executor that needs nothing but the runtime: kernels are compiled from WGSL to WebAssembly and
 * run by worker threads on one shared memory.
 *
 * A buffer is a block of that memory. Commands are records in a ring that all threads follow
 * (`cpu_worker.ts`); the host only writes records, and never computes while there are workers.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import { Worker } from "node:worker_threads";
import {
  argsBytes,
  type CompiledKernel,
  type CompileOptions,
  MAX_PAGES,
  writeArgs,
} from "../wgsl/kernel_abi.ts";
import { hasRelaxedSimd } from "../wgsl/wasm.ts";
import { BLOCK_ALIGNMENT, Heap } from "./cpu_memory.ts";
import {
  CONTROL,
  CONTROL_WORDS,
  COPY,
  KERNEL,
  makeThread,
  PATCH,
  RECORD,
  type Thread,
  type ThreadData,
  WORKER_SOURCE,
} from "./cpu_worker.ts";
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
import { isPlanned } from "./trace.ts";

/** From WGSL to WebAssembly: `compileWgsl`. */
export type Compile = (
  source: string,
  options: CompileOptions,
) => CompiledKernel;

/** How many threads, and how much memory. */
export interface CpuOptions {
  /** Worker threads, 0 to 64. Without any the host's thread computes, in slices. */
  readonly threads: number;
  /** Where memory ends, in pages of 64 KiB; defaults to 4 GiB. */
  readonly maxPages?: number;
}

/** What the executor did besides running kernels. */
export interface CpuStats {
  /** Entry points that were compiled, and how long that took in all. */
  readonly compiled: number;
  readonly compileMs: number;
}

/** Chunks that a command is cut into, for each thread, so that all end at about the same time. */
const CHUNKS_PER_THREAD = 16;
/** Without workers a chunk is what runs between two looks at the clock. */
const CHUNKS_INLINE = 64;
const COPY_CHUNK = 1 << 20;
/** With so many commands waiting, one more thread is worth its start. */
const BACKLOG = 16;
/** How long the host's thread computes before it lets others have a turn. */
const SLICE_MS = 10;
/** Arguments of commands under way: segments that are used in turn. */
const SEGMENTS = 16;
const SEGMENT_BYTES = 1 << 17;
/** What fits here is passed along with the arguments. */
const SMALL_BYTES = 1 << 13;
/** Commands that may be under way while the host records more: enough that threads never starve. */
const AHEAD = 256;
/** Failures that are kept until somebody waits; the first ones tell. */
const MAX_FAILURES = 16;

interface CpuBuffer extends DeviceBuffer {
  /** Address, or -1 once it is destroyed. */
  address: number;
  /** The work that uses it has run once so many commands have. */
  usedUntil: number;
}

/** A compiled entry point in shared memory. */
interface Built {
  readonly address: number;
  readonly kernel: CompiledKernel;
}

/** Built when first needed. */
interface CpuPipeline extends Pipeline {
  built?: Built | Error;
  /** For each storage binding of the kernel, which window of a command it is. */
  order?: readonly number[];
}

interface CpuProgram extends Program {
  /** Address of its own memory. */
  readonly block: number;
  readonly records: Int32Array<ArrayBuffer>;
  /** Address of the list of addresses of the live parameters. */
  readonly targets: number;
  readonly fields: number;
  readonly used: readonly CpuBuffer[];
}

/** Somebody who waits for the commands before `end` to have run. */
interface Waiter {
  readonly end: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  failure: Error | null;
}

/**
 * Opens the executor. Threads start as there is work for them, and end with the process, which does
 * not wait for them.
 *
 * @param compile The compiler of WGSL.
 * @throws {Error} If the runtime grants no shared memory.
 */
export function openCpu(
  compile: Compile,
  options: CpuOptions,
): CpuExecutor {
  return new CpuExecutor(
    compile,
    options.threads,
    options.maxPages ?? MAX_PAGES,
  );
}

/** The executor. Use `openCpu`. */
export class CpuExecutor implements Executor {
  readonly info: DeviceInfo;
  readonly #compile: Compile;
  #threads: number;
  readonly #heap: Heap;
  readonly #control = new Int32Array(
    new SharedArrayBuffer(4 * CONTROL_WORDS),
  );
  readonly #workers: Worker[] = [];
  /** Computes where there are no workers. */
  #inline: Thread | null = null;
  /** Number of the command to be recorded next, modulo 2^32, as all of them. */
  #next = 0;
  /** All threads are past the records before this one, so their places may be used again. */
  #reusable = 0;
  readonly #segments: number;
  #segment = 0;
  #segmentUsed = 0;
  /** For each segment, the command before which all must have run that use it. */
  readonly #segmentUntil = new Int32Array(SEGMENTS);
  /** Blocks to be given back, and when. */
  #retired: { address: number; until: number }[] = [];
  /** Of programs that nobody released. */
  readonly #programs = new FinalizationRegistry<number>((address) =>
    this.#retire(address)
  );
  readonly #built = new Map<string, Built | Error>();
  readonly #labels = new Map<number, string>();
  #scratch = 0;
  #scratchBytes = 0;
  #compileMs = 0;
  #nextId = 1;
  readonly #failures: { command: number; error: Error }[] = [];
  /** Once a worker has died, every call says so. */
  #lost: Error | null = null;
  readonly #waiters: Waiter[] = [];
  #pumping = false;

  /** @internal */
  constructor(compile: Compile, threads: number, maxPages: number) {
    this.#compile = compile;
    this.#threads = threads;
    try {
      this.#heap = new Heap(maxPages);
    } catch (error) {
      throw new Error(
        `Cannot reserve shared memory for the CPU executor: ${
          (error as Error).message
        }; lift the limit of address space (ulimit -v)`,
        { cause: error },
      );
    }
    this.#segments = this.#heap.take(
      SEGMENTS * SEGMENT_BYTES,
      () => "arguments of kernels",
    );
    const relaxed = hasRelaxedSimd();
    const maxBytes = Math.min(2 ** 31, maxPages * 65536);
    this.info = {
      executor: "cpu",
      adapter: `CPU (${inWords(threads)}, WebAssembly SIMD${
        relaxed ? ", relaxed" : ""
      })`,
      vendor: Deno.build.arch,
      software: true,
      features: relaxed ? ["relaxed-simd"] : [],
      maxBufferBytes: maxBytes,
      maxBindingBytes: maxBytes,
      maxWorkgroups: 65535,
      maxInvocations: 256,
      maxSharedBytes: 32768,
      maxStorageBuffers: 32,
      offsetAlignment: BLOCK_ALIGNMENT,
    };
  }

  get counts() {
    return { pipelines: this.#labels.size, bindGroups: 0 };
  }

  /** What it did besides running kernels. */
  get stats(): CpuStats {
    return { compiled: this.#labels.size, compileMs: this.#compileMs };
  }

  allocate(bytes: number, what: () => string): DeviceBuffer {
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    if (size > this.info.maxBufferBytes) {
      throw new RangeError(
        `Cannot allocate ${what()} as it takes ${size} bytes: a buffer of this device has at most ` +
          `${this.info.maxBufferBytes}`,
      );
    }
    const buffer: CpuBuffer = {
      id: this.#nextId++,
      bytes: size,
      address: this.#take(size, what),
      usedUntil: Atomics.load(this.#control, CONTROL.completed),
    };
    return buffer;
  }

  destroy(buffers: readonly DeviceBuffer[]): void {
    for (const buffer of buffers as readonly CpuBuffer[]) {
      if (buffer.address >= 0) this.#retire(buffer.address);
      buffer.address = -1;
    }
  }

  write(
    buffer: DeviceBuffer,
    data: ArrayBufferView<ArrayBuffer>,
    offset = 0,
  ): void {
    const target = buffer as CpuBuffer;
    const source = new Uint8Array(
      data.buffer,
      data.byteOffset,
      data.byteLength,
    );
    const { byteLength } = source;
    const to = addressOf(target, offset, byteLength, () => "a write");
    if (byteLength === 0) return;
    if (this.#hasRun(target.usedUntil)) {
      this.#heap.bytes.set(source, to);
      return;
    }
    // Work on record uses what is there now: the data wait beside it for their turn.
    if (byteLength <= SMALL_BYTES) {
      const from = this.#argument(byteLength);
      this.#heap.bytes.set(source, from);
      this.#copy(from, to, byteLength);
    } else {
      const from = this.#takeOrNull(byteLength, "data on its way");
      if (from === null) {
        this.#finish(this.#next);
        this.#heap.bytes.set(source, to);
        return;
      }
      this.#heap.bytes.set(source, from);
      this.#copy(from, to, byteLength);
      this.#retire(from);
    }
    target.usedUntil = this.#next;
    this.#publish();
  }

  compile(spec: PipelineSpec): Pipeline {
    return { spec };
  }

  dispatch({ pipeline, windows, params, groups, what }: Command): void {
    if (this.#lost) throw this.#lost;
    const known = (pipeline as CpuPipeline).built;
    if (known instanceof Error) throw known;
    const built = this.#build(pipeline);
    if (built instanceof Error) {
      if (this.#failures.length < MAX_FAILURES) {
        this.#failures.push({ command: this.#next, error: built });
      }
      this.#copy(0, 0, 1); // nothing, but it has its place in the order
      this.#publish();
      return;
    }
    const { order } = pipeline as CpuPipeline;
    const bytes = argsBytes(order!.length);
    const args = this.#argument(bytes + params.byteLength);
    if (params.byteLength > 0) this.#heap.bytes.set(params, args + bytes);
    this.#writeArgs(
      args,
      groups,
      params.byteLength > 0 ? args + bytes : 0,
      order!,
      windows,
      what,
    );
    const total = groups[0] * groups[1] * groups[2];
    this.#push(built.address, args, 0, total, this.#chunk(total, what));
    for (const { buffer } of windows) {
      (buffer as CpuBuffer).usedUntil = this.#next;
    }
    this.#publish();
  }

  prepare(commands: readonly Command[]): Program {
    const builts = commands.map(({ pipeline }) => {
      const built = this.#build(pipeline);
      if (built instanceof Error) throw built;
      return built;
    });
    // One block holds the arguments of all commands, and where their live parameters are.
    let end = 0;
    const places = commands.map(({ pipeline, params }) => {
      const args = end;
      const uniform = args +
        argsBytes((pipeline as CpuPipeline).order!.length);
      end = uniform + Math.ceil(params.byteLength / 16) * 16;
      return { args, uniform };
    });
    const fields = commands.reduce((sum, { live }) => sum + live.length, 0);
    const block = this.#take(
      end + 4 * fields,
      () => "the arguments of a captured step",
    );
    const { recordWords } = CONTROL;
    const records = new Int32Array(commands.length * recordWords);
    const used = new Set<CpuBuffer>();
    const targets = block + end;
    let target = targets >>> 2;
    for (const [i, command] of commands.entries()) {
      const { pipeline, windows, params, live, groups, what } = command;
      const args = block + places[i]!.args;
      const uniform = block + places[i]!.uniform;
      this.#heap.bytes.set(params, uniform);
      for (const { offset } of live) {
        this.#heap.words[target++] = uniform + offset;
      }
      this.#writeArgs(
        args,
        groups,
        params.byteLength > 0 ? uniform : 0,
        (pipeline as CpuPipeline).order!,
        windows,
        what,
      );
      const total = groups[0] * groups[1] * groups[2];
      const record = i * recordWords;
      records[record + RECORD.kind] = builts[i]!.address;
      records[record + RECORD.from] = args;
      records[record + RECORD.total] = total;
      records[record + RECORD.chunk] = this.#chunk(total, what);
      for (const { buffer } of windows) used.add(buffer as CpuBuffer);
    }
    const program: CpuProgram = {
      dispatches: commands.length,
      block,
      records,
      targets,
      fields,
      used: [...used],
    };
    this.#programs.register(program, block, program);
    return program;
  }

  release(prepared: Program): void {
    this.#programs.unregister(prepared);
    this.#retire((prepared as CpuProgram).block);
  }

  replay(prepared: Program, live: Uint32Array<ArrayBuffer>): void {
    if (this.#lost) throw this.#lost;
    const { records, targets, fields, used } = prepared as CpuProgram;
    if (fields > 0) {
      // Earlier runs may not have read theirs yet, so these take their turn.
      const values = this.#argument(4 * fields);
      this.#heap.words.set(live, values >>> 2);
      this.#push(PATCH, values, targets, fields, fields);
    }
    const { maxRecords, recordWords } = CONTROL;
    const count = records.length / recordWords;
    for (let first = 0; first < count;) {
      const slot = this.#next & maxRecords - 1;
      const some = Math.min(count - first, maxRecords - slot, maxRecords / 4);
      this.#makeRoom(some);
      this.#control.set(
        records.subarray(first * recordWords, (first + some) * recordWords),
        CONTROL.records + slot * recordWords,
      );
      this.#next = this.#next + some | 0;
      first += some;
    }
    for (const buffer of used) buffer.usedUntil = this.#next;
    this.#publish();
  }

  flush(): void {} // commands are handed over as they come

  async read(
    buffer: DeviceBuffer,
    bytes: number,
    offset = 0,
  ): Promise<ArrayBuffer> {
    const source = buffer as CpuBuffer;
    const from = addressOf(source, offset, bytes, () => "a readback");
    const copyOf = (at: number) => {
      const result = new Uint8Array(bytes);
      result.set(this.#heap.bytes.subarray(at, at + bytes));
      return result.buffer;
    };
    // Later work may change the buffer before this thread gets to look: it sees a copy.
    const copy = this.#hasRun(source.usedUntil)
      ? null
      : this.#takeOrNull(bytes, "a readback");
    if (copy === null) {
      this.#finish(source.usedUntil);
      const result = copyOf(from);
      await this.#wait();
      return result;
    }
    this.#copy(from, copy, bytes);
    source.usedUntil = this.#next;
    try {
      await this.#wait();
      return copyOf(copy);
    } finally {
      if (!this.#lost) this.#heap.give(copy);
    }
  }

  async sync(): Promise<void> {
    await this.#wait();
  }

  async turn(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    const enough = this.#next - AHEAD | 0;
    if (!this.#hasRun(enough)) await this.#wait(enough);
  }

  /** Ends the threads; nothing can be asked for afterwards. */
  close(): void {
    this.#lost = new Error("The CPU executor is closed");
    Atomics.store(this.#control, CONTROL.stopped, 1);
    // A change that wakes all who sleep, now or in a moment.
    Atomics.add(this.#control, CONTROL.published, 1);
    Atomics.add(this.#control, CONTROL.completed, 1);
    Atomics.notify(this.#control, CONTROL.published);
    Atomics.notify(this.#control, CONTROL.completed);
    this.#wake();
  }

  // --- kernels

  #build(pipeline: CpuPipeline): Built | Error {
    if (pipeline.built) return pipeline.built;
    const { spec } = pipeline;
    const key = JSON.stringify([spec.entryPoint, spec.constants]) +
      spec.source;
    let built = this.#built.get(key);
    if (!built) {
      built = this.#install(spec);
      this.#built.set(key, built);
    }
    if (!(built instanceof Error)) {
      const order: number[] = [];
      for (const { kind, binding, name } of built.kernel.bindings) {
        if (kind === "uniform") continue;
        const at = spec.bindings.findIndex((given) =>
          given.binding === binding
        );
        if (at < 0) {
          return pipeline.built = new Error(
            `Cannot compile ${spec.label}: it uses ${name}, which is not passed`,
          );
        }
        order.push(at);
      }
      pipeline.order = order;
    }
    return pipeline.built = built;
  }

  /** Compiles a kernel, and puts it where the threads find it. */
  #install(
    { source, entryPoint, constants, label }: PipelineSpec,
  ): Built | Error {
    const start = performance.now();
    let kernel: CompiledKernel;
    try {
      kernel = this.#compile(source, { entryPoint, constants, label });
      new WebAssembly.Module(kernel.bytes); // the threads get the same one
    } catch (error) {
      return failed(`Cannot compile ${label}`, error);
    } finally {
      this.#compileMs += performance.now() - start;
    }
    const { bytes, scratchBytes } = kernel;
    if (scratchBytes > this.#scratchBytes) {
      // Kernels compiled before keep what they have.
      this.#scratchBytes = 2 **
        Math.ceil(Math.log2(Math.max(64, scratchBytes)));
      this.#scratch = this.#take(
        this.#scratchBytes * Math.max(1, this.#threads),
        () => "memory of the threads",
      );
    }
    const address = this.#take(
      4 * KERNEL.header + bytes.length,
      () => `kernel ${label}`,
    );
    const header = address >>> 2;
    this.#heap.words[header + KERNEL.bytes] = bytes.length;
    this.#heap.words[header + KERNEL.scratch] = this.#scratch;
    this.#heap.words[header + KERNEL.scratchBytes] = this.#scratchBytes;
    this.#heap.bytes.set(bytes, address + 4 * KERNEL.header);
    this.#labels.set(address, label);
    return { address, kernel };
  }

  #writeArgs(
    args: number,
    groups: Command["groups"],
    uniform: number,
    order: readonly number[],
    windows: readonly BufferWindow[],
    what: () => string,
  ): void {
    const storage = order.map((i) => {
      const { buffer, offset, bytes } = windows[i]!;
      if (isPlanned(buffer)) {
        throw new ReferenceError(
          `Cannot run ${what()} as an argument was made inside a captured step: read it with outputs()`,
        );
      }
      return {
        address: addressOf(buffer as CpuBuffer, offset, bytes, what),
        bytes,
      };
    });
    writeArgs(this.#heap.words, args, groups, uniform, storage);
  }

  #chunk(total: number, what: () => string): number {
    if (total > 2 ** 31 - 1) {
      throw new RangeError(
        `Cannot run ${what()} over ${total} workgroups: this device allows ${
          2 ** 31 - 1
        } in all`,
      );
    }
    const chunks = this.#threads === 0
      ? CHUNKS_INLINE
      : CHUNKS_PER_THREAD * this.#threads;
    return Math.max(1, Math.ceil(total / chunks));
  }

  // --- memory

  /** Takes a block, waiting for one to come free if it must. */
  #take(bytes: number, what: () => string): number {
    this.#giveBack();
    try {
      return this.#heap.take(bytes, what);
    } catch (error) {
      if (this.#retired.length === 0) throw error;
      this.#finish(this.#next);
      this.#giveBack();
      return this.#heap.take(bytes, what);
    }
  }

  #takeOrNull(bytes: number, what: string): number | null {
    this.#giveBack();
    try {
      return this.#heap.take(bytes, () => what);
    } catch {
      return null;
    }
  }

  /** Gives a block back once all work recorded so far has run. */
  #retire(address: number): void {
    this.#retired.push({ address, until: this.#next });
  }

  #giveBack(): void {
    let count = 0;
    for (const { address, until } of this.#retired) {
      if (!this.#hasRun(until)) break;
      this.#heap.give(address);
      count++;
    }
    if (count > 0) this.#retired.splice(0, count);
  }

  /** Room for what the next command needs besides its record; it is used again after that has run. */
  #argument(bytes: number): number {
    const size = Math.ceil(bytes / 16) * 16;
    if (size > SEGMENT_BYTES) {
      throw new RangeError(
        `Cannot pass ${size} bytes of parameters as there may be ${SEGMENT_BYTES}`,
      );
    }
    if (this.#segmentUsed + size > SEGMENT_BYTES) {
      this.#segmentUntil[this.#segment] = this.#next;
      this.#segment = (this.#segment + 1) % SEGMENTS;
      this.#finish(this.#segmentUntil[this.#segment]!);
      this.#segmentUsed = 0;
    }
    const address = this.#segments + this.#segment * SEGMENT_BYTES +
      this.#segmentUsed;
    this.#segmentUsed += size;
    return address;
  }

  // --- commands

  #copy(from: number, to: number, bytes: number): void {
    this.#push(COPY, from, to, bytes, COPY_CHUNK);
  }

  #push(
    kind: number,
    from: number,
    to: number,
    total: number,
    chunk: number,
  ): void {
    this.#makeRoom(1);
    const record = CONTROL.records +
      (this.#next & CONTROL.maxRecords - 1) * CONTROL.recordWords;
    this.#control[record + RECORD.kind] = kind;
    this.#control[record + RECORD.from] = from;
    this.#control[record + RECORD.to] = to;
    this.#control[record + RECORD.total] = total;
    this.#control[record + RECORD.chunk] = chunk;
    this.#control[record + RECORD.claimed] = 0;
    this.#control[record + RECORD.done] = 0;
    this.#next = this.#next + 1 | 0;
  }

  /** Waits until so many records may be written: all threads are past what was there. */
  #makeRoom(count: number): void {
    const last = this.#next + count - CONTROL.maxRecords | 0;
    while ((this.#reusable - last | 0) < 0) {
      if (this.#lost) throw this.#lost;
      let first = Atomics.load(this.#control, CONTROL.completed);
      for (let thread = 0; thread < this.#workers.length; thread++) {
        const at = Atomics.load(
          this.#control,
          CONTROL.positions + 16 * thread,
        );
        if ((at - first | 0) < 0) first = at;
      }
      this.#reusable = first;
      if ((first - last | 0) < 0) {
        this.#publish();
        this.#help(1);
      }
    }
  }

  /** Hands what is recorded to the threads. */
  #publish(): void {
    if (Atomics.load(this.#control, CONTROL.published) === this.#next) return;
    Atomics.store(this.#control, CONTROL.published, this.#next);
    if (Atomics.load(this.#control, CONTROL.sleepers) > 0) {
      Atomics.notify(this.#control, CONTROL.published);
    }
    const completed = Atomics.load(this.#control, CONTROL.completed);
    if ((this.#next - completed | 0) > BACKLOG || this.#workers.length === 0) {
      this.#addThread();
    }
  }

  /**
   * Starts one more thread if there may be more. They come as they are needed, because each takes
   * this thread tens of milliseconds.
   *
   * @returns Whether there is one more.
   */
  #addThread(): boolean {
    const thread = this.#workers.length;
    if (this.#inline || thread > 0 && thread >= this.#threads) return false;
    const data: ThreadData = {
      memory: this.#heap.memory,
      control: this.#control,
      thread,
      tables: { CONTROL, RECORD, KERNEL, COPY, PATCH },
    };
    if (this.#threads > 0) {
      Atomics.store(
        this.#control,
        CONTROL.positions + 16 * thread,
        Atomics.load(this.#control, CONTROL.completed),
      );
      try {
        const worker = new Worker(WORKER_SOURCE, {
          eval: true,
          workerData: data,
        });
        worker.on("error", (error) => this.#lose(error));
        worker.on("exit", () => this.#lose(new Error("it has ended")));
        worker.unref(); // the process need not wait for it
        this.#workers.push(worker);
        return true;
      } catch {
        this.#threads = thread; // the runtime grants no more
      }
    }
    // Without any worker this thread computes.
    if (thread === 0) this.#inline = makeThread(data);
    return false;
  }

  #lose(error: unknown): void {
    this.#lost ??= failed("A thread of the CPU executor failed", error);
    this.#wake();
  }

  // --- waiting

  #hasRun(until: number): boolean {
    const completed = Atomics.load(this.#control, CONTROL.completed);
    // What seems to be ahead of all commands was recorded half the numbers ago.
    return (completed - until | 0) >= 0 || (until - this.#next | 0) > 0;
  }

  /** Blocks until the commands before `until` have run: only where memory or the ring is full. */
  #finish(until: number): void {
    while (!this.#hasRun(until)) {
      if (this.#lost) throw this.#lost;
      this.#publish();
      this.#help(100);
    }
  }

  /** Blocks until there is progress, at most for some milliseconds; computes if nobody else does. */
  #help(timeoutMs: number): void {
    if (this.#inline) {
      this.#inline.runUntil(performance.now() + SLICE_MS);
      return;
    }
    if (this.#addThread()) return;
    const control = this.#control, { completed, sleepers } = CONTROL;
    Atomics.add(control, sleepers, 1);
    const now = Atomics.load(control, completed);
    Atomics.wait(control, completed, now, timeoutMs);
    Atomics.sub(control, sleepers, 1);
  }

  /** Waits until all work recorded so far has run, and throws what went wrong in it. */
  async #wait(end = this.#next): Promise<void> {
    if (this.#lost) throw this.#lost;
    this.#publish();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter: Waiter = { end, resolve, reject, failure: null };
    this.#waiters.push(waiter);
    if (!this.#pumping) this.#pump();
    await promise;
    if (waiter.failure) throw waiter.failure;
  }

  /** Serves those who wait, in order, until there are none. */
  async #pump(): Promise<void> {
    const control = this.#control, { signal, awaited, wanted } = CONTROL;
    this.#pumping = true;
    await null; // those who ask in the same breath hear the same
    // Threads do not keep the process alive, but those who wait do.
    let alive: ReturnType<typeof setInterval> | null = null;
    while (this.#waiters.length > 0) {
      const { end } = this.#waiters[0]!;
      Atomics.store(control, wanted, end);
      Atomics.store(control, awaited, 1);
      const was = Atomics.load(control, signal);
      if (this.#lost || this.#hasRun(end)) {
        this.#serve();
        continue;
      }
      if (this.#inline) {
        this.#inline.runUntil(performance.now() + SLICE_MS);
        await new Promise((resolve) => setImmediate(resolve));
        continue;
      }
      if (this.#addThread()) continue;
      alive ??= setInterval(() => {}, 1 << 30);
      const change = Atomics.waitAsync(control, signal, was);
      if (change.async) await change.value;
    }
    Atomics.store(control, awaited, 0);
    if (alive !== null) clearInterval(alive);
    this.#pumping = false;
  }

  /** Lets those go on whose work has run. */
  #serve(): void {
    this.#collect();
    // A failure goes to everyone under way who waits for it, and is forgotten then.
    for (
      const [i, { command, error }] of [...this.#failures.entries()].reverse()
    ) {
      const told = this.#waiters.filter(({ end }) => (end - command | 0) > 0);
      for (const waiter of told) waiter.failure = error;
      if (told.length > 0) this.#failures.splice(i, 1);
    }
    while (this.#waiters.length > 0) {
      const waiter = this.#waiters[0]!;
      if (!this.#lost && !this.#hasRun(waiter.end)) break;
      this.#waiters.shift();
      if (this.#lost) waiter.reject(this.#lost);
      else waiter.resolve();
    }
  }

  #wake(): void {
    Atomics.add(this.#control, CONTROL.signal, 1);
    Atomics.notify(this.#control, CONTROL.signal);
  }

  /** Takes in what a thread reports. */
  #collect(): void {
    const control = this.#control;
    if (Atomics.load(control, CONTROL.failed) !== 2) return;
    const label = this.#labels.get(control[CONTROL.failedKernel]! >>> 0) ??
      "a copy";
    const at = CONTROL.message;
    const message = String.fromCharCode(
      ...control.subarray(at + 1, at + 1 + control[at]!),
    );
    this.#failures.push({
      command: control[CONTROL.failedCommand]!,
      error: new Error(`Cannot run ${label}: ${message}`),
    });
    Atomics.store(control, CONTROL.failed, 0);
  }
}

/** Where a window begins. */
function addressOf(
  buffer: CpuBuffer,
  offset: number,
  bytes: number,
  what: () => string,
): number {
  if (buffer.address < 0) {
    throw new ReferenceError(
      `Cannot run ${what()} as it uses memory that was given back`,
    );
  }
  if (offset < 0 || offset + bytes > buffer.bytes) {
    throw new RangeError(
      `Cannot run ${what()} as it reaches past its memory: bytes ${offset} to ${
        offset + bytes
      } of ${buffer.bytes}`,
    );
  }
  return buffer.address + offset;
}

function failed(attempt: string, error: unknown): Error {
  const message = error instanceof Error ? error.message : String(error);
  return new Error(`${attempt}: ${message}`, { cause: error });
}

function inWords(threads: number): string {
  if (threads === 0) return "no workers";
  return threads === 1 ? "1 thread" : `${threads} threads`;
}
