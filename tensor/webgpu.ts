/**
 * The executor over WebGPU: one compute pass collects many dispatches, parameters travel in one
 * uniform ring, pipelines and bind groups are made once.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import advanceSource from "./advance.wgsl" with { type: "text" };
import { isPlanned } from "./trace.ts";
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

/** Dispatches that are recorded before they are submitted, so that the device starts early. */
const MAX_RECORDED = 128;
/** The same for replayed steps, several of which may go together. */
const MAX_REPLAYED = 2048;
/** Runs of a captured step whose live parameters are on the device at once. */
const LIVE_ROWS = 64;
const RING_BYTES = 1 << 18;
/** Bind groups are small, but V8 does not see their native memory: forget all past this many. */
const MAX_BIND_GROUPS = 20_000;

/** Limits worth more than the specification's defaults; each is asked for at the adapter's value. */
const WANTED_LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ",
  "minStorageBufferOffsetAlignment",
  "minUniformBufferOffsetAlignment",
] as const;
const WANTED_FEATURES: readonly GPUFeatureName[] = [
  "timestamp-query",
  "shader-f16",
];

interface WebGpuBuffer extends DeviceBuffer {
  readonly gpu: GPUBuffer;
  destroyed: boolean;
  /** The recording that last used it: a write must not overtake it. */
  usedIn: number;
}

