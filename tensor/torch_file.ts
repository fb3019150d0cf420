/**
 * PyTorch checkpoints, read without PyTorch and without running what is in them. `torch.save` writes
 * a zip archive (since 1.6) or a row of pickles followed by the elements (before).
 * https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
 *
 * @module
 */
import { type PickleFunction, PickleTuple, readPickle } from "./pickle.ts";
import type { HostTensor } from "./safetensors.ts";
import { stridesOf } from "./shape.ts";
import { type DType, show, sizeOf, type TypedArray } from "./tensor.ts";
import { zipEntries } from "./zip.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What of a checkpoint is wanted. */
export interface TorchFileOptions {
  /** Only what is under this name, such as `ema` or `state_dict`, which names then do without. */
  key?: string;
  /** Is told each entry that is no tensor, and what it is (`number`, `null`); they are left out. */
  onIgnored?: (name: string, kind: string) => void;
}

/** How an element of a storage is read, and what it becomes. */
class StorageType {
  constructor(
    readonly name: string,
    readonly bytes: number,
    readonly dtype: DType,
    readonly get: (view: DataView, at: number) => number | bigint,
  ) {}
}

const STORAGE_TYPES = [
  new StorageType("Float", 4, "f32", (view, at) => view.getFloat32(at, true)),
  new StorageType("Int", 4, "i32", (view, at) => view.getInt32(at, true)),
  new StorageType("Half", 2, "f32", (view, at) => view.getFloat16(at, true)),
  new StorageType("BFloat16", 2, "f32", getBfloat16),
  new StorageType("Double", 8, "f32", (view, at) => view.getFloat64(at, true)),
  new StorageType("Long", 8, "i32", (view, at) => view.getBigInt64(at, true)),
  new StorageType("Short", 2, "i32", (view, at) => view.getInt16(at, true)),
  new StorageType("Char", 1, "i32", (view, at) => view.getInt8(at)),
  new StorageType("Byte", 1, "i32", (view, at) => view.getUint8(at)),
  new StorageType("Bool", 1, "i32", (view, at) => view.getUint8(at)),
];
const ARRAYS = { f32: Float32Array, i32: Int32Array, u32: Uint32Array };
const word = new DataView(new ArrayBuffer(4));

function getBfloat16(view: DataView, at: number): number {
  word.setUint16(2, view.getUint16(at, true), true);
  return word.getFloat32(0, true);
}

/** Elements that tensors share; `first` is where a view of the storage begins. */
class Storage {
  constructor(
    readonly type: StorageType,
    readonly key: string,
    readonly length: number,
    readonly first: number,
    readonly viewLength: number,
  ) {}
}

/** A tensor as the pickle describes it. */
class StoredTensor {
  constructor(
    readonly storage: Storage,
    readonly offset: number,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
  ) {}
}

/** `0x1950a86a20f9469cfc6c` and `1001` begin a file of the form before 1.6. */
const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn;
const LEGACY_PROTOCOL = 1001;

const MAX_RANK = 64; // PyTorch's own limit
const MAX_DEPTH = 64; // of dictionaries in dictionaries; a circle has no depth at all
const MAX_NAMES = 1 << 24; // characters in all names: shared dictionaries could multiply without end
// Shared and expanded storages may ask for more elements than the file has; this many are honest.
const MAX_ELEMENTS_PER_BYTE = 8;
const SPARE_ELEMENTS = 1 << 20;

function fail(problem: string): never {
  throw new SyntaxError(`Cannot parse PyTorch file as ${problem}`);
}

