/**
 * From a WGSL file to dispatches. The file alone declares its parameters and bindings; this reads
 * them there, so that neither is written twice.
 *
 * @module
 */
import { outsideCapture, requireNoHistory } from "./context.ts";
import { executor } from "./device.ts";
import type { BufferWindow, LiveParam, Pipeline } from "./executor.ts";
import { Storage } from "./memory.ts";
import { show, Tensor } from "./tensor.ts";
import { Live } from "./trace.ts";

/** Values of the uniform struct `Params`, by field; vectors as arrays. */
export type Params = Readonly<
  Record<string, number | readonly number[] | Live>
>;

/** How one run of a kernel is spread out. */
export interface Launch {
  /**
   * Workgroups, from the parameters: a count is folded into two axes where one would end at 65535
   * (in WGSL `wg.x + wg.y * grid.x` counts them), a triple is taken as it is.
   */
  workgroups: (params: Params) => number | readonly [number, number, number];
  /** Values of `override` constants. */
  constants?: Readonly<Record<string, number>>;
  /**
   * Name of the parameter that counts the items along the first axis of the tensors in `split`;
   * where a tensor is larger than one binding, the kernel runs over pieces of them. A parameter
   * `first`, if there is one, then tells where a piece begins.
   */
  splitBy?: string;
  /** Pieces hold a multiple of this many items; defaults to 1. */
  splitMultiple?: number;
  /** Tensors (by binding name) that are cut with `splitBy`; the others are passed whole. */
  split?: readonly string[];
}

type Field = {
  name: string;
  type: "u32" | "i32" | "f32";
  lanes: number;
  offset: number;
};

const ZERO_BYTES = 16;
let empty: Storage | null = null;

/** A WGSL source and its compiled entry points. */
export class Kernel {
  readonly name: string;
  readonly #source: string;
  readonly #fields: Field[] = [];
  #paramsBytes = 0;
  readonly #bindings = new Map<
    string,
    { binding: number; writable: boolean }
  >();
  readonly #pipelines = new Map<string, Pipeline>();
  readonly #codes = new Map<string, number>();

