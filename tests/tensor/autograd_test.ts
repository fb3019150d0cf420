import assert from "node:assert/strict";
import * as d from "../../mod.ts";
import { apply } from "../../tensor/autograd.ts";
import { assertClose } from "../_check.ts";

const leaf = (values: d.NestedArray) => d.tensor(values).requireGrad();

Deno.test("gradients() sums over several uses of a tensor", async () => {
  const x = leaf([1, 2, 3]);
  const y = d.add(d.mul(x, x), d.scale(x, 3)); // x² + 3x
  const [dx] = d.gradients(d.sum(y), [x]);
  await assertClose(dx!, [5, 7, 9]);
});

Deno.test("gradients() walks a diamond once", async () => {
  const x = leaf([0.5, -1]);
  const a = d.scale(x, 2);
  const y = d.mul(d.add(a, 1), d.mul(a, a)); // (2x + 1) 4x²
  const [dx, da] = d.gradients(d.sum(y), [x, a]);
  await assertClose(dx!, [24 * 0.25 + 4, 24 - 8]);
  await assertClose(da!, [5, 8]); // of an intermediate: 3a² + 2a
});

Deno.test("gradients() passes through views and repeated inputs", async () => {
  const x = leaf([[1, 2], [3, 4]]);
  const flat = d.reshape(x, [4]);
  const [dx, again] = d.gradients(d.sum(d.mul(flat, flat)), [x, x]);
  assert.deepEqual(await dx!.toArray(), [[2, 4], [6, 8]]);
  await assertClose(again!, dx!);
});

Deno.test("gradients() gives zeros for an input without influence", async () => {
  const x = leaf([1, 2]), unused = leaf([[1], [2]]);
  const [, zero] = d.gradients(d.sum(x), [x, unused]);
  assert.deepEqual(await zero!.toArray(), [[0], [0]]);
});

Deno.test("gradients() takes an upstream gradient", async () => {
  const x = leaf([1, 2]);
  const upstream = d.tensor([10, 100]);
  const [dx] = d.gradients(d.mul(x, x), [x], { upstream });
  await assertClose(dx!, [20, 400]);
  await assertClose(upstream, [10, 100]);
  assert.throws(
    () => d.gradients(d.mul(x, x), [x], { upstream: d.ones([3]) }),
    /upstream gradient must have the output's shape \[2\]: it is \[3\]/,
  );
});

Deno.test("gradients() refuses outputs it cannot differentiate", () => {
  const x = leaf([1, 2]);
  assert.throws(
    () => d.gradients(d.mul(x, x), [x]),
    /Cannot differentiate as the output must be a single number: shape is \[2\]/,
  );
  assert.throws(
    () => d.gradients(d.sum(d.tensor([1])), [x]),
    /Cannot differentiate f32\[\] as it has no history/,
  );
});

Deno.test("detach() and noGrad() stop gradients, enableGrad() resumes them", async () => {
  const x = leaf([3]);
  const [dx] = d.gradients(d.sum(d.mul(x, x.detach())), [x]);
  await assertClose(dx!, [3]);
  const inside = d.noGrad(() => {
    assert.equal(d.isRecording(), false);
    assert.equal(d.mul(x, x).node, null);
    return d.enableGrad(() => d.mul(x, x));
  });
  assert.equal(d.isRecording(), true);
  const [again] = d.gradients(d.sum(inside), [x]);
  await assertClose(again!, [6]);
});

Deno.test("noGrad() covers an asynchronous body and nothing beside it", async () => {
  const x = leaf([1]);
  const silent = d.noGrad(async () => {
    await d.sync();
    return d.mul(x, x);
  });
  assert.notEqual(d.mul(x, x).node, null);
  assert.equal((await silent).node, null);
});

Deno.test("backward() accumulates in grad", async () => {
  const x = leaf([1, 2]), w = leaf([3, 4]);
  const constant = d.tensor([1, 1]);
  for (const times of [1, 2, 3]) {
    d.backward(d.sum(d.mul(d.mul(x, w), constant)));
    await assertClose(x.grad!, [3 * times, 4 * times]);
    await assertClose(w.grad!, [1 * times, 2 * times]);
  }
  assert.equal(constant.grad, null);
});

