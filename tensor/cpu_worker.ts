/**
 * A thread of the CPU executor: takes commands from a ring in shared memory and runs them.
 *
 * The host writes records and moves `published` on. All threads walk the records in order. Those of a
 * command are shared out in chunks of workgroups, by a counter; who finishes the last chunk moves
 * `completed` on, and only then does anyone begin the next command. No thread has a share of its own,
 * so one that comes late or is held up by the system holds up nobody, and the results do not depend
 * on how many there are.
 *
 * @module
 */
import type { RunKernel } from "../wgsl/kernel_abi.ts";

/** Places in the control block, in words; what several threads write to has a cache line of its own. */
export const CONTROL = {
  /** Commands that threads may run, counted from the start, modulo 2^32. */
  published: 0,
  /** Commands that have run. */
  completed: 16,
  /** Threads that sleep, or are about to. */
  sleepers: 32,
  /** 1 while the host waits for command `wanted` to have run, and changes of `signal` to tell it. */
  awaited: 48,
  wanted: 49,
  signal: 64,
  /** 1 makes threads end. */
  stopped: 80,
  /** What went wrong first: 0 nothing, 1 is being written, 2 written. */
  failed: 96,
  failedCommand: 97,
  failedKernel: 98,
  /** Number of characters, then one in each word. */
  message: 99,
  maxMessage: 400,
  /** The command that each thread is at, one every 16 words. */
  positions: 512,
  maxThreads: 64,
  /** The ring of records. */
  records: 1536,
  maxRecords: 4096,
  recordWords: 16,
} as const;

/** Words of the control block. */
export const CONTROL_WORDS: number = CONTROL.records +
  CONTROL.maxRecords * CONTROL.recordWords;

/**
 * Words of a record. `total` items are run `chunk` at a time: workgroups of a kernel, bytes of a copy,
 * words of a patch.
 */
export const RECORD = {
  /** `COPY`, `PATCH`, or the address of a kernel. */
  kind: 0,
  /** Of a kernel: its arguments. Else where the source begins. */
  from: 1,
  /** Of a copy: where it goes. Of a patch: the list of addresses of its words. */
  to: 2,
  total: 3,
  chunk: 4,
  /** Chunks that were handed out, and that have run. */
  claimed: 5,
  done: 6,
} as const;

/** Copies bytes. */
export const COPY = 0;
/** Writes words to scattered addresses. */
export const PATCH = 1;

/**
 * Words before a kernel's module: its length in bytes, the address of the threads' scratch memory,
 * and how much of it each has.
 */
export const KERNEL = { bytes: 0, scratch: 1, scratchBytes: 2, header: 4 };

/** What a thread is given. */
export interface ThreadData {
  readonly memory: WebAssembly.Memory;
  readonly control: Int32Array<SharedArrayBuffer>;
  /** Its number, from 0. */
  readonly thread: number;
  /** The tables above, as a worker is made from the text of `makeThread` alone. */
  readonly tables: {
    CONTROL: typeof CONTROL;
    RECORD: typeof RECORD;
    KERNEL: typeof KERNEL;
    COPY: number;
    PATCH: number;
  };
}

/** A thread. */
export interface Thread {
  /** Runs commands as they come, until it is stopped. */
  runForever(): void;
  /** Runs what is there, until the time is up: `performance.now()` is past `deadline`. */
  runUntil(deadline: number): void;
}