function isNatural(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function naturals(value: unknown, what: string): readonly number[] {
  const items = value instanceof PickleTuple ? value.items : value;
  if (
    !Array.isArray(items) || items.length > MAX_RANK || !items.every(isNatural)
  ) {
    fail(
      `${what} must be at most ${MAX_RANK} whole numbers, not negative`,
    );
  }
  return items;
}

const orderedDict: PickleFunction = (pairs = []) => {
  if (!Array.isArray(pairs)) fail("an OrderedDict must be made of a list");
  // Takes the pairs out, as a list is the call's own: one that calls share would multiply the work.
  return new Map(
    pairs.splice(0).map((pair: unknown) => {
      const items = pair instanceof PickleTuple ? pair.items : pair;
      if (!Array.isArray(items) || items.length !== 2) {
        fail("an OrderedDict must be made of pairs");
      }
      return [items[0], items[1]];
    }),
  );
};

const rebuildTensor: PickleFunction = (storage, offset, size, stride) => {
  if (!(storage instanceof Storage)) fail("a tensor must have a storage");
  const shape = naturals(size, "a shape");
  const strides = naturals(stride, "strides");
  if (!isNatural(offset) || shape.length !== strides.length) {
    fail(
      `a tensor must have an offset and a stride for each axis: it is ${
        show(shape)
      }, its strides ${show(strides)}`,
    );
  }
  const last = shape.reduce((sum, n, i) => sum + (n - 1) * strides[i]!, offset);
  if (!shape.includes(0) && last >= storage.viewLength) {
    fail(
      `a tensor must lie in its storage of ${storage.viewLength} elements: it is ${
        show(shape)
      }, its last element ${last}`,
    );
  }
  return new StoredTensor(storage, offset, shape, strides);
};

const rebuildParameter: PickleFunction = (data) => {
  if (!(data instanceof StoredTensor)) fail("a parameter must be a tensor");
  return data;
};

/** The Python that a state dict needs. */
const GLOBALS: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ["collections.OrderedDict", orderedDict],
  ["torch._utils._rebuild_tensor_v2", rebuildTensor],
  ["torch._utils._rebuild_parameter", rebuildParameter],
  ["torch.Size", (items: unknown) => items],
  ["torch.device", (kind: unknown) => kind],
  ...STORAGE_TYPES.map((type) =>
    [`torch.${type.name}Storage`, type] as [string, unknown]
  ),
]);

/** `("storage", type, key, device, length)`, and in old files `(viewKey, first, viewLength)`. */
function storageOf(id: unknown): Storage {
  const [kind, type, key, _device, length, part] = id instanceof PickleTuple
    ? id.items
    : [];
  if (
    kind !== "storage" || !(type instanceof StorageType) ||
    typeof key !== "string" || !isNatural(length)
  ) {
    fail("a persistent id must be a storage's kind, type, key and length");
  }
  const [, first, count] = part instanceof PickleTuple
    ? part.items
    : [null, 0, length];
  if (!isNatural(first) || !isNatural(count) || first + count > length) {
    fail(`a view of the storage ${key} must lie in its ${length} elements`);
  }
  return new Storage(type, key, length, first, count);
}

/** The object of a file, and how to get a storage's bytes. */
interface Contents {
  root: unknown;
  find: (storage: Storage) => Bytes;
}

/**
 * Reads the bytes of a file that `torch.save` wrote, trusting nothing in them and running nothing of
 * them. Dictionaries and lists in one another become one, names joined by dots; a tensor alone has
 * the name "". Views become row-major arrays of their own elements, and share `bytes` or each other's
 * memory where that is all the same. Float and Int stay what they are; Half and BFloat16 become f32
 * exactly and Double rounded; Bool, Byte, Char and Short become i32, and Long if all elements fit.
 *
 * @throws {SyntaxError} Saying what is wrong; by name, if the file asks for any other Python than
 * state dicts do: save `model.state_dict()` then, not the model.
 * @throws {RangeError} If nothing is under `key`.
 */
