/**
 * Safetensors files: a length, a JSON header, then the elements.
 * https://github.com/huggingface/safetensors#format
 *
 * @module
 */
import {
  type DType,
  show,
  sizeOf,
  type StoredType,
  type Tensor,
  type TypedArray,
} from "./tensor.ts";

/** An array on the host with its shape. */
export interface HostTensor {
  /** Element type; f16 is written, but read as f32. */
  dtype: StoredType;
  /** Lengths of the axes; `[]` is a scalar. */
  shape: readonly number[];
  /** Elements, row-major. */
  data: TypedArray;
}

/** What a file holds. */
export interface Safetensors {
  /** Arrays by name. */
  tensors: Record<string, HostTensor>;
  /** Text by key. */
  metadata: Record<string, string>;
}

/** Largest header, as the reference implementation has it. */
const MAX_HEADER_BYTES = 100_000_000;
const LENGTH_BYTES = 8;

const FILE_TYPES = { f32: "F32", f16: "F16", i32: "I32", u32: "U32" } as const;
const ARRAYS = {
  f32: Float32Array,
  i32: Int32Array,
  u32: Uint32Array,
  f16: Float16Array,
} as const;

/** How an element of a file type is read, and what it becomes. */
interface FileType {
  bytes: number;
  dtype: DType;
  /** Missing where the file's bytes are the array's. */
  get?: (view: DataView, at: number) => number | bigint;
}

const READERS: Readonly<Record<string, FileType>> = {
  F32: { bytes: 4, dtype: "f32" },
  I32: { bytes: 4, dtype: "i32" },
  U32: { bytes: 4, dtype: "u32" },
  F16: { bytes: 2, dtype: "f32", get: (view, at) => view.getFloat16(at, true) },
  BF16: { bytes: 2, dtype: "f32", get: getBfloat16 },
  F64: { bytes: 8, dtype: "f32", get: (view, at) => view.getFloat64(at, true) },
  I8: { bytes: 1, dtype: "i32", get: (view, at) => view.getInt8(at) },
  U8: { bytes: 1, dtype: "i32", get: (view, at) => view.getUint8(at) },
  I16: { bytes: 2, dtype: "i32", get: (view, at) => view.getInt16(at, true) },
  U16: { bytes: 2, dtype: "i32", get: (view, at) => view.getUint16(at, true) },
  I64: {
    bytes: 8,
    dtype: "i32",
    get: (view, at) => view.getBigInt64(at, true),
  },
  U64: {
    bytes: 8,
    dtype: "u32",
    get: (view, at) => view.getBigUint64(at, true),
  },
  BOOL: { bytes: 1, dtype: "i32", get: (view, at) => view.getUint8(at) },
};

function getBfloat16(view: DataView, at: number): number {
  const word = new DataView(new ArrayBuffer(4));
  word.setUint16(2, view.getUint16(at, true), true);
  return word.getFloat32(0, true);
}

/**
 * The bytes of a safetensors file. Equal entries give equal bytes: names are sorted.
 *
 * @param entries Tensors, which are read back, and host arrays, by name.
 * @param metadata Text by key.
 * @throws {TypeError} If a name is reserved, or an array does not fit its shape or type.
 */
export async function saveSafetensors(
  entries: Readonly<Record<string, Tensor | HostTensor>>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const names = Object.keys(entries).sort();
  const header: [string, unknown][] = [];
  const texts = Object.entries(metadata).sort(([a], [b]) => a < b ? -1 : 1);
  if (texts.length > 0) {
    header.push(["__metadata__", Object.fromEntries(texts)]);
  }
  let end = 0;
  for (const name of names) {
    const { dtype, shape } = entries[name]!;
    checkEntry(name, entries[name]!);
    const begin = end;
    end += sizeOf(shape) * ARRAYS[dtype].BYTES_PER_ELEMENT;
    header.push([name, {
      dtype: FILE_TYPES[dtype],
      shape,
      data_offsets: [begin, end],
    }]);
  }
  const arrays = await Promise.all(names.map((name) => {
    const entry = entries[name]!;
    return typeof entry.data === "function" ? entry.data() : entry.data;
  }));
  const members = header.map(([name, value]) =>
    `${JSON.stringify(name)}:${JSON.stringify(value)}`
  );
  const text = new TextEncoder().encode(`{${members.join(",")}}`);
  const headerBytes = Math.ceil(text.length / 8) * 8;
  const bytes = new Uint8Array(LENGTH_BYTES + headerBytes + end);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerBytes), true);
  bytes.fill(0x20, LENGTH_BYTES, LENGTH_BYTES + headerBytes);
  bytes.set(text, LENGTH_BYTES);
  let at = LENGTH_BYTES + headerBytes;
  for (const { buffer, byteOffset, byteLength } of arrays) {
    bytes.set(new Uint8Array(buffer, byteOffset, byteLength), at);
    at += byteLength;
  }
  return bytes;
}

