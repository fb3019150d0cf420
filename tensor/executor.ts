/**
 * The narrow interface through which the engine talks to a machine: buffers, compiled kernels,
 * dispatches, readback. Nothing above `tensor/` knows which executor runs.
 *
 * @module
 */

/** What a machine can do, in the units of the WebGPU specification. */
export interface DeviceInfo {
  /** `webgpu`, later also `cpu`. */
  readonly executor: string;
  /** The adapter's own words, such as `NVIDIA H100` or `llvmpipe (LLVM 15.0.6, 256 bits)`. */
  readonly adapter: string;
  /** Vendor, architecture and device identifiers as the adapter reports them. */
  readonly vendor: string;
  /** True for a software driver. */
  readonly software: boolean;
  /** Optional features that were granted. */
  readonly features: readonly string[];
  /** Bytes of the largest buffer. */
  readonly maxBufferBytes: number;
  /** Bytes of the largest window of a buffer that one kernel argument can see. */
  readonly maxBindingBytes: number;
  /** Workgroups along one axis of a dispatch. */
  readonly maxWorkgroups: number;
  /** Invocations in one workgroup. */
  readonly maxInvocations: number;
  /** Bytes of workgroup-shared memory. */
  readonly maxSharedBytes: number;
  /** Storage buffers that one kernel can bind. */
  readonly maxStorageBuffers: number;
  /** Bytes to which an offset into a bound buffer is aligned. */
  readonly offsetAlignment: number;
}

/** A piece of device memory. Its content is zero when it is allocated. */
export interface DeviceBuffer {
  /** Unique among all buffers ever allocated. */
  readonly id: number;
  /** Size in bytes, a multiple of 16. */
  readonly bytes: number;
}

/** One entry point of a WGSL source, with its constants fixed. */
export interface PipelineSpec {
  /** For messages: `conv2d.forward`. */
  readonly label: string;
  /** WGSL source text. */
  readonly source: string;
  /** Name of the `@compute` function. */
  readonly entryPoint: string;
  /** Values of `override` constants. */
  readonly constants: Readonly<Record<string, number>>;
  /** Bytes of the uniform block at binding 0; 0 if there is none. */
  readonly paramsBytes: number;
  /** Storage bindings in the order in which a dispatch passes its buffers. */
  readonly bindings: readonly { binding: number; writable: boolean }[];
}

/** A compiled entry point. */
export interface Pipeline {
  /** What it was compiled from. */
  readonly spec: PipelineSpec;
}

/** A window of a buffer: all of it unless `offset` and `bytes` are given. */
export interface BufferWindow {
  /** The buffer. */
  readonly buffer: DeviceBuffer;
  /** Start in bytes. */
  readonly offset: number;
  /** Length in bytes, a multiple of 16. */
  readonly bytes: number;
  /** Bytes that hold elements; what is past them is padding. */
  readonly used: number;
}

/** A parameter that is computed anew for every run of a captured step. */
export interface LiveParam {
  /** Where it stands in the parameters, in bytes. */
  readonly offset: number;
  /** Its bits now. */
  readonly bits: () => number;
}

/** A kernel, its arguments, and how it is spread out. */
export interface Command {
  readonly pipeline: Pipeline;
  /** Storage arguments, in the order of the pipeline's bindings. */
  readonly windows: readonly BufferWindow[];
  /** The uniform block. */
  readonly params: Uint8Array<ArrayBuffer>;
  /** Parameters that change from run to run. */
  readonly live: readonly LiveParam[];
  /** Workgroups along the three axes. */
  readonly groups: readonly [number, number, number];
  /** For messages: operation and shapes. */
  readonly what: () => string;
}

/** Commands that are ready to be run again and again. */
export interface Program {
  /** Dispatches of one run, the executor's own included. */
  readonly dispatches: number;
}

/** A machine that runs kernels. Calls are ordered: each sees the effects of those before it. */
export interface Executor {
  /** What the machine can do. */
  readonly info: DeviceInfo;
  /** Reserves zeroed memory; `what` names its owner in an error. */
  allocate(bytes: number, what: () => string): DeviceBuffer;
  /** Gives memory back once everything that uses it has run. */
  destroy(buffers: readonly DeviceBuffer[]): void;
  /**
   * Copies host data into a buffer.
   *
   * @param unused Says that no work recorded so far uses these bytes, so that none has to go first.
   */
  write(
    buffer: DeviceBuffer,
    data: ArrayBufferView<ArrayBuffer>,
    offset?: number,
    unused?: boolean,
  ): void;
  /** Compiles an entry point. Errors in the source surface at the next readback, and if it is run again. */
  compile(spec: PipelineSpec): Pipeline;
  /** Runs a kernel. */
  dispatch(command: Command): void;
  /** Makes everything ready to run a list of commands again and again. */
  prepare(commands: readonly Command[]): Program;
  /**
   * Runs a prepared list.
   *
   * @param live Bits of the live parameters, in the order of the commands and their lists.
   */
  replay(program: Program, live: Uint32Array<ArrayBuffer>): void;
  /** Gives back the memory of a prepared list, which is not run again, once what was asked has run. */
  release(program: Program): void;
  /** Hands recorded work to the machine. */
  flush(): void;
  /** Copies device memory to the host, after all work before it. Throws what went wrong so far. */
  read(
    buffer: DeviceBuffer,
    bytes: number,
    offset?: number,
  ): Promise<ArrayBuffer>;
  /** Waits for all work. Throws what went wrong so far. */
  sync(): Promise<void>;
  /**
   * Lets timers and signals have their turn, and waits where so much work is queued that recording
   * more would block.
   */
  turn(): Promise<void>;
  /** Counters for `memory()`. */
  readonly counts: { readonly pipelines: number; readonly bindGroups: number };
}