export function parseTorchFile(
  bytes: Uint8Array<ArrayBuffer>,
  options: TorchFileOptions = {},
): Record<string, HostTensor> {
  const { root, find } = bytes[0] === 0x50 ? readZip(bytes) : readLegacy(bytes);
  const { key, onIgnored } = options;
  const tensors: Record<string, HostTensor> = {};
  let found = key === undefined;
  let spare = bytes.length * MAX_ELEMENTS_PER_BYTE + SPARE_ELEMENTS;
  for (const [path, value] of flatten(root)) {
    if (key !== undefined && !path.startsWith(`${key}.`)) continue;
    found = true;
    const name = key === undefined ? path : path.slice(key.length + 1);
    if (!(value instanceof StoredTensor)) {
      onIgnored?.(name, value === null ? "null" : typeof value);
      continue;
    }
    if (name === "__proto__") fail("the name __proto__ is not allowed");
    if (Object.hasOwn(tensors, name)) fail(`the name ${name} appears twice`);
    spare -= value.shape.includes(0) ? 0 : sizeOf(value.shape);
    if (!(spare >= 0)) {
      fail(
        `${name} ${
          show(value.shape)
        } must not have more elements than a file of ${bytes.length} bytes can hold`,
      );
    }
    tensors[name] = hostTensor(name, value, find(value.storage));
  }
  if (!found) {
    const names = root instanceof Map ? [...root.keys()].map(String) : [];
    throw new RangeError(
      `Cannot parse PyTorch file as nothing is under the key ${key}: the file has ${
        names.slice(0, 20).join(", ") || "no names"
      }`,
    );
  }
  return tensors;
}

/** What is in dictionaries and lists, by dotted name. */
function flatten(root: unknown): [name: string, value: unknown][] {
  const leaves: [string, unknown][] = [];
  let characters = 0;
  function visit(name: string, value: unknown, depth: number): void {
    characters += name.length + 1;
    if (depth > MAX_DEPTH || characters > MAX_NAMES) {
      fail(`dictionaries must not nest without end: ${name.slice(0, 100)}`);
    }
    const items = value instanceof PickleTuple ? value.items : value;
    if (!(items instanceof Map) && !Array.isArray(items)) {
      leaves.push([name, value]);
      return;
    }
    for (const [key, item] of items.entries()) {
      if (typeof key !== "string" && typeof key !== "number") {
        fail(`a key of ${name || "the dictionary"} must be text or a number`);
      }
      visit(depth === 0 ? String(key) : `${name}.${key}`, item, depth + 1);
    }
  }
  visit("", root, 0);
  return leaves;
}

function hostTensor(
  name: string,
  { storage: { type, first }, offset, shape, strides }: StoredTensor,
  bytes: Bytes,
): HostTensor {
  const { dtype } = type;
  const from = (first + offset) * type.bytes;
  const size = shape.includes(0) ? 0 : sizeOf(shape);
  const rowMajor = stridesOf(shape);
  const dense = shape.every((n, i) => n === 1 || strides[i] === rowMajor[i]);
  if (size === 0) return { dtype, shape, data: new ARRAYS[dtype](0) };
  const asIs = type.name === "Float" || type.name === "Int";
  if (asIs && dense && (bytes.byteOffset + from) % 4 === 0) {
    const data = new ARRAYS[dtype](bytes.buffer, bytes.byteOffset + from, size);
    return { dtype, shape, data };
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const data: TypedArray = new ARRAYS[dtype](size);
  const index = shape.map(() => 0);
  let at = from;
  for (let i = 0; i < size; i++) {
    const value = Number(type.get(view, at));
    data[i] = value;
    const kept = dtype === "f32"
      ? Number.isFinite(data[i]) || !Number.isFinite(value)
      : data[i] === value && !(type.name === "Bool" && value > 1);
    if (!kept) {
      fail(
        `element ${i} of ${name} must fit ${dtype}: it is ${value} (${type.name})`,
      );
    }
    // To the next element: the last axis moves on; a full one goes back and moves the one before.
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += strides[axis]! * type.bytes;
      if (++index[axis]! < shape[axis]!) break;
      at -= shape[axis]! * strides[axis]! * type.bytes;
      index[axis] = 0;
    }
  }
  return { dtype, shape, data };
}