  /**
   * @param name For messages, the file's name.
   * @param sources WGSL text; several files are joined in order (shared functions first).
   */
  constructor(name: string, ...sources: string[]) {
    this.name = name;
    const source = this.#source = sources.join("\n");
    const struct = /struct Params \{([^}]*)\}/.exec(
      source.replace(/\/\/.*$/gm, ""),
    );
    for (
      const [, field, type] of (struct?.[1] ?? "").matchAll(
        /(\w+)\s*:\s*(\w+)/g,
      )
    ) {
      const vector = /^vec([234])([uif])$/.exec(type!);
      const lanes = vector ? Number(vector[1]) : 1;
      const scalar = vector
        ? ({ u: "u32", i: "i32", f: "f32" } as const)[vector[2]!]
        : type;
      if (scalar !== "u32" && scalar !== "i32" && scalar !== "f32") {
        throw new SyntaxError(
          `Cannot read ${name}.wgsl as Params.${field} has type ${type}`,
        );
      }
      const alignment = lanes === 1 ? 4 : lanes === 2 ? 8 : 16;
      const offset = Math.ceil(this.#paramsBytes / alignment) * alignment;
      this.#fields.push({ name: field!, type: scalar, lanes, offset });
      this.#paramsBytes = offset + 4 * lanes;
    }
    this.#paramsBytes = Math.ceil(this.#paramsBytes / 16) * 16;
    const declared =
      /@group\(0\)\s*@binding\((\d+)\)\s*var<storage(?:,\s*(read|read_write))?>\s*(\w+)/g;
    for (const [, binding, access, variable] of source.matchAll(declared)) {
      this.#bindings.set(variable!, {
        binding: Number(binding),
        writable: access === "read_write",
      });
    }
    for (
      const [, code, value] of source.matchAll(/^const (\w+)\s*=\s*(\d+)u;/gm)
    ) {
      this.#codes.set(code!, Number(value));
    }
  }

  /** Value of a `const NAME = 3u;` of the WGSL file. */
  code(name: string): number {
    const value = this.#codes.get(name);
    if (value === undefined) {
      throw new RangeError(`${this.name}.wgsl has no const ${name}`);
    }
    return value;
  }

  /**
   * Runs an entry point. Only the tensors it uses are passed, by the names of their bindings; those of
   * f16 need a binding whose name ends in `halves`, an array of u32 that hold two of them each.
   *
   * @returns The tensor passed as `out`, for brevity; the first writable one if there is no `out`.
   */
  run(
    entry: string,
    params: Params,
    tensors: Readonly<Record<string, Tensor>>,
    launch: Launch,
  ): Tensor {
    requireNoHistory(Object.values(tensors));
    const names = Object.keys(tensors);
    const what = () =>
      `${this.name}.${entry}(${
        names.map((name) => `${name} ${tensors[name]}`).join(", ")
      })`;
    const bindings = names.map((name) => {
      const declared = this.#bindings.get(name);
      if (!declared) {
        throw new RangeError(`${this.name}.wgsl has no binding ${name}`);
      }
      return declared;
    });
    const result = tensors.out ??
      tensors[names[bindings.findIndex((b) => b.writable)]!];
    if (!result) throw new TypeError(`${what()} writes nothing`);
    for (const name of names) {
      if ((tensors[name]!.dtype === "f16") !== name.endsWith("halves")) {
        throw new TypeError(
          `Cannot run ${what()} as ${name} must ${
            name.endsWith("halves") ? "" : "not "
          }be f16; cast it first`,
        );
      }
    }
    const written = names.filter((_, i) => bindings[i]!.writable);
    if (written.every((name) => tensors[name]!.size === 0)) return result;
    for (const output of written) {
      for (const name of names) {
        if (
          name !== output && tensors[name]!.storage === tensors[output]!.storage
        ) {
          throw new Error(
            `Cannot run ${what()} as ${output}, which it writes, and ${name} share memory`,
          );
        }
      }
    }

    const { constants = {} } = launch;
    let key = entry;
    for (const name of names) key += `,${name}`;
    for (const name in constants) key += `;${name}=${constants[name]}`;
    let pipeline = this.#pipelines.get(key);
    if (!pipeline) {
      pipeline = executor().compile({
        label: `${this.name}.${entry}`,
        source: this.#source,
        entryPoint: entry,
        constants,
        paramsBytes: this.#paramsBytes,
        bindings,
      });
      this.#pipelines.set(key, pipeline);
    }

    const limit = executor().info.maxBindingBytes;
    if (names.every((name) => tensors[name]!.bytes <= limit)) {
      const windows = names.map((name) => whole(tensors[name]!));
      this.#dispatch(pipeline, windows, params, launch, what);
    } else this.#runPieces(pipeline, names, params, tensors, launch, what);
    return result;
  }

  /** Runs over pieces of the split tensors, each of which fits one binding. */
  #runPieces(
    pipeline: Pipeline,
    names: string[],
    params: Params,
    tensors: Readonly<Record<string, Tensor>>,
    launch: Launch,
    what: () => string,
  ): void {
    const { maxBindingBytes: limit, offsetAlignment } = executor().info;
    const { splitBy, splitMultiple = 1, split = [] } = launch;
    const count = splitBy === undefined ? 0 : Number(params[splitBy]);
    const rowBytes = (name: string) => tensors[name]!.bytes / count;
    let step = count, multiple = splitMultiple;
    for (const name of names) {
      if (!split.includes(name)) {
        if (tensors[name]!.bytes > limit) step = 0;
        continue;
      }
      // An offset must be aligned, so a piece holds a multiple of this many rows.
      while ((multiple * rowBytes(name)) % offsetAlignment !== 0) multiple *= 2;
      step = Math.min(step, Math.floor(limit / rowBytes(name)));
    }
    step -= step % multiple;
    if (step < 1) {
      const large = names.filter((name) => tensors[name]!.bytes > limit);
      throw new RangeError(
        `Cannot run ${what()} as ${
          large.join(" and ")
        } does not fit one binding: this device ` +
          `binds at most ${limit} bytes, and this operation cannot be cut along ` +
          `${splitBy ?? "any axis"} finely enough; use a smaller batch`,
      );
    }
    for (let first = 0; first < count; first += step) {
      const rows = Math.min(step, count - first);
      const windows = names.map((name) => {
        if (!split.includes(name)) return whole(tensors[name]!);
        const { buffer, offset, bytes } = tensors[name]!.storage;
        const start = first * rowBytes(name), used = rows * rowBytes(name);
        return {
          buffer,
          offset: offset + start,
          bytes: Math.min(Math.ceil(used / 16) * 16, bytes - start),
          used,
        };
      });
      const piece = {
        ...params,
        [splitBy!]: rows,
        ...("first" in params ? { first } : {}),
      };
      this.#dispatch(pipeline, windows, piece, launch, what);
    }
  }

  #dispatch(
    pipeline: Pipeline,
    windows: BufferWindow[],
    params: Params,
    launch: Launch,
    what: () => string,
  ): void {
    const wanted = launch.workgroups(params);
    const { maxWorkgroups } = executor().info;
    const groups: readonly [number, number, number] = typeof wanted === "number"
      ? [Math.min(wanted, maxWorkgroups), Math.ceil(wanted / maxWorkgroups), 1]
      : wanted;
    if (groups.some((length) => length > maxWorkgroups)) {
      throw new RangeError(
        `Cannot run ${what()} over ${
          groups.join(" x ")
        } workgroups: this device allows ` +
          `${maxWorkgroups} along one axis`,
      );
    }
    if (groups.includes(0)) return;
    const live: LiveParam[] = [];
    const bytes = this.#pack(params, live, what);
    executor().dispatch({
      pipeline,
      windows,
      params: bytes,
      live,
      groups,
      what,
    });
  }

  #pack(
    params: Params,
    live: LiveParam[],
    what: () => string,
  ): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.#paramsBytes);
    const view = new DataView(bytes.buffer);
    for (const { name, type, lanes, offset } of this.#fields) {
      const value = params[name];
      if (value === undefined) {
        throw new TypeError(`${what()} lacks the parameter ${name}`);
      }
      if (value instanceof Live) {
        live.push({ offset, bits: () => bitsOf(value.value(), type) });
        continue;
      }
      for (let lane = 0; lane < lanes; lane++) {
        const number = typeof value === "number" ? value : value[lane] ?? 0;
        view.setUint32(offset + 4 * lane, bitsOf(number, type), true);
      }
    }
    return bytes;
  }
}