interface Built {
  readonly id: number;
  /** Why it cannot run, as soon as that is known. */
  failure: Error | null;
  readonly gpu: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

/** Built when first needed, in the form needed. */
interface WebGpuPipeline extends Pipeline {
  /** For single dispatches: parameters are found by a dynamic offset. */
  eager?: Built;
  /**
   * For captured steps: parameters do not move, and all buffers are writable, as WebGPU lets windows
   * of one buffer be read and written in the same dispatch only then.
   */
  fixed?: Built;
}

interface Encoded {
  readonly gpu: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly groups: Command["groups"];
}

interface WebGpuProgram extends Program {
  readonly encoded: readonly Encoded[];
  readonly table: GPUBuffer;
  /** Buffers that are the program's own. */
  readonly own: readonly GPUBuffer[];
  /** Live parameters of one run. */
  readonly fields: number;
  readonly used: readonly WebGpuBuffer[];
  runs: number;
  /** The recording that has the last runs, and how many of them. */
  recordedIn: number;
  rowsRecorded: number;
}

function advancePipeline(entryPoint: string, buffers: number): Pipeline {
  return {
    spec: {
      label: `advance.${entryPoint}`,
      source: advanceSource,
      entryPoint,
      constants: {},
      paramsBytes: 0,
      bindings: Array.from({ length: buffers }, (_, i) => ({
        binding: i + 1,
        writable: true,
      })),
    },
  };
}
const ADVANCE = advancePipeline("advance", 3);
const TICK = advancePipeline("tick", 1);

/** Why no device could be had, with the remedy for the platform. */
export class NoDeviceError extends Error {
  /** Tells it from other errors. */
  override readonly name = "NoDeviceError";
}

function remedy(): string {
  switch (Deno.build.os) {
    case "linux":
      return "Install a Vulkan driver: for a GPU the vendor's own, without one the software " +
        "driver, by `apt-get install mesa-vulkan-drivers libvulkan1` (Debian, Ubuntu), " +
        "`dnf install mesa-vulkan-drivers vulkan-loader` (Fedora) or " +
        "`pacman -S vulkan-swrast vulkan-icd-loader` (Arch)";
    case "darwin":
      return "Metal should be there on every Mac since 2012: update macOS";
    case "windows":
      return "Update the graphics driver so that it supports DirectX 12";
    default:
      return "Install a driver that WebGPU can use";
  }
}

/**
 * The fastest adapter.
 *
 * @throws {NoDeviceError} If the machine has none; the message says what to install.
 */
export async function findAdapter(): Promise<GPUAdapter> {
  const gpu = navigator.gpu as GPU | undefined;
  if (!gpu) {
    throw new NoDeviceError(
      "Cannot find WebGPU: this runtime has no navigator.gpu; use Deno 2.9",
    );
  }
  const adapter = await gpu.requestAdapter({
    powerPreference: "high-performance",
  });
  if (!adapter) {
    throw new NoDeviceError(
      `Cannot find a GPU adapter. ${remedy()}, or compute without one: DENOISE_DEVICE=cpu`,
    );
  }
  return adapter;
}

/** Names of all adapters that WebGPU offers; software drivers are marked. For people. */
export async function listAdapters(): Promise<string[]> {
  const gpu = navigator.gpu as GPU | undefined;
  const wishes: GPURequestAdapterOptions[] = [
    { powerPreference: "high-performance" },
    { powerPreference: "low-power" },
    { forceFallbackAdapter: true },
  ];
  const found = await Promise.all(
    wishes.map((wish) => gpu?.requestAdapter(wish)),
  );
  const names = found.flatMap((adapter) =>
    adapter
      ? [nameOf(adapter) + (isSoftware(adapter) ? " (software)" : "")]
      : []
  );
  return [...new Set(names)];
}

/** What an adapter calls itself. */
export function nameOf({ info }: GPUAdapter): string {
  return info.description || info.device || "unnamed adapter";
}

/** Whether an adapter is the processor, behind a driver. */
export function isSoftware({ info }: GPUAdapter): boolean {
  return info.isFallbackAdapter ||
    /llvmpipe|swiftshader|software/i.test(info.description);
}

/**
 * Opens a device with all limits and features that the engine can use.
 *
 * @param adapter From `findAdapter`, not used before.
 */
export async function openWebGpu(adapter: GPUAdapter): Promise<Executor> {
  const requiredLimits: Record<string, number> = {};
  for (const name of WANTED_LIMITS) {
    requiredLimits[name] = adapter.limits[name];
  }
  const features = WANTED_FEATURES.filter((name) => adapter.features.has(name));
  const open = (requiredFeatures: GPUFeatureName[]) =>
    adapter.requestDevice({
      label: "denoise",
      requiredLimits,
      requiredFeatures,
    });
  // Deno 2.9 grants subgroups but does not list them; who has no use for them does not ask.
  const device = hasSubgroupsOf8(adapter)
    ? await open([...features, "subgroups"]).catch(() => open(features))
    : await open(features);
  return new WebGpuExecutor(adapter, device);
}

/** Whether subgroups always have 8 invocations, as kernels for software drivers need it. */
function hasSubgroupsOf8({ info }: GPUAdapter): boolean {
  const { subgroupMinSize, subgroupMaxSize } = info as GPUAdapterInfo & {
    subgroupMinSize?: number;
    subgroupMaxSize?: number;
  };
  return subgroupMinSize === 8 && subgroupMaxSize === 8;
}

class WebGpuExecutor implements Executor {
  readonly info: DeviceInfo;
  readonly #device: GPUDevice;
  readonly #ring: GPUBuffer;
  readonly #ringData = new Uint8Array(RING_BYTES);
  readonly #slotAlignment: number;
  readonly #bindGroups = new Map<
    string,
    { group: GPUBindGroup; windows: readonly BufferWindow[] }
  >();
  readonly #staging = new Map<number, GPUBuffer[]>();
  #ringUsed = 0;
  #encoder: GPUCommandEncoder | null = null;
  #pass: GPUComputePassEncoder | null = null;
  #passPipeline: Built | null = null;
  #recorded = 0;
  /** Number of the recording in progress. */
  #recording = 1;
  #nextId = 1;
  #pipelines = 0;
  /** Checks that no readback has reported yet; each resolves to an error or null. */
  #checks: Promise<Error | null>[] = [];
  /** The first thing that went wrong outside of a check and was not thrown yet. */
  #failure: Error | null = null;
  /** Once the device is lost, every call says so. */
  #lost: Error | null = null;
  /** Buffers whose last use is not yet submitted. */
  #doomed: GPUBuffer[] = [];