/** The form since 1.6: `name/data.pkl`, and each storage as `name/data/key`, not compressed. */
function readZip(bytes: Bytes): Contents {
  const files = new Map<string, Bytes>();
  // Checksums are not looked at, as PyTorch can be told to leave them out.
  for (const [name, { stored, compression }] of zipEntries(bytes, fail)) {
    if (compression !== 0) fail(`${name} must be stored, not compressed`);
    files.set(name, stored);
  }
  const pickles = [...files.keys()].filter((name) =>
    /^[^/]+\/data\.pkl$/.test(name)
  );
  if (pickles.length !== 1) {
    fail(`the archive must have one data.pkl: it has ${pickles.length}`);
  }
  const folder = pickles[0]!.slice(0, -"data.pkl".length);
  const order = files.get(`${folder}byteorder`);
  if (order && new TextDecoder().decode(order) !== "little") {
    fail("the byte order must be little");
  }
  const pickle = files.get(pickles[0]!)!;
  const { value, end } = readPickle(pickle, 0, {
    globals: GLOBALS,
    persistent: storageOf,
  });
  if (end !== pickle.length) {
    fail(`data.pkl must end with its pickle, at ${end}: it has more`);
  }
  return {
    root: value,
    find({ key, type, length }) {
      const data = files.get(`${folder}data/${key}`);
      if (data?.length !== length * type.bytes) {
        fail(
          `the storage ${key} must have ${length * type.bytes} bytes: ${
            data ? `it has ${data.length}` : "it is not in the archive"
          }`,
        );
      }
      return data;
    },
  };
}

/** The form before 1.6: magic number, protocol, system, object, storage keys, then the storages. */
function readLegacy(bytes: Bytes): Contents {
  if (bytes[0] !== 0x80) {
    fail("it must begin as a zip archive or as a pickle");
  }
  let at = 0;
  const storages = new Map<string, Storage>();
  function next(persistent?: (id: unknown) => unknown): unknown {
    const { value, end } = readPickle(bytes, at, {
      globals: GLOBALS,
      persistent,
    });
    at = end;
    return value;
  }
  if (next() !== LEGACY_MAGIC) {
    fail("a pickle must begin with PyTorch's number: it is another pickle");
  }
  const protocol = next();
  if (protocol !== LEGACY_PROTOCOL) {
    fail(`its protocol must be ${LEGACY_PROTOCOL}: it is ${String(protocol)}`);
  }
  const system = next();
  if (!(system instanceof Map) || system.get("little_endian") !== true) {
    fail("the byte order must be little");
  }
  const root = next((id) => {
    const storage = storageOf(id);
    const known = storages.get(storage.key) ?? storage;
    if (known.type !== storage.type || known.length !== storage.length) {
      fail(`the storage ${storage.key} must always be the same`);
    }
    storages.set(storage.key, storage);
    return storage;
  });
  const keys = next();
  if (!Array.isArray(keys)) fail("the keys of the storages must be a list");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const data = new Map<string, Bytes>();
  for (const key of keys) {
    const storage = storages.get(key);
    if (!storage || data.has(key)) {
      fail(`each key must be that of one storage: ${String(key)}`);
    }
    const sizeBytes = storage.length * storage.type.bytes;
    if (sizeBytes + 8 > bytes.length - at) {
      fail(
        `the storage ${key} must lie in the file: it takes ${sizeBytes} bytes and 8 of length, ${
          bytes.length - at
        } follow`,
      );
    }
    if (view.getBigInt64(at, true) !== BigInt(storage.length)) {
      fail(`the storage ${key} must have ${storage.length} elements`);
    }
    at += 8;
    data.set(key, bytes.subarray(at, at + sizeBytes));
    at += sizeBytes;
  }
  if (at !== bytes.length) {
    fail(`the file must end with its last storage, at ${at}: it has more`);
  }
  return {
    root,
    find: ({ key }) => data.get(key) ?? fail(`the storage ${key} is missing`),
  };
}

/**
 * Reads a file that `torch.save` wrote, as `parseTorchFile` does.
 *
 * @param source A path, a `file:` URL, or the bytes themselves.
 * @throws {SyntaxError} Naming the file and what is wrong with it.
 * @throws {RangeError} If nothing is under `key`.
 */
export async function loadTorchFile(
  source: string | URL | Uint8Array<ArrayBuffer>,
  options: TorchFileOptions = {},
): Promise<Record<string, HostTensor>> {
  if (source instanceof Uint8Array) return parseTorchFile(source, options);
  const bytes = await Deno.readFile(source);
  try {
    return parseTorchFile(bytes, options);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new SyntaxError(`${source}: ${error.message}`, { cause: error });
  }
}
