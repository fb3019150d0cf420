/**
 * The tensor: an immutable array on the device.
 *
 * @module
 */
import { context, requireNoHistory } from "./context.ts";
import { executor } from "./device.ts";
import { Storage } from "./memory.ts";
import type { GradNode } from "./autograd.ts";

/** Element types that ops compute with: 32-bit float, signed and unsigned integer. */
export type DType = "f32" | "i32" | "u32";
/** Element types of tensors: also 16-bit float, which only stores, and which `cast` converts. */
export type StoredType = DType | "f16";
/** Host arrays that hold a tensor's elements. */
export type TypedArray =
  | Float32Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Float16Array<ArrayBuffer>;
/** Numbers nested to any depth, all rows of one level of equal length. */
export type NestedArray = number | readonly NestedArray[];

const ARRAYS = {
  f32: Float32Array,
  i32: Int32Array,
  u32: Uint32Array,
  f16: Float16Array,
} as const;
/** Frees the memory of tensors that no scope owned and nobody disposed. */
const registry = new FinalizationRegistry<Storage>((storage) =>
  storage.release()
);

/** Number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}

/** A shape as errors show it: `[2, 3]`. */
export function show(shape: readonly number[] | Tensor): string {
  return `[${(shape instanceof Tensor ? shape.shape : shape).join(", ")}]`;
}

/** An immutable array on the device, row-major; parameters alone change, by their optimizer. */
export class Tensor {
  /** Lengths of the axes; `[]` is a scalar. */
  readonly shape: readonly number[];
  /** Element type. */
  readonly dtype: StoredType;
  /** Number of elements. */
  readonly size: number;
  /** Whether gradients of this tensor are wanted (set by `parameter` and `requireGrad`). */
  requiresGrad = false;
  /** What `backward()` has summed up for this tensor, or null. */
  grad: Tensor | null = null;
  /**
   * How it was computed, if gradients flow through it.
   *
   * @ignore
   */
  node: GradNode | null = null;
  /** Its scope. @internal */
  owner: Set<Tensor> | null = null;
  #storage: Storage | null;

  /** Use `tensor`, `zeros`, … instead. @internal */
  constructor(
    shape: readonly number[],
    dtype: StoredType,
    storage?: Storage,
  ) {
    for (const length of shape) {
      if (!Number.isInteger(length) || length < 0) {
        throw new RangeError(
          `Cannot make a tensor as lengths must be whole and not negative: shape is ${
            show(shape)
          }`,
        );
      }
    }
    this.shape = shape;
    this.dtype = dtype;
    this.size = sizeOf(shape);
    this.#storage = storage?.retain() ??
      Storage.allocate(this.bytes, () => `${dtype}${show(shape)}`);
    this.adopt(context().owned);
  }

  /** Number of axes. */
  get rank(): number {
    return this.shape.length;
  }

  /** Length of the elements in bytes. */
  get bytes(): number {
    return this.size * ARRAYS[this.dtype].BYTES_PER_ELEMENT;
  }

  /**
   * Memory, shared with views.
   *
   * @ignore
   */
  get storage(): Storage {
    if (!this.#storage) {
      throw new ReferenceError(
        `Cannot use a tensor that is freed: ${this.dtype}${
          show(this)
        } was disposed, or its scope ` +
          `has ended; return it from the scope, or keep() it`,
      );
    }
    return this.#storage;
  }

  /** True once its memory is given back. */
  get isDisposed(): boolean {
    return this.#storage === null;
  }

