import assert from "node:assert/strict";
import * as d from "../../mod.ts";
import { flatten, withoutPadding } from "../../tensor/flat.ts";
import { place } from "../../tensor/plan.ts";
import { assertClose } from "../_check.ts";
import { hasLimit, withBindingBytes } from "../_limit.ts";

/** A small network with dropout, noise, clipping, an optimizer and an average. */
function trainer(seed: number) {
  const rng = new d.Rng(seed);
  const first = new d.Linear(3, 8, rng), second = new d.Linear(8, 1, rng);
  const parameters = [...first.parameters(), ...second.parameters()];
  const optimizer = new d.AdamW(parameters, { learningRate: 0.01 });
  const ema = new d.Ema(parameters, { decay: 0.9, warmup: true });
  const noise = new d.Rng(seed, 1), drops = new d.Rng(seed, 2);
  const step = ({ x, y }: { x: d.Tensor; y: d.Tensor }) => {
    const noisy = d.add(x, d.mul(noise.normal(x.shape), 0.1));
    let h = d.dropout(d.relu(first.forward(noisy)), { p: 0.2, rng: drops });
    h = d.dropout(h, { p: 0.1, rng: drops });
    const loss = d.mseLoss(second.forward(h), y);
    const { gradients, norm } = d.clipGradNorm(
      d.gradients(loss, parameters),
      0.1,
    );
    optimizer.step(gradients);
    ema.update();
    return { loss: loss.detach(), norm };
  };
  const state = async () =>
    await Promise.all(
      [...parameters, ...Object.values(ema.stateDict())].map(async (t) => [
        ...(t instanceof d.Tensor ? await t.data() : t.data),
      ]),
    );
  return { step, optimizer, noise, drops, state };
}

const batch = (i: number) => ({
  x: Float32Array.from({ length: 12 }, (_, k) => Math.sin(i + k)),
  y: Float32Array.from({ length: 4 }, (_, k) => Math.cos(i + k)),
});
const INPUTS = { x: { shape: [4, 3] }, y: { shape: [4, 1] } };

Deno.test("capture() replays equal called steps, bit for bit, with all state", async () => {
  const called = trainer(1), replayed = trainer(1);
  const losses: number[] = [];
  for (let i = 0; i < 30; i++) {
    const { x, y } = batch(i);
    called.optimizer.learningRate = 0.01 / (1 + i);
    const { loss } = d.scope(() =>
      called.step({ x: d.tensor(x, [4, 3]), y: d.tensor(y, [4, 1]) })
    );
    losses.push(await loss.item());
  }
  const step = d.capture(replayed.step, { inputs: INPUTS });
  const got: number[] = [];
  for (let i = 0; i < 30; i++) {
    replayed.optimizer.learningRate = 0.01 / (1 + i);
    step.replay(batch(i));
    // However often outputs are read, they are the same.
    if (i % 7 === 0) {
      got.push(...(await step.outputs()).map(({ loss }) => loss[0]!));
    }
  }
  got.push(...(await step.outputs()).map(({ loss }) => loss[0]!));
  assert.deepEqual(got, losses);
  assert.deepEqual(await replayed.state(), await called.state());
  assert.deepEqual(replayed.noise.state, called.noise.state);
  assert.deepEqual(replayed.drops.state, { seed: 1, stream: 2, calls: 60 });
  step.dispose();
});

Deno.test("verify() passes for an honest step, and finds what is frozen at the capture", async () => {
  const honest = trainer(2);
  const step = d.capture(honest.step, { inputs: INPUTS });
  step.replay(batch(0));
  await step.outputs();
  await step.verify(batch(1));
  let calls = 0;
  const frozen = d.capture(({ x }) => ({ y: d.mul(x, ++calls) }), {
    inputs: { x: { shape: [3] } },
  });
  await assert.rejects(
    frozen.verify({ x: Float32Array.of(1, 2, 3) }),
    /differs from a called one in output y, at 0: 1, not 2/,
  );
});

