import assert from "node:assert/strict";
import { BLOCK_ALIGNMENT, Heap } from "../../tensor/cpu_memory.ts";

const MIB = 1 << 20;

Deno.test("blocks are aligned, zero, apart from each other, and come back", () => {
  const heap = new Heap(256); // 16 MiB
  let state = 3;
  const random = () =>
    // Numerical Recipes' generator
    (state = Math.imul(state, 1664525) + 1013904223 | 0, state >>> 0) / 2 ** 32;
  const held: { at: number; bytes: number; mark: number }[] = [];
  for (let round = 1; round <= 3000; round++) {
    const choice = random(), size = random();
    if (held.length > 0 && (choice < 0.45 || held.length > 100)) {
      const [block] = held.splice(Math.floor(size * held.length), 1);
      const { at, bytes, mark } = block!;
      const content = heap.bytes.subarray(at, at + bytes);
      assert(content.every((byte) => byte === mark), `block at ${at}`);
      heap.give(at);
      continue;
    }
    const bytes = Math.floor(1 + size ** 6 * 100_000);
    const at = heap.take(bytes, () => "a block");
    const content = heap.bytes.subarray(at, at + bytes);
    assert.equal(at % BLOCK_ALIGNMENT, 0);
    assert(at > 0);
    assert(content.every((byte) => byte === 0), `round ${round}`);
    const mark = round % 255 + 1;
    content.fill(mark);
    held.push({ at, bytes, mark });
  }
  const bytes = held.reduce(
    (sum, { bytes }) =>
      sum + Math.ceil(bytes / BLOCK_ALIGNMENT) * BLOCK_ALIGNMENT,
    0,
  );
  assert.equal(heap.bytesInUse, bytes);
  for (const { at } of held) heap.give(at);
  assert.equal(heap.bytesInUse, 0);
  // All pieces are one again.
  const all = 256 * 65536 - BLOCK_ALIGNMENT;
  heap.give(heap.take(all, () => "everything"));
  assert.throws(() => heap.take(all + 1, () => "more"), RangeError);
});

Deno.test("a block is taken from the smallest piece that holds it", () => {
  const heap = new Heap();
  const sizes = [640, 64, 128, 64, 320, 64];
  const [large, , small, , middle] = sizes.map((bytes) =>
    heap.take(bytes, () => "a block")
  );
  for (const at of [large!, small!, middle!]) heap.give(at);
  assert.equal(heap.take(128, () => "a block"), small);
  assert.equal(heap.take(256, () => "a block"), middle);
  assert.equal(heap.take(512, () => "a block"), large);
  assert.equal(heap.take(128, () => "a block"), large! + 512);
});

Deno.test("memory grows as it is needed, and the error names who has it", () => {
  const heap = new Heap(1024); // 64 MiB
  const before = heap.memory.buffer.byteLength;
  assert(before <= MIB);
  const blocks = Array.from(
    { length: 12 },
    (_, i) => heap.take((i + 1) * MIB / 2, () => `block ${i}`),
  );
  assert(heap.memory.buffer.byteLength >= 39 * MIB);
  assert(heap.bytes.length === heap.memory.buffer.byteLength);
  assert.throws(() => heap.take(40 * MIB, () => "f32[10485760]"), {
    name: "RangeError",
    message:
      `Cannot allocate f32[10485760] as it takes ${40 * MIB} bytes: of the ${
        64 * MIB
      } that the ` +
      `CPU executor can address ${39 * MIB} are in use, most by block 11 (${
        6 * MIB
      }), ` +
      `block 10 (${5.5 * MIB}), block 9 (${5 * MIB}), block 8 (${
        4.5 * MIB
      }); use a smaller batch`,
  });
  for (const at of blocks) heap.give(at);
  heap.take(40 * MIB, () => "f32[10485760]");
});

Deno.test("a memory of 4 GiB is addressed to its end", () => {
  const heap = new Heap();
  heap.take(2 ** 31, () => "half");
  const at = heap.take(2 ** 31 - 2 ** 20, () => "most of the rest");
  assert(at >= 2 ** 31);
  heap.bytes[at + 2 ** 31 - 2 ** 20 - 1] = 7;
  heap.words[(at >>> 2) + 5] = 9;
  assert.equal(heap.bytes[at + 20], 9);
});