  /** Hands it to a scope, or to the garbage collector. @internal */
  adopt(owner: Set<Tensor> | null): void {
    if (this.#storage === null) return;
    registry.unregister(this);
    this.owner = owner;
    if (owner) owner.add(this);
    else registry.register(this, this.#storage, this);
  }

  /** Gives the memory back now; views of it live on. A second call does nothing. */
  dispose(): void {
    if (!this.#storage) return;
    this.owner?.delete(this);
    this.owner = null;
    registry.unregister(this);
    this.#storage.release();
    this.#storage = null;
    this.node = null;
  }

  /** `using t = …` frees it at the end of the block. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Trades memory with another tensor of the same shape and type, without a copy. @internal */
  swap(other: Tensor): void {
    [this.#storage, other.#storage] = [other.storage, this.storage];
    this.adopt(this.owner);
    other.adopt(other.owner);
  }

  /**
   * Takes other memory, whose content it takes on.
   *
   * @ignore
   */
  move(storage: Storage): void {
    this.storage.release();
    this.#storage = storage;
    this.adopt(this.owner);
  }

  /** The same elements under another shape of equal size, without history. @internal */
  view(shape: readonly number[], dtype: StoredType = this.dtype): Tensor {
    requireNoHistory([this]);
    return new Tensor(shape, dtype, this.storage);
  }

  /** The same values, without history: no gradient flows through the result. */
  detach(): Tensor {
    return new Tensor(this.shape, this.dtype, this.storage);
  }

  /** Asks for gradients of this tensor, which must not be a computed one. Returns it. */
  requireGrad(): this {
    if (this.node) {
      throw new TypeError(
        "Cannot require a gradient of a computed tensor: detach it",
      );
    }
    if (this.dtype !== "f32") {
      throw new TypeError(
        `Cannot require a gradient as elements must be f32: ${this.dtype}`,
      );
    }
    this.requiresGrad = true;
    return this;
  }

  /** Copies the elements to the host, row-major, after all work on them; f16 as a Float16Array. */
  async data(): Promise<TypedArray> {
    if (this.size === 0) return new ARRAYS[this.dtype](0);
    const { buffer, offset } = this.storage;
    const bytes = await executor().read(buffer, this.bytes, offset);
    return new ARRAYS[this.dtype](bytes);
  }

  /**
   * The only element, on the host.
   *
   * @throws {TypeError} If there is not exactly one.
   */
  async item(): Promise<number> {
    if (this.size !== 1) {
      throw new TypeError(
        `Cannot take the item as there must be one: shape is ${show(this)}`,
      );
    }
    return (await this.data())[0]!;
  }

  /** The elements on the host, nested as the shape is. */
  async toArray(): Promise<NestedArray> {
    const data = await this.data();
    let at = 0;
    const nest = (axis: number): NestedArray =>
      axis === this.rank
        ? data[at++]!
        : Array.from({ length: this.shape[axis]! }, () => nest(axis + 1));
    return nest(0);
  }

  /** `f32[2, 3]`. */
  toString(): string {
    return `${this.dtype}${show(this)}`;
  }

  /** What `console.log` shows. @internal */
  [Symbol.for("Deno.customInspect")](): string {
    return `Tensor ${this}${this.isDisposed ? " (freed)" : ""}`;
  }
}

/** Overwrites the elements of a tensor in place: for parameters and their state only. @internal */
export function overwrite(target: Tensor, data: TypedArray): void {
  if (data.length !== target.size) {
    throw new TypeError(`Cannot write ${data.length} elements into ${target}`);
  }
  if (target.size === 0) return;
  const { buffer, offset } = target.storage;
  executor().write(buffer, data, offset);
}

/**
 * Copies numbers to the device.
 *
 * @param values A number, nested arrays, or a typed array (row-major, with `shape`).
 * @param shape Needed for a typed array of more than one axis; else taken from the nesting.
 * @param dtype Defaults to the typed array's own, else `f32`.
 * @throws {TypeError} If rows differ in length, or `shape` does not hold the elements.
 */
export function tensor(
  values: NestedArray | TypedArray,
  shape?: readonly number[],
  dtype?: StoredType,
): Tensor {
  let flat: TypedArray;
  if (ArrayBuffer.isView(values)) {
    const own = values instanceof Int32Array
      ? "i32"
      : values instanceof Uint32Array
      ? "u32"
      : values instanceof Float16Array
      ? "f16"
      : "f32";
    if (own === "f32" && !(values instanceof Float32Array)) {
      throw new TypeError(
        "Cannot make a tensor as arrays must be Float32, Float16, Int32 or Uint32",
      );
    }
    flat = values;
    shape ??= [values.length];
    dtype ??= own;
    if (dtype !== own) flat = ARRAYS[dtype].from(values);
  } else {
    const found: number[] = [];
    const inner = flatten(values, found);
    dtype ??= "f32";
    flat = ARRAYS[dtype].from(found);
    shape ??= inner;
  }
  if (sizeOf(shape) !== flat.length) {
    throw new TypeError(
      `Cannot make a tensor as the shape must hold all elements: shape ${
        show(shape)
      } holds ` +
        `${sizeOf(shape)}, there are ${flat.length}`,
    );
  }
  const made = new Tensor([...shape], dtype);
  overwrite(made, flat);
  return made;
}

function flatten(values: NestedArray, into: number[]): number[] {
  if (typeof values === "number") {
    into.push(values);
    return [];
  }
  const rows = values.map((row) => flatten(row, into));
  const [first] = rows;
  const odd = rows.find((row) => row.join() !== first!.join());
  if (odd) {
    throw new TypeError(
      `Cannot make a tensor as all rows must have one shape: ${
        show(first!)
      } and ${show(odd)}`,
    );
  }
  return [values.length, ...(first ?? [])];
}
