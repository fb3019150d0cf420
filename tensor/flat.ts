/**
 * Many tensors side by side in few buffers, so that one kernel can do for all what it does to each
 * element: parameters, their optimizer's state, their averages and, in a captured step, their gradients.
 *
 * @module
 */
import { context } from "./context.ts";
import { executor } from "./device.ts";
import type { DeviceBuffer } from "./executor.ts";
import { copyInPlace } from "./fill.ts";
import { like } from "./kernel.ts";
import { Storage, whenGivenBack } from "./memory.ts";
import { Tensor } from "./tensor.ts";
import { isPlanned, type PlannedBuffer } from "./trace.ts";

/** Where a tensor lies in a block. */
interface Member {
  /** Index in the list that was laid out. */
  index: number;
  /** In bytes. */
  offset: number;
}

/** A buffer and what lies in it. */
export interface Layout {
  /** In order, back to back but for alignment. */
  members: Member[];
  /** Length in bytes. */
  bytes: number;
}

/** What holds elements in flat memory, in bytes: the rest is padding. */
const contents = new WeakMap<DeviceBuffer, { start: number; end: number }[]>();
whenGivenBack((buffer) => contents.delete(buffer)); // it may serve another purpose next

/** Sets the padding of flat memory to 0 in a copy of its buffer, so that copies can be compared. */
export function withoutPadding(
  buffer: DeviceBuffer,
  words: Uint32Array<ArrayBuffer>,
): Uint32Array<ArrayBuffer> {
  const ranges = contents.get(buffer);
  if (!ranges) return words;
  const clean = new Uint32Array(words.length);
  for (const { start, end } of ranges) {
    clean.set(words.subarray(start / 4, end / 4), start / 4);
  }
  return clean;
}

/** Lays tensors out in as few buffers as bindings allow; equal sizes give equal layouts. */
export function layoutOf(tensors: readonly Tensor[]): Layout[] {
  const { offsetAlignment, maxBindingBytes } = executor().info;
  const blocks: Layout[] = [];
  tensors.forEach(({ size }, index) => {
    const bytes = Math.max(1, Math.ceil(size * 4 / offsetAlignment)) *
      offsetAlignment;
    let block = blocks.at(-1);
    if (!block || block.bytes + bytes > maxBindingBytes) {
      blocks.push(block = { members: [], bytes: 0 });
    }
    block.members.push({ index, offset: block.bytes });
    block.bytes += bytes;
  });
  return blocks;
}

/**
 * Moves tensors into flat memory, where they keep their values; those that lie so already stay.
 *
 * @throws {Error} If they would have to be moved inside a captured step.
 * @returns One tensor per block, over all that lies in it; padding between members is arbitrary.
 */
export function flatten(tensors: readonly Tensor[]): Tensor[] {
  return layoutOf(tensors).map(({ members, bytes }) => {
    const first = tensors[members[0]!.index]!.storage;
    const there = members.every(({ index, offset }) => {
      const { storage } = tensors[index]!;
      return storage.buffer === first.buffer && storage.offset === offset;
    });
    const ranges = members.map(({ index, offset }) => ({
      start: offset,
      end: offset + tensors[index]!.size * 4,
    }));
    if (there && first.buffer.bytes === bytes) {
      contents.set(first.buffer, ranges); // it may have come to lie so by itself
      return over(first.window(0, bytes), bytes);
    }
    if (context().trace) {
      throw new Error(
        "Cannot capture as parameters have been moved: make optimizers and averages before the " +
          "capture, and for the same parameters in the same order",
      );
    }
    const root = Storage.allocate(bytes, () => "the parameters of a model");
    contents.set(root.buffer, ranges);
    for (const { index, offset } of members) {
      const tensor = tensors[index]!;
      const window = root.window(
        offset,
        Math.max(16, Math.ceil(tensor.size * 4 / 16) * 16),
      );
      const place = new Tensor(tensor.shape, tensor.dtype, window);
      copyInPlace(place, tensor);
      place.dispose();
      tensor.move(window);
    }
    return over(root, bytes);
  });
}

/**
 * Inside a captured step, has tensors of the step computed side by side.
 *
 * @returns One tensor per block of their layout, in which padding is arbitrary; null outside of a
 *   captured step.
 */
export function joined(tensors: readonly Tensor[]): Tensor[] | null {
  const { trace } = context();
  if (!trace) return null;
  const seen = new Set<PlannedBuffer>();
  const own = tensors.map((tensor) => {
    const { buffer } = tensor.storage;
    if (isPlanned(buffer) && !seen.has(buffer)) {
      seen.add(buffer);
      return tensor;
    }
    const copy = like(tensor); // it is shared, or lives outside of the step
    copyInPlace(copy, tensor);
    return copy;
  });
  const blocks = layoutOf(tensors).map(({ members, bytes }) => {
    const parts = members.map(({ index, offset }) => ({
      buffer: own[index]!.storage.buffer as PlannedBuffer,
      offset,
    }));
    const whole = trace.join(parts, bytes);
    return whole && new Tensor([bytes / 4], "f32", Storage.planned(whole));
  });
  return blocks.every((block) => block !== null) ? blocks : null;
}

/** A tensor over a whole block. */
function over(storage: Storage, bytes: number): Tensor {
  const tensor = new Tensor([bytes / 4], "f32", storage);
  storage.release(); // the tensor has counted itself
  return tensor;
}