const word = new DataView(new ArrayBuffer(4));

/** A number as its 32 bits. @internal */
export function bitsOf(value: number, type: Field["type"]): number {
  if (type === "f32") word.setFloat32(0, value);
  else if (type === "i32") word.setInt32(0, value);
  else word.setUint32(0, value);
  return word.getUint32(0);
}

function whole(tensor: Tensor): BufferWindow {
  if (tensor.size > 0) {
    const { buffer, offset, bytes } = tensor.storage;
    return { buffer, offset, bytes, used: tensor.bytes };
  }
  // A binding cannot be empty: kernels that read nothing get a small stand-in.
  empty ??= outsideCapture(() =>
    Storage.allocate(ZERO_BYTES, () => "an empty tensor")
  );
  return { buffer: empty.buffer, offset: 0, bytes: ZERO_BYTES, used: 0 };
}

/** Workgroups of `size` invocations that cover `count`; for `Launch.workgroups`. */
export function ceilDiv(count: number, size: number): number {
  return Math.ceil(count / size);
}

/** A new tensor for a kernel's output; content arbitrary. */
export function empties(
  shape: readonly number[],
  dtype: Tensor["dtype"] = "f32",
): Tensor {
  return new Tensor(shape, dtype);
}

/** A new tensor like another, for a kernel's output; content arbitrary. */
export function like(tensor: Tensor): Tensor {
  return new Tensor(tensor.shape, tensor.dtype);
}

/**
 * Throws the TypeError of an operation whose argument has the wrong shape: `what` must hold, the
 * named tensors are shown.
 */
export function requireThat(
  condition: boolean,
  operation: string,
  requirement: string,
  found: Readonly<Record<string, Tensor | readonly number[] | string | number>>,
): asserts condition {
  if (condition) return;
  const parts = Object.entries(found).map(([name, value]) =>
    `${name} is ${
      value instanceof Tensor
        ? (value.dtype === "f32" ? show(value) : String(value))
        : Array.isArray(value)
        ? show(value)
        : value
    }`
  );
  throw new TypeError(
    `Cannot apply ${operation} as ${requirement}: ${parts.join(", ")}`,
  );
}