Deno.test("capture() says what it cannot capture, and leaves nothing behind", async () => {
  const x = d.tensor([1, 2, 3]);
  const before = d.memory().bytesInUse;
  assert.throws(
    () => d.capture(() => ({ y: d.add(x, d.tensor([1, 2, 3])) })),
    /Cannot capture tensor/,
  );
  assert.throws(
    // deno-lint-ignore no-explicit-any -- what a user might try in plain JavaScript
    () => d.capture((async () => ({ y: d.tensor(await x.item()) })) as any),
    /asynchronous step|Cannot capture data/,
  );
  assert.throws(
    () => d.capture(() => (new d.Rng(0).permutation(3), { y: d.neg(x) })),
    /Cannot capture permutation\(\)/,
  );
  assert.throws(
    () => d.capture(() => d.capture(() => ({ y: d.neg(x) })) as never),
    /steps do not nest/,
  );
  assert.equal(d.memory().bytesInUse, before);
  let leaked: d.Tensor | undefined;
  const step = d.capture(() => ({ y: leaked = d.keep(d.neg(x)) }));
  await assert.rejects(
    async () => await d.neg(leaked!).data(),
    /inside a captured step/,
  );
  step.replay({});
  assert.deepEqual([...(await step.outputs())[0]!.y], [-1, -2, -3]);
  step.dispose();
});

Deno.test("replay() checks its inputs and that outputs are read", async () => {
  const step = d.capture(({ x }) => ({ y: d.neg(x) }), {
    inputs: { x: { shape: [2, 2] } },
    rows: 3,
  });
  const x = Float32Array.of(1, 2, 3, 4);
  assert.throws(
    () => step.replay({ x: x.slice(1) }),
    /input x must be f32\[2, 2\].*of 3/,
  );
  assert.throws(
    () => step.replay({ x: Int32Array.of(1, 2, 3, 4) }),
    /a Int32Array of 4/,
  );
  assert.throws(() => step.replay({} as never), /missing/);
  for (let i = 0; i < 3; i++) step.replay({ x: x.map((v) => v * i) });
  assert.throws(() => step.replay({ x }), /outputs of 3 replays wait/);
  assert.deepEqual(
    (await step.outputs()).map(({ y }) => [...y]),
    [0, 1, 2].map((i) => [...x].map((v) => -v * i)),
  );
  step.dispose();
});

Deno.test("capture() with a checkpoint draws the same mask twice, and moves on once", async () => {
  const drops = new d.Rng(3);
  const w = d.parameter(d.ones([64]));
  const step = d.capture(({ x }) => {
    const y = d.checkpoint(
      (x: d.Tensor) => d.dropout(d.mul(x, w), { p: 0.5, rng: drops }),
      [x],
      { rng: drops },
    );
    const [dw] = d.gradients(d.sum(y), [w]);
    return { y: y.detach(), dw: dw! };
  }, { inputs: { x: { shape: [64] } } });
  const x = new Float32Array(64).fill(1);
  step.replay({ x });
  step.replay({ x });
  const [a, b] = await step.outputs();
  assert.deepEqual(a!.dw, a!.y); // both are the mask
  assert.deepEqual(b!.dw, b!.y);
  assert.notDeepEqual(a!.y, b!.y);
  assert.equal(drops.state.calls, 2);
  step.dispose();
});

Deno.test("replays hold memory flat", async () => {
  const { step: body } = trainer(4);
  const step = d.capture(body, { inputs: INPUTS });
  const run = async (n: number) => {
    for (let i = 0; i < n; i++) {
      step.replay(batch(i));
      if (i % 50 === 49) await step.outputs();
    }
    await step.outputs();
  };
  await run(100);
  const { bytesInUse, buffers, bindGroups } = d.memory();
  const { rss } = Deno.memoryUsage();
  await run(1000);
  const after = d.memory();
  assert.ok(after.bytesInUse <= bytesInUse); // other tests' tensors may be collected meanwhile
  assert.deepEqual([after.buffers, after.bindGroups], [buffers, bindGroups]);
  const grown = Deno.memoryUsage().rss - rss;
  assert.ok(grown < 40e6, `RSS grew by ${grown} bytes over 1000 replays`);
  assert.ok(
    step.info.arenaBytes <= 1.1 * step.info.liveBytes,
    JSON.stringify(step.info),
  );
  step.dispose();
});