/** Makes a thread. It uses nothing but its argument, so that its text is all that a worker needs. */
export function makeThread(
  { memory, control, thread, tables }: ThreadData,
): Thread {
  const { CONTROL, RECORD, KERNEL, COPY, PATCH } = tables;
  const { published, completed, sleepers, records, recordWords } = CONTROL;
  const position = CONTROL.positions + 16 * thread;
  /** Looks at a word before sleeping: some ten microseconds, as waking takes longer. */
  const SPINS = 400;
  const kernels = new Map<number, { run: RunKernel; scratch: number }>();
  let bytes = new Uint8Array(memory.buffer);
  let words = new Int32Array(memory.buffer);

  /** Sees all of the memory, which may have grown; this thread hears of it late unless it grows, too. */
  function see(end: number): void {
    if (end <= bytes.length) return;
    memory.grow(0);
    bytes = new Uint8Array(memory.buffer);
    words = new Int32Array(memory.buffer);
  }

  function load(at: number) {
    see(at + 4 * KERNEL.header);
    const header = at >>> 2;
    const start = at + 4 * KERNEL.header;
    const end = start + words[header + KERNEL.bytes]!;
    see(end);
    // The engine knows a module by its bytes, and compiles it once for all threads.
    const module = new WebAssembly.Module(bytes.slice(start, end));
    const { exports } = new WebAssembly.Instance(module, { env: { memory } });
    const kernel = {
      run: exports.run as RunKernel,
      scratch: words[header + KERNEL.scratch]! +
        thread * words[header + KERNEL.scratchBytes]!,
    };
    kernels.set(at, kernel);
    return kernel;
  }

  function runChunk(record: number, first: number, last: number): void {
    const kind = control[record + RECORD.kind]! >>> 0;
    const from = control[record + RECORD.from]! >>> 0;
    const to = control[record + RECORD.to]! >>> 0;
    if (kind === COPY) {
      see(Math.max(from, to) + last);
      bytes.set(bytes.subarray(from + first, from + last), to + first);
    } else if (kind === PATCH) {
      see(Math.max(from, to) + 4 * last);
      for (let i = first; i < last; i++) {
        const target = words[(to >>> 2) + i]! >>> 0;
        see(target + 4);
        words[target >>> 2] = words[(from >>> 2) + i]!;
      }
    } else {
      const { run, scratch } = kernels.get(kind) ?? load(kind);
      run(from, first, last, scratch);
    }
  }

  /** Leaves a note of the first error for the host. */
  function report(command: number, record: number, error: unknown): void {
    if (Atomics.compareExchange(control, CONTROL.failed, 0, 1) !== 0) return;
    const message = error instanceof Error ? error.message : String(error);
    const length = Math.min(message.length, CONTROL.maxMessage);
    control[CONTROL.failedCommand] = command;
    control[CONTROL.failedKernel] = control[record + RECORD.kind]!;
    control[CONTROL.message] = length;
    for (let i = 0; i < length; i++) {
      control[CONTROL.message + 1 + i] = message.charCodeAt(i);
    }
    Atomics.store(control, CONTROL.failed, 2);
  }

  /** Does what is left of a command, as far as the time allows. */
  function runCommand(command: number, deadline: number): void {
    const record = records +
      (command & CONTROL.maxRecords - 1) * recordWords;
    const total = control[record + RECORD.total]! >>> 0;
    const chunk = control[record + RECORD.chunk]!;
    const chunks = Math.ceil(total / chunk);
    let done = 0;
    do {
      const claimed = Atomics.add(control, record + RECORD.claimed, 1);
      if (claimed >= chunks) break;
      const first = claimed * chunk;
      try {
        runChunk(record, first, Math.min(total, first + chunk));
      } catch (error) {
        report(command, record, error);
      }
      done++;
    } while (deadline === Infinity || performance.now() < deadline);
    if (done === 0) return;
    const before = Atomics.add(control, record + RECORD.done, done);
    if (before + done < chunks) return;
    const next = command + 1 | 0;
    Atomics.store(control, completed, next);
    if (Atomics.load(control, sleepers) > 0) Atomics.notify(control, completed);
    if (
      Atomics.load(control, CONTROL.awaited) !== 0 &&
      (next - Atomics.load(control, CONTROL.wanted) | 0) >= 0
    ) {
      Atomics.add(control, CONTROL.signal, 1);
      Atomics.notify(control, CONTROL.signal);
    }
  }

  /** Returns once the word is no longer what it was. */
  function wait(word: number, was: number): void {
    for (let spin = 0; spin < SPINS; spin++) {
      if (Atomics.load(control, word) !== was) return;
      Atomics.pause();
    }
    // Who changes a word looks at the number of sleepers after that, so none is forgotten.
    Atomics.add(control, sleepers, 1);
    Atomics.wait(control, word, was);
    Atomics.sub(control, sleepers, 1);
  }

  return {
    runForever(): void {
      let command = Atomics.load(control, position);
      while (Atomics.load(control, CONTROL.stopped) === 0) {
        // The host keeps its hands off this record from now on.
        Atomics.store(control, position, command);
        const end = Atomics.load(control, published);
        if (end === command) {
          wait(published, end);
          continue;
        }
        const now = Atomics.load(control, completed);
        if ((now - command | 0) < 0) wait(completed, now);
        else if (now !== command) command = now; // others were faster
        else {
          runCommand(command, Infinity);
          command = command + 1 | 0;
        }
      }
    },

    runUntil(deadline: number): void {
      do {
        const command = Atomics.load(control, completed);
        Atomics.store(control, position, command);
        if (command === Atomics.load(control, published)) return;
        runCommand(command, deadline);
      } while (performance.now() < deadline);
    },
  };
}

/** The program of a worker. */
export const WORKER_SOURCE: string =
  `const { workerData } = require("node:worker_threads");
(${makeThread})(workerData).runForever();`;