Deno.test("backward() gives inputs that share a gradient tensors of their own", async () => {
  const a = leaf([1]), b = leaf([2]);
  d.backward(d.sum(d.add(a, b)));
  d.backward(d.sum(a));
  await assertClose(a.grad!, [2]);
  await assertClose(b.grad!, [1]);
});

Deno.test("an op must return gradients of its inputs' shapes", () => {
  const x = leaf([1, 2]);
  const y = apply(
    {
      name: "wrong",
      forward: ([x]) => d.scale(x, 2),
      backward: (dy) => [d.sum(dy)],
    },
    [x] as const,
    null,
  );
  assert.throws(
    () => d.gradients(d.sum(y), [x]),
    /The gradient of wrong has shape \[\]: its input is \[2\]/,
  );
});

Deno.test("an op that throws leaves no memory behind", () => {
  const x = leaf([1, 2]);
  const failing = (where: "forward" | "backward") => {
    const fail = (at: string) => {
      d.ones([1000]);
      if (at === where) throw new Error("Broken on purpose");
    };
    const y = apply(
      {
        name: "failing",
        forward: ([x]) => (fail("forward"), d.scale(x, 2)),
        backward: (dy) => (fail("backward"), [dy]),
      },
      [x] as const,
      null,
    );
    d.gradients(d.sum(y), [x]);
  };
  for (const where of ["forward", "backward"] as const) {
    const before = d.memory().bytesInUse;
    assert.throws(() => d.scope(() => failing(where)), /on purpose/);
    assert.equal(d.memory().bytesInUse, before);
  }
});

Deno.test("checkpoint() changes neither values nor gradients, also of random ops", async () => {
  const start = new d.Rng(1).normal([3, 5]);
  const weight = new d.Rng(2).normal([5]).requireGrad();
  const run = (checkpointed: boolean) => {
    const x = start.detach().requireGrad();
    const rng = new d.Rng(3);
    const body = (x: d.Tensor) =>
      d.silu(d.mul(d.mul(x, rng.uniform(x.shape)), weight));
    const block = (x: d.Tensor) =>
      checkpointed ? d.checkpoint(body, [x], { rng }) : body(x);
    const y = block(block(x));
    return [y, ...d.gradients(d.sum(d.mul(y, y)), [x, weight])];
  };
  const [plain, saved] = [run(false), run(true)];
  for (const [i, want] of plain.entries()) await assertClose(saved[i]!, want);
});

Deno.test("checkpoint() keeps no intermediates", () => {
  const x = d.ones([1000]).requireGrad();
  const body = (x: d.Tensor) => d.sum(d.exp(d.exp(d.exp(x))));
  const used = (run: () => d.Tensor) =>
    d.scope(() => {
      const before = d.memory().bytesInUse;
      run();
      return d.memory().bytesInUse - before;
    });
  assert(used(() => body(x)) > 12_000);
  assert(used(() => d.checkpoint(body, [x])) < 1000);
});

Deno.test("gradients() of a chain of 5,000 ops needs no stack", async () => {
  const dx = d.scope(() => {
    const x = leaf([2]);
    let y: d.Tensor = x;
    for (let i = 0; i < 5000; i++) y = d.scale(y, i % 2 ? 2 : 0.5);
    return d.gradients(d.sum(y), [x])[0]!;
  });
  await assertClose(dx, [1]);
});

Deno.test("gradients() refuses a history through a freed tensor", () => {
  const x = leaf([1, 2]);
  const y = d.scope(() => d.add(d.mul(x, x), x)); // the product is freed
  assert.throws(
    () => d.gradients(d.sum(y), [x]),
    (error: Error) =>
      error instanceof ReferenceError &&
      /Cannot differentiate add as its input f32\[2\] is freed/.test(
        error.message,
      ),
  );
  const z = d.sum(x);
  z.dispose();
  assert.throws(() => d.gradients(z, [x]), ReferenceError);
});