Deno.test("place() never overlaps what is alive together, and wastes little", () => {
  const rng = new d.Rng(5);
  for (let round = 0; round < 30; round++) {
    const count = 5 + round * 4;
    const pick = (n: number) =>
      rng.categorical(new Float64Array(n).fill(1), 1)[0]!;
    const intervals = Array.from({ length: count }, () => {
      const first = pick(count);
      return {
        first,
        last: first + pick(1 + round),
        bytes: 16 * (1 + pick(100)),
      };
    });
    const limit = round % 3 === 0 ? 5000 : 1e9;
    const { arenas, places, liveBytes } = place(intervals, 256, limit);
    intervals.forEach((a, i) => {
      assert.ok(places[i]!.offset % 256 === 0);
      assert.ok(places[i]!.offset + a.bytes <= arenas[places[i]!.arena]!);
      for (let j = 0; j < i; j++) {
        const b = intervals[j]!;
        const together = a.first <= b.last && b.first <= a.last;
        if (!together || places[i]!.arena !== places[j]!.arena) continue;
        const [p, q] = [places[i]!.offset, places[j]!.offset];
        assert.ok(
          p + a.bytes <= q || q + b.bytes <= p,
          `${i} and ${j} overlap`,
        );
      }
    });
    if (limit < 1e9) assert.ok(arenas.every((bytes) => bytes <= limit));
    else assert.ok(arenas[0]! >= liveBytes && arenas[0]! <= 1.5 * liveBytes);
  }
});

Deno.test("flat memory forgets its padding when the buffer serves another purpose", () => {
  const tensors = [d.ones([3]), d.ones([5])];
  const [block] = flatten(tensors);
  const { buffer } = block!.storage;
  const words = new Uint32Array(block!.size).fill(7);
  assert.equal(
    withoutPadding(buffer, words).filter((word) => word === 7).length,
    8,
  );
  for (const tensor of [block!, ...tensors]) tensor.dispose();
  assert.deepEqual(withoutPadding(buffer, words), words);
});

Deno.test("flat memory knows the padding of a single tensor, too", () => {
  const tensor = d.ones([5]);
  const [block] = flatten([tensor]);
  const words = new Uint32Array(block!.size).fill(7);
  const clean = withoutPadding(tensor.storage.buffer, words);
  assert.deepEqual([...clean.slice(0, 6)], [7, 7, 7, 7, 7, 0]);
  for (const each of [block!, tensor]) each.dispose();
});

// A GPU binds gigabytes at once: too much for a test.
const limit = d.deviceError() ? 0 : d.deviceInfo().maxBindingBytes / 4;
Deno.test({
  name: "a captured step clips and updates a parameter larger than one binding",
  ignore: limit === 0 || limit > 2 ** 25,
  fn: async () => {
    const n = limit + 333_333;
    const large = d.parameter(d.zeros([n])), small = d.parameter(d.zeros([3]));
    const parameters = [small, large];
    const optimizer = new d.SGD(parameters, { learningRate: 1 });
    const step = d.capture(() => {
      const gradients = parameters.map(({ shape }) => d.full(shape, 2));
      const { scale, norm } = d.clipScale(gradients, 1);
      optimizer.step(gradients, { scale });
      return { norm };
    });
    step.replay({});
    const [row] = await step.outputs(), norm = row!.norm[0]!;
    const want = 2 * Math.sqrt(n + 3);
    assert.ok(Math.abs(norm / want - 1) < 1e-5, `${norm}, not ${want}`);
    for (const value of [d.min(large), d.max(large), d.min(small)]) {
      assert.ok(Math.abs(await value.item() * -want / 2 - 1) < 1e-5);
    }
    step.dispose();
    optimizer.dispose();
    for (const p of parameters) p.dispose();
    d.trimPool();
  },
});

Deno.test("a captured step trains weights larger than one binding", {
  ignore: !hasLimit,
}, async () => {
  const train = async () => {
    const rng = new d.Rng(8);
    const model = new d.Sequential(
      new d.Embedding(401, 64, rng), // 25,664 elements, of 8,192 that a binding sees
      new d.Linear(64, 333, rng),
      new d.Linear(333, 5, rng),
    );
    const parameters = model.parameters();
    const optimizer = new d.AdamW(parameters, { learningRate: 0.01 });
    const ema = new d.Ema(model, { decay: 0.9 });
    const step = d.capture(({ index }: Record<"index", d.Tensor>) => {
      const loss = d.mean(d.square(d.sub(model.forward(index), 1)));
      const gradients = d.gradients(loss, parameters);
      const { scale, norm } = d.clipScale(gradients, 0.1);
      optimizer.step(gradients, { scale });
      ema.update();
      return { loss, norm };
    }, { inputs: { index: { shape: [7], dtype: "i32" } } });
    const index = Int32Array.of(0, 400, 7, 7, 200, 300, 128);
    for (let i = 0; i < 3; i++) step.replay({ index });
    const rows = await step.outputs();
    await step.verify({ index });
    step.dispose();
    return rows.flatMap(({ loss, norm }) => [loss[0]!, norm[0]!]);
  };
  const want = await train();
  await assertClose(await withBindingBytes(32768, train), want, { rtol: 1e-4 });
});
