import assert from "node:assert/strict";
import * as d from "../../mod.ts";
import { empties, Kernel } from "../../tensor/kernel.ts";
import { overwrite } from "../../tensor/tensor.ts";
import { assertClose } from "../_check.ts";

const once = { workgroups: () => 1 };

for (
  const [name, body] of [
    ["broken_syntax", "let = 1;"],
    ["broken_type", "out[0] = 1u;"],
  ] as const
) {
  Deno.test(`the error in ${name}.wgsl surfaces at the next readback, and again when it is used`, async () => {
    const kernel = new Kernel(
      name,
      `@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(1) fn main() { ${body} }`,
    );
    const run = () => kernel.run("main", {}, { out: empties([1]) }, once);
    const failure = new RegExp(`Cannot compile ${name}\\.main: `);
    const out = run();
    await assert.rejects(out.data(), failure);
    assert.throws(run, failure);
    await assertClose(d.exp(d.zeros([2])), [1, 1]); // the device is fine
  });
}

Deno.test("an entry point that does not exist is named", async () => {
  const kernel = new Kernel(
    "no_entry",
    "@group(0) @binding(0) var<storage, read_write> out: array<f32>;",
  );
  kernel.run("main", {}, { out: empties([1]) }, once);
  await assert.rejects(
    d.sync(),
    /Cannot (build the pipeline|compile) no_entry\.main: /,
  );
  await d.sync();
});

Deno.test("readbacks under way together all throw", async () => {
  const kernel = new Kernel(
    "broken_together",
    "@group(0) @binding(0) var<storage, read_write> out: array<f32>; oops",
  );
  const other = d.tensor([1]);
  const out = kernel.run("main", {}, { out: empties([1]) }, once);
  const results = await Promise.allSettled([
    out.data(),
    other.data(),
    d.sync(),
  ]);
  assert.deepEqual(results.map(({ status }) => status), [
    "rejected",
    "rejected",
    "rejected",
  ]);
  await assertClose(other, [1]);
});

Deno.test("a tensor too large for the device is refused before it is made", () => {
  const { maxBufferBytes } = d.deviceInfo();
  const n = Math.floor(maxBufferBytes / 4) + 1024;
  const before = d.memory();
  assert.throws(
    () => d.zeros([n]),
    (error: Error) =>
      error instanceof RangeError &&
      error.message.startsWith(`Cannot allocate f32[${n}] as it takes `) &&
      error.message.endsWith(`at most ${maxBufferBytes}`),
  );
  assert.deepEqual(d.memory(), before);
});

Deno.test("a write comes after the work recorded before it", async () => {
  const x = d.tensor([1, 2, 3]);
  const before = d.scale(x, 10);
  overwrite(x, new Float32Array([4, 5, 6]));
  const after = d.scale(x, 10);
  await assertClose(before, [10, 20, 30]);
  await assertClose(after, [40, 50, 60]);
});

Deno.test("a buffer used again by a write keeps what was recorded with it", async () => {
  const sums = Array.from({ length: 300 }, (_, i) =>
    // more than one submission
    d.scope(() => d.sum(d.tensor([i, 1, 1]))));
  const values = await Promise.all(sums.map((sum) => sum.item()));
  assert.deepEqual(values, values.map((_, i) => i + 2));
});

Deno.test("many readbacks at once give each its own", async () => {
  const values = await Promise.all(
    Array.from({ length: 40 }, (_, i) => d.full([i + 1], i).data()),
  );
  for (const [i, data] of values.entries()) {
    assert.deepEqual(data, new Float32Array(i + 1).fill(i));
  }
});

Deno.test("a captured step that is disposed has left no buffer", {
  ignore: !!d.deviceError() || d.deviceInfo().executor !== "webgpu",
}, async () => {
  const made = new Set<GPUBuffer>();
  const { createBuffer } = GPUDevice.prototype,
    { destroy } = GPUBuffer.prototype;
  GPUDevice.prototype.createBuffer = function (descriptor) {
    const buffer = createBuffer.call(this, descriptor);
    if (descriptor.label?.startsWith("step ")) made.add(buffer);
    return buffer;
  };
  GPUBuffer.prototype.destroy = function () {
    made.delete(this);
    return destroy.call(this);
  };
  try {
    const p = d.parameter(d.ones([3]));
    const optimizer = new d.SGD([p], { learningRate: 0.5 });
    optimizer.step([d.ones([3])]);
    const before = d.memory();
    for (const replays of [0, 1, 3]) { // not run, run but not submitted, run
      const step = d.capture(() => {
        optimizer.step([p]);
        return { norm: d.norm(p) };
      });
      assert.equal(made.size, 3);
      for (let i = 0; i < replays; i++) step.replay({});
      if (replays === 3) await step.outputs();
      step.dispose();
      step.dispose();
      await d.sync();
      assert.equal(made.size, 0);
      // Less, where garbage of tests before was collected meanwhile.
      assert(d.memory().bytesInUse <= before.bytesInUse);
      assert.throws(() => step.replay({}), /as the step is disposed/);
    }
    await assertClose(p, new Array(3).fill(0.5 ** 5));
  } finally {
    GPUDevice.prototype.createBuffer = createBuffer;
    GPUBuffer.prototype.destroy = destroy;
  }
});