  constructor(adapter: GPUAdapter, device: GPUDevice) {
    this.#device = device;
    const { info } = adapter;
    const limits = device.limits;
    this.info = {
      executor: "webgpu",
      adapter: nameOf(adapter),
      vendor: [info.vendor, info.architecture, info.device].filter(Boolean)
        .join(" "),
      software: isSoftware(adapter),
      features: [...device.features].sort(),
      maxBufferBytes: limits.maxBufferSize,
      maxBindingBytes: Math.min(
        limits.maxStorageBufferBindingSize,
        limits.maxBufferSize,
      ),
      maxWorkgroups: limits.maxComputeWorkgroupsPerDimension,
      maxInvocations: limits.maxComputeInvocationsPerWorkgroup,
      maxSharedBytes: limits.maxComputeWorkgroupStorageSize,
      maxStorageBuffers: limits.maxStorageBuffersPerShaderStage,
      offsetAlignment: Math.max(16, limits.minStorageBufferOffsetAlignment),
    };
    this.#slotAlignment = Math.max(16, limits.minUniformBufferOffsetAlignment);
    this.#ring = device.createBuffer({
      label: "params",
      size: RING_BYTES,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
    // Without a listener Deno drops such errors in silence.
    device.addEventListener("uncapturederror", (event) => {
      const { error } = event as unknown as { error: GPUError };
      this.#failure ??= new Error(`WebGPU reports: ${error.message}`);
    });
    device.lost.then(({ reason, message }) => {
      if (reason !== "destroyed") {
        this.#lost = new Error(
          `The device was lost: ${message || "no reason given"}`,
        );
      }
    });
  }