function checkEntry(name: string, entry: Tensor | HostTensor): void {
  if (name === "__metadata__" || name === "__proto__") {
    throw new TypeError(`Cannot save safetensors as the name ${name} is taken`);
  }
  if (typeof entry.data === "function") return;
  const { dtype, shape, data } = entry;
  if (!(data instanceof ARRAYS[dtype]) || data.length !== sizeOf(shape)) {
    throw new TypeError(
      `Cannot save safetensors as data must fit type and shape: ${name} is ${dtype}${
        show(shape)
      }, its data a ${data.constructor.name} of ${data.length}`,
    );
  }
}

function fail(problem: string): never {
  throw new SyntaxError(`Cannot parse safetensors as ${problem}`);
}

/**
 * Reads the bytes of a safetensors file, trusting nothing in them. F32, I32 and U32 stay what they
 * are, as views of `bytes` where they are aligned. F16 and BF16 become f32 exactly and F64 rounded;
 * BOOL, I8, U8, I16 and U16 become i32; I64 becomes i32 and U64 u32 if all elements fit.
 *
 * @throws {SyntaxError} Saying what is wrong and with which entry.
 */
export function parseSafetensors(bytes: Uint8Array<ArrayBuffer>): Safetensors {
  if (bytes.length < LENGTH_BYTES) {
    fail(`the file must begin with 8 bytes of length: it has ${bytes.length}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES || length > bytes.length - LENGTH_BYTES) {
    fail(
      `the header must end within the file: it claims ${length} bytes, ${
        bytes.length - LENGTH_BYTES
      } follow`,
    );
  }
  const start = LENGTH_BYTES + Number(length);
  const header = parseHeader(bytes.subarray(LENGTH_BYTES, start));
  const { __metadata__: metadata = {}, ...entries } = header;
  if (
    !isRecord(metadata) ||
    Object.values(metadata).some((text) => typeof text !== "string")
  ) {
    fail("__metadata__ must be an object of strings");
  }
  const layouts = Object.entries(entries)
    .map(([name, entry]) => layoutOf(name, entry, bytes.length - start))
    .sort((a, b) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  for (const { name, begin, end } of layouts) {
    if (begin !== covered) {
      fail(
        `${name} must begin where the one before ends, at ${covered}: its data_offsets are [${begin}, ${end}]`,
      );
    }
    covered = end;
  }
  if (covered !== bytes.length - start) {
    fail(
      `entries must cover all data: they end at ${covered} of ${
        bytes.length - start
      } bytes`,
    );
  }
  const byName = new Map(layouts.map((layout) => [layout.name, layout]));
  return {
    tensors: Object.fromEntries(
      Object.keys(entries).map((name) => {
        const layout = byName.get(name)!;
        const window = bytes.subarray(
          start + layout.begin,
          start + layout.end,
        );
        const { dtype } = layout.type;
        const data = elements(layout, window);
        return [name, { dtype, shape: layout.shape, data }];
      }),
    ),
    metadata: metadata as Record<string, string>,
  };
}

interface Layout {
  name: string;
  fileType: string;
  type: FileType;
  shape: readonly number[];
  begin: number;
  end: number;
}

function parseHeader(bytes: Uint8Array): Record<string, unknown> {
  let text: string, header: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
      .decode(bytes);
    header = JSON.parse(text);
  } catch (error) {
    fail(`the header must be JSON: ${(error as Error).message}`);
  }
  if (!text.startsWith("{") || !isRecord(header)) {
    fail("the header must be a JSON object from its first byte on");
  }
  refuseRepeatedKeys(text);
  return header;
}

/** `JSON.parse` keeps the last of equal keys in silence; `text` is known to be valid JSON. */
function refuseRepeatedKeys(text: string): void {
  const open: Set<string>[] = [];
  const colon = /\s*:/y;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === "{") open.push(new Set());
    else if (text[at] === "}") open.pop();
    else if (text[at] === '"') {
      const from = at++;
      for (; text[at] !== '"'; at++) if (text[at] === "\\") at++;
      colon.lastIndex = at + 1;
      if (!colon.test(text)) continue; // not a key
      const key = JSON.parse(text.slice(from, at + 1)) as string;
      if (key === "__proto__") fail("the name __proto__ is not allowed");
      if (open.at(-1)!.has(key)) fail(`the name ${key} appears twice`);
      open.at(-1)!.add(key);
    }
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isNatural(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function layoutOf(name: string, entry: unknown, dataBytes: number): Layout {
  if (!isRecord(entry)) fail(`${name} must be an object`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || !Object.hasOwn(READERS, dtype)) {
    fail(
      `the dtype of ${name} must be one of ${
        Object.keys(READERS).join(", ")
      }: it is ${JSON.stringify(dtype)}`,
    );
  }
  if (!Array.isArray(shape) || !shape.every(isNatural)) {
    fail(
      `the shape of ${name} must be whole numbers, not negative: it is ${
        JSON.stringify(shape)
      }`,
    );
  }
  if (
    !Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isNatural)
  ) {
    fail(
      `the data_offsets of ${name} must be two whole numbers, not negative: they are ${
        JSON.stringify(offsets)
      }`,
    );
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end || end > dataBytes) {
    fail(
      `the data_offsets of ${name} must lie in the data of ${dataBytes} bytes: they are [${begin}, ${end}]`,
    );
  }
  const type = READERS[dtype]!;
  // A product too large for a double to hold exactly is too large for the file as well.
  const wanted = sizeOf(shape) * type.bytes;
  if (wanted !== end - begin) {
    fail(
      `${name} must take ${wanted} bytes, being ${dtype} ${
        show(shape)
      }: its data_offsets are [${begin}, ${end}]`,
    );
  }
  return { name, fileType: dtype, type, shape, begin, end };
}

function elements(
  { name, fileType, type }: Layout,
  window: Uint8Array<ArrayBuffer>,
): TypedArray {
  const { bytes, dtype, get } = type;
  if (!get) {
    const aligned = window.byteOffset % bytes === 0 ? window : window.slice();
    return new ARRAYS[dtype](
      aligned.buffer,
      aligned.byteOffset,
      aligned.length / bytes,
    );
  }
  const view = new DataView(
    window.buffer,
    window.byteOffset,
    window.byteLength,
  );
  const data = new ARRAYS[dtype](window.length / bytes);
  for (let i = 0; i < data.length; i++) {
    const value = Number(get(view, i * bytes));
    data[i] = value;
    const kept = dtype === "f32"
      ? Number.isFinite(data[i]) || !Number.isFinite(value)
      : data[i] === value && !(fileType === "BOOL" && value > 1);
    if (!kept) {
      fail(
        `element ${i} of ${name} must fit ${dtype}: it is ${value} (${fileType})`,
      );
    }
  }
  return data;
}

/**
 * Reads a safetensors file, as `parseSafetensors` does.
 *
 * @param source A path, a `file:` URL, or the bytes themselves.
 * @throws {SyntaxError} Naming the file and what is wrong with it.
 */
export async function loadSafetensors(
  source: string | URL | Uint8Array<ArrayBuffer>,
): Promise<Safetensors> {
  if (source instanceof Uint8Array) return parseSafetensors(source);
  const bytes = await Deno.readFile(source);
  try {
    return parseSafetensors(bytes);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new SyntaxError(`${source}: ${error.message}`, { cause: error });
  }
}
