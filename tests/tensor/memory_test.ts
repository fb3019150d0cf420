import assert from "node:assert/strict";
import * as d from "../../mod.ts";

Deno.test("memory() counts bytes in use, pooled and at most", () => {
  d.trimPool();
  const start = d.memory({ resetPeak: true });
  assert.equal(start.bytesPooled, 0);
  const x = d.zeros([1000]), y = d.zeros([3]); // 4000 and 16 bytes
  assert.equal(d.memory().bytesInUse, start.bytesInUse + 4016);
  assert.equal(d.memory().buffers, start.buffers + 2);
  const view = d.reshape(x, [10, 100]);
  assert.equal(d.memory().bytesInUse, start.bytesInUse + 4016);
  x.dispose();
  y.dispose();
  assert.equal(d.memory().bytesInUse, start.bytesInUse + 4000);
  view.dispose();
  const end = d.memory();
  assert.equal(end.bytesInUse, start.bytesInUse);
  assert.equal(end.bytesPooled, 4016);
  assert.equal(end.buffers, start.buffers + 2);
  assert.equal(end.peakBytes, start.bytesInUse + 4016);
});

Deno.test("a new tensor takes a pooled buffer of its size, and no other", () => {
  d.trimPool();
  d.zeros([500]).dispose();
  const { buffers, bytesPooled } = d.memory();
  using _same = d.ones([20, 25]);
  assert.equal(d.memory().buffers, buffers);
  assert.equal(d.memory().bytesPooled, bytesPooled - 2000);
  using _other = d.ones([499]);
  assert.equal(d.memory().buffers, buffers + 1);
});

Deno.test("trimPool() gives back what exceeds a size, and the arguments that name it", async () => {
  d.trimPool();
  const before = d.memory();
  d.scope(() => {
    for (const n of [100, 200, 300]) d.exp(d.zeros([n]));
  });
  await d.sync();
  if (d.deviceInfo().executor === "webgpu") {
    assert(d.memory().bindGroups > before.bindGroups);
  }
  d.trimPool(1200);
  assert(d.memory().bytesPooled <= 1200);
  d.trimPool();
  assert.deepEqual(
    { ...d.memory(), pipelines: 0, peakBytes: 0 },
    { ...before, pipelines: 0, peakBytes: 0 },
  );
});

Deno.test("a pool that is trimmed while work is recorded does no harm", async () => {
  using x = d.full([64], 3);
  using y = d.scope(() => d.mul(d.add(x, 1), d.add(x, 2)));
  d.trimPool();
  assert.equal((await y.data())[63], 20);
});

Deno.test("thousands of training steps leave memory as it was", async () => {
  const rng = new d.Rng(1);
  const data = rng.normal([16, 8]), labels = rng.normal([16, 4]);
  let parameters = [[8, 32], [32], [32, 4], [4]].map((shape) =>
    d.keep(rng.normal(shape, 0, 0.1).requireGrad())
  );
  const step = () => {
    const [next, loss] = d.scope(() => {
      const [w1, b1, w2, b2] = parameters as [
        d.Tensor,
        d.Tensor,
        d.Tensor,
        d.Tensor,
      ];
      const hidden = d.relu(d.add(d.matmul(data, w1), b1));
      const error = d.sub(d.add(d.matmul(hidden, w2), b2), labels);
      const loss = d.mean(d.square(error));
      const grads = d.gradients(loss, parameters);
      const next = d.noGrad(() =>
        parameters.map((p, i) => d.sub(p, d.scale(grads[i]!, 0.05)))
      );
      return [next, loss.detach()] as const;
    });
    for (const old of parameters) old.dispose();
    parameters = next.map((p) => d.keep(p.requireGrad()));
    return d.keep(loss);
  };
  const run = async (steps: number) => {
    let loss = NaN;
    for (let i = 0; i < steps; i++) {
      using value = step();
      if (i % 100 === 99) loss = await value.item();
    }
    return loss;
  };
  const first = await run(300); // warm: pipelines compiled, pool and arguments filled
  const before = d.memory();
  const growth: number[] = [];
  let last = NaN;
  for (let round = 0; round < 2; round++) {
    const { rss } = Deno.memoryUsage();
    last = await run(1700);
    growth.push((Deno.memoryUsage().rss - rss) / 2 ** 20);
  }
  const after = d.memory();
  assert(last < first, `The loss must fall: ${first} to ${last}`);
  assert.equal(after.bytesInUse, before.bytesInUse);
  assert.equal(after.buffers, before.buffers);
  assert.equal(after.bindGroups, before.bindGroups);
  assert.equal(after.pipelines, before.pipelines);
  // V8 grows its heap as it likes, but not always; a leak of one 1 KB buffer per op would be 50 MB a round.
  assert(
    Math.min(...growth) < 40,
    `Memory of the process must not grow: ${growth.join(", then ")} MiB more`,
  );
  for (const p of parameters) p.dispose();
});