  get counts() {
    return { pipelines: this.#pipelines, bindGroups: this.#bindGroups.size };
  }

  allocate(bytes: number, what: () => string): DeviceBuffer {
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    if (size > this.info.maxBufferBytes) {
      throw new RangeError(
        `Cannot allocate ${what()} as it takes ${size} bytes: a buffer of this device has at most ` +
          `${this.info.maxBufferBytes}`,
      );
    }
    this.#device.pushErrorScope("out-of-memory");
    const gpu = this.#device.createBuffer({
      label: "tensor",
      size,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC |
        GPUBufferUsage.COPY_DST,
    });
    this.#check(
      `Cannot allocate ${what()} (${size} bytes), the device is out of memory`,
    );
    const buffer: WebGpuBuffer = {
      id: this.#nextId++,
      bytes: size,
      gpu,
      destroyed: false,
      usedIn: 0,
    };
    return buffer;
  }

  destroy(buffers: readonly DeviceBuffer[]): void {
    for (const buffer of buffers as readonly WebGpuBuffer[]) {
      buffer.destroyed = true;
      if (buffer.usedIn === this.#recording) this.#doomed.push(buffer.gpu);
      else buffer.gpu.destroy();
    }
    for (const [key, { windows }] of this.#bindGroups) {
      if (windows.some(({ buffer }) => (buffer as WebGpuBuffer).destroyed)) {
        this.#bindGroups.delete(key);
      }
    }
  }

  write(
    buffer: DeviceBuffer,
    data: ArrayBufferView<ArrayBuffer>,
    offset = 0,
    unused = false,
  ): void {
    const target = buffer as WebGpuBuffer;
    // A write is not recorded: it goes ahead of what is.
    if (!unused && target.usedIn === this.#recording) this.flush();
    const { byteLength } = data;
    const whole = byteLength & ~3;
    this.#device.queue.writeBuffer(
      target.gpu,
      offset,
      data.buffer,
      data.byteOffset,
      whole,
    );
    if (whole < byteLength) {
      const tail = new Uint8Array(4);
      tail.set(
        new Uint8Array(
          data.buffer,
          data.byteOffset + whole,
          byteLength - whole,
        ),
      );
      this.#device.queue.writeBuffer(target.gpu, offset + whole, tail);
    }
  }

  compile(spec: PipelineSpec): Pipeline {
    return { spec };
  }

  #build(spec: PipelineSpec, hasDynamicOffset: boolean): Built {
    const device = this.#device;
    if (spec.bindings.length > this.info.maxStorageBuffers) {
      throw new RangeError(
        `Cannot compile ${spec.label} as it binds ${spec.bindings.length} storage buffers: ` +
          `this device allows ${this.info.maxStorageBuffers}`,
      );
    }
    device.pushErrorScope("validation");
    const module = device.createShaderModule({
      label: spec.label,
      code: spec.source,
    });
    const compiled = this.#check(`Cannot compile ${spec.label}`);
    device.pushErrorScope("validation");
    const entries: GPUBindGroupLayoutEntry[] = spec.bindings.map((
      { binding, writable },
    ) => ({
      binding,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type: writable ? "storage" : "read-only-storage" },
    }));
    if (spec.paramsBytes > 0) {
      entries.push({
        binding: 0,
        visibility: GPUShaderStage.COMPUTE,
        buffer: {
          type: "uniform",
          hasDynamicOffset,
          minBindingSize: spec.paramsBytes,
        },
      });
    }
    const layout = device.createBindGroupLayout({ label: spec.label, entries });
    const gpu = device.createComputePipeline({
      label: spec.label,
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: {
        module,
        entryPoint: spec.entryPoint,
        constants: spec.constants,
      },
    });
    const built = this.#check(`Cannot build the pipeline ${spec.label}`);
    this.#pipelines++;
    const pipeline: Built = {
      id: this.#nextId++,
      gpu,
      layout,
      failure: null,
    };
    this.#settle([compiled, built]).then((error) => pipeline.failure = error);
    return pipeline;
  }

  #eager(pipeline: Pipeline): Built {
    const { spec } = pipeline;
    return (pipeline as WebGpuPipeline).eager ??= this.#build(spec, true);
  }

  #fixed(pipeline: Pipeline): Built {
    const { spec } = pipeline;
    return (pipeline as WebGpuPipeline).fixed ??= this.#build({
      ...spec,
      source: spec.source.replaceAll(
        "var<storage, read>",
        "var<storage, read_write>",
      ),
      bindings: spec.bindings.map(({ binding }) => ({
        binding,
        writable: true,
      })),
    }, false);
  }

  dispatch({ pipeline, windows, params, groups, what }: Command): void {
    if (this.#lost) throw this.#lost;
    if (windows.some(({ buffer }) => isPlanned(buffer))) {
      throw new ReferenceError(
        `Cannot run ${what()} as an argument was made inside a captured step: read it with outputs()`,
      );
    }
    const compiled = this.#eager(pipeline);
    if (compiled.failure) throw compiled.failure;
    const slot = Math.ceil(params.byteLength / this.#slotAlignment) *
      this.#slotAlignment;
    if (this.#recorded >= MAX_RECORDED || this.#ringUsed + slot > RING_BYTES) {
      this.flush();
    }
    const group = this.#bindGroup(compiled, pipeline.spec, windows, what);
    const pass = this.#openPass();
    if (this.#passPipeline !== compiled) {
      pass.setPipeline(compiled.gpu);
      this.#passPipeline = compiled;
    }
    if (params.byteLength > 0) {
      this.#ringData.set(params, this.#ringUsed);
      pass.setBindGroup(0, group, [this.#ringUsed]);
      this.#ringUsed += slot;
    } else pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(groups[0], groups[1], groups[2]);
    for (const { buffer } of windows) {
      (buffer as WebGpuBuffer).usedIn = this.#recording;
    }
    this.#recorded++;
  }

  prepare(commands: readonly Command[]): Program {
    const device = this.#device;
    // One uniform buffer holds the parameters of all commands, one table the live ones of some runs.
    const slot = (bytes: number) =>
      Math.ceil(bytes / this.#slotAlignment) * this.#slotAlignment;
    let end = 0;
    const offsets = commands.map(({ params }) => {
      const offset = end;
      end += slot(params.byteLength);
      return offset;
    });
    const block = new Uint8Array(Math.max(16, end));
    commands.forEach(({ params }, i) => block.set(params, offsets[i]!));
    const targets = commands.flatMap(({ live }, i) =>
      live.map(({ offset }) => (offsets[i]! + offset) / 4)
    );
    const fields = targets.length;
    const make = (
      label: string,
      size: number,
      usage: number,
      data?: Uint8Array<ArrayBuffer>,
    ) => {
      const buffer = device.createBuffer({
        label,
        size: Math.max(16, Math.ceil(size / 16) * 16),
        usage: usage | GPUBufferUsage.COPY_DST,
      });
      if (data) device.queue.writeBuffer(buffer, 0, data);
      return buffer;
    };
    const uniforms = make(
      "step params",
      block.byteLength,
      GPUBufferUsage.UNIFORM | GPUBufferUsage.STORAGE,
      block,
    );
    const table = make(
      "step table",
      LIVE_ROWS * fields * 4,
      GPUBufferUsage.STORAGE,
    );
    const targetData = Uint32Array.from([0, fields, LIVE_ROWS, ...targets]);
    const state = make(
      "step state",
      targetData.byteLength,
      GPUBufferUsage.STORAGE,
      new Uint8Array(targetData.buffer),
    );
    const encoded: Encoded[] = [];
    const add = (
      pipeline: Pipeline,
      resources: GPUBindingResource[],
      groups: Command["groups"],
      what: () => string,
    ) => {
      const { gpu, layout } = this.#fixed(pipeline);
      const { label, bindings } = pipeline.spec;
      device.pushErrorScope("validation");
      const group = device.createBindGroup({
        label,
        layout,
        entries: resources.map((resource, i) => ({
          binding: bindings[i]?.binding ?? 0, // past the storage buffers, the parameters
          resource,
        })),
      });
      this.#check(`Cannot bind the arguments of ${what()}`);
      encoded.push({ gpu, group, groups });
    };
    if (fields > 0) {
      const what = () => "the parameters of a captured step";
      const blocks = [state, table, uniforms].map((buffer) => ({ buffer }));
      add(ADVANCE, blocks, [Math.ceil(fields / 64), 1, 1], what);
      add(TICK, blocks.slice(0, 1), [1, 1, 1], what);
    }
    const used = new Set<WebGpuBuffer>();
    commands.forEach(({ pipeline, windows, groups, what }, i) => {
      const resources: GPUBindingResource[] = windows.map((window) => {
        const buffer = window.buffer as WebGpuBuffer;
        used.add(buffer);
        return {
          buffer: buffer.gpu,
          offset: window.offset,
          size: window.bytes,
        };
      });
      const { paramsBytes } = pipeline.spec;
      if (paramsBytes > 0) {
        resources.push({
          buffer: uniforms,
          offset: offsets[i]!,
          size: paramsBytes,
        });
      }
      add(pipeline, resources, groups, what);
    });
    const program: WebGpuProgram = {
      dispatches: encoded.length,
      encoded,
      table,
      own: [uniforms, table, state],
      fields,
      used: [...used],
      runs: 0,
      recordedIn: 0,
      rowsRecorded: 0,
    };
    return program;
  }

  replay(prepared: Program, live: Uint32Array<ArrayBuffer>): void {
    if (this.#lost) throw this.#lost;
    const program = prepared as WebGpuProgram;
    const { fields, encoded } = program;
    if (program.recordedIn !== this.#recording) {
      program.recordedIn = this.#recording;
      program.rowsRecorded = 0;
    }
    // A row of the table may be written again once the run that reads it is submitted.
    if (program.rowsRecorded === LIVE_ROWS) {
      this.flush();
      program.recordedIn = this.#recording;
      program.rowsRecorded = 0;
    }
    program.rowsRecorded++;
    if (fields > 0) {
      const row = program.runs % LIVE_ROWS;
      this.#device.queue.writeBuffer(program.table, row * fields * 4, live);
    }
    program.runs++;
    const pass = this.#openPass();
    let current: GPUComputePipeline | null = null;
    for (const { gpu, group, groups } of encoded) {
      if (gpu !== current) pass.setPipeline(current = gpu);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(groups[0], groups[1], groups[2]);
    }
    this.#passPipeline = null;
    for (const buffer of program.used) buffer.usedIn = this.#recording;
    this.#recorded += encoded.length;
    if (this.#recorded >= MAX_REPLAYED) this.flush();
  }

  release(prepared: Program): void {
    const { own, recordedIn } = prepared as WebGpuProgram;
    if (recordedIn === this.#recording) this.#doomed.push(...own);
    else for (const buffer of own) buffer.destroy();
  }

  flush(): void {
    if (!this.#encoder) return;
    this.#endPass();
    if (this.#ringUsed > 0) {
      this.#device.queue.writeBuffer(
        this.#ring,
        0,
        this.#ringData,
        0,
        this.#ringUsed,
      );
    }
    this.#device.queue.submit([this.#encoder.finish()]);
    this.#check("Cannot run the recorded kernels");
    this.#encoder = null;
    this.#recorded = 0;
    this.#ringUsed = 0;
    this.#recording++;
    for (const gpu of this.#doomed.splice(0)) gpu.destroy();
  }

  async read(
    buffer: DeviceBuffer,
    bytes: number,
    offset = 0,
  ): Promise<ArrayBuffer> {
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    const staging = this.#staging.get(size)?.pop() ??
      this.#device.createBuffer({
        label: "readback",
        size,
        usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
      });
    const encoder = this.#openEncoder();
    this.#endPass();
    encoder.copyBufferToBuffer(
      (buffer as WebGpuBuffer).gpu,
      offset,
      staging,
      0,
      Math.ceil(bytes / 4) * 4,
    );
    this.flush();
    const checks = [...this.#checks];
    const mapped = staging.mapAsync(GPUMapMode.READ);
    const [mapping] = await Promise.allSettled([mapped]);
    try {
      await this.#surface(checks);
      if (mapping.status === "rejected") throw mapping.reason;
      return staging.getMappedRange(0, size).slice(0, bytes);
    } finally {
      staging.unmap();
      // A few per size are kept; large ones are rare and given back.
      const kept = this.#staging.get(size) ?? [];
      if (size > 1 << 24 || kept.length >= 8 || this.#lost) staging.destroy();
      else this.#staging.set(size, [...kept, staging]);
    }
  }

  async sync(): Promise<void> {
    this.flush();
    const checks = [...this.#checks];
    await this.#device.queue.onSubmittedWorkDone();
    await this.#surface(checks);
  }

  async turn(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
  }

  #openEncoder(): GPUCommandEncoder {
    if (!this.#encoder) {
      this.#device.pushErrorScope("validation");
      this.#encoder = this.#device.createCommandEncoder();
    }
    return this.#encoder;
  }

  #openPass(): GPUComputePassEncoder {
    this.#pass ??= this.#openEncoder().beginComputePass();
    return this.#pass;
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = null;
    this.#passPipeline = null;
  }

  #bindGroup(
    pipeline: Built,
    spec: PipelineSpec,
    windows: readonly BufferWindow[],
    what: () => string,
  ): GPUBindGroup {
    let key = String(pipeline.id);
    for (const { buffer, offset, bytes } of windows) {
      key += `,${buffer.id}:${offset}:${bytes}`;
    }
    const cached = this.#bindGroups.get(key);
    if (cached) return cached.group;
    if (this.#bindGroups.size >= MAX_BIND_GROUPS) this.#bindGroups.clear();
    const entries: GPUBindGroupEntry[] = windows.map((
      { buffer, offset, bytes },
      i,
    ) => ({
      binding: spec.bindings[i]!.binding,
      resource: { buffer: (buffer as WebGpuBuffer).gpu, offset, size: bytes },
    }));
    if (spec.paramsBytes > 0) {
      entries.push({
        binding: 0,
        resource: { buffer: this.#ring, size: spec.paramsBytes },
      });
    }
    this.#device.pushErrorScope("validation");
    const group = this.#device.createBindGroup({
      label: spec.label,
      layout: pipeline.layout,
      entries,
    });
    this.#check(`Cannot bind the arguments of ${what()}`).then((error) => {
      if (error) this.#bindGroups.delete(key);
    });
    this.#bindGroups.set(key, { group, windows });
    return group;
  }

  /** Closes the innermost error scope; what it caught is thrown at the next readback. */
  #check(attempt: string): Promise<Error | null> {
    const check = this.#device.popErrorScope().then(
      (error) => error && new Error(`${attempt}: ${error.message}`),
      () => null, // the device is gone: `lost` tells why
    );
    this.#checks.push(check);
    if (this.#checks.length >= 4096) {
      this.#checks = [this.#settle(this.#checks)];
    }
    return check;
  }

  async #settle(
    checks: readonly Promise<Error | null>[],
  ): Promise<Error | null> {
    return (await Promise.all(checks)).find((error) => error !== null) ?? null;
  }

  /**
   * Throws what went wrong in the work that these checks cover. Readbacks under way at the same time
   * cover the same work, and all throw; later ones do not.
   */
  async #surface(checks: readonly Promise<Error | null>[]): Promise<void> {
    const error = await this.#settle(checks);
    const reported = new Set(checks);
    this.#checks = this.#checks.filter((check) => !reported.has(check));
    const failure = this.#lost ?? error ?? this.#failure;
    this.#failure = null;
    if (failure) throw failure;
  }
}
