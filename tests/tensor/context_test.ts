import assert from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose } from "../_check.ts";

/** Bytes that `body` leaves in use. */
async function left(body: () => unknown): Promise<number> {
  const before = d.memory().bytesInUse;
  await body();
  return d.memory().bytesInUse - before;
}

Deno.test("scope() frees everything when it returns, throws or rejects", async () => {
  const work = () => {
    d.exp(d.ones([100]));
  };
  assert.equal(await left(() => d.scope(work)), 0);
  assert.equal(
    await left(() =>
      assert.throws(() =>
        d.scope(() => {
          work();
          throw new Error("Broken on purpose");
        }), /on purpose/)
    ),
    0,
  );
  assert.equal(
    await left(() =>
      d.scope(async () => {
        work();
        await d.sync();
        work();
      })
    ),
    0,
  );
  assert.equal(
    await left(() =>
      assert.rejects(
        d.scope(async () => {
          work();
          await d.sync();
          work();
          throw new Error("Broken on purpose");
        }),
        /on purpose/,
      )
    ),
    0,
  );
});

Deno.test("scope() spares what it returns, at any depth", async () => {
  const { list, map, plain } = d.scope(() => {
    d.ones([3]);
    return {
      list: [d.tensor([1]), [d.tensor([2])]] as const,
      map: new Map([["a", d.tensor([3])]]),
      plain: { inner: { x: d.tensor([4]) }, n: 5, nothing: null },
    };
  });
  await assertClose(list[0], [1]);
  await assertClose(list[1][0]!, [2]);
  await assertClose(map.get("a")!, [3]);
  await assertClose(plain.inner.x, [4]);
});

Deno.test("scope() hands what it returns to the scope around it", () => {
  const inner = d.scope(() => {
    const inner = d.scope(() => d.tensor([1]));
    assert.equal(inner.isDisposed, false);
    return [inner, d.tensor([2])];
  })[0]!;
  assert.equal(inner.isDisposed, false);
  const lost: d.Tensor[] = [];
  d.scope(() => {
    lost.push(d.scope(() => d.tensor([1])));
  });
  assert.equal(lost[0]!.isDisposed, true);
});

Deno.test("keep() lets a tensor outlive its scope", async () => {
  const kept: d.Tensor[] = [];
  d.scope(() => {
    kept.push(d.keep(d.tensor([7])));
  });
  await assertClose(kept[0]!, [7]);
  kept[0]!.dispose();
  assert.equal(kept[0]!.isDisposed, true);
});

Deno.test("a freed tensor says so when it is used", async () => {
  const lost: d.Tensor[] = [];
  d.scope(() => {
    lost.push(d.zeros([2, 3]));
  });
  const message =
    /Cannot use a tensor that is freed: f32\[2, 3\] was disposed, or its scope has ended; return it/;
  assert.throws(() => d.exp(lost[0]!), message);
  await assert.rejects(lost[0]!.data(), message);
  lost[0]!.dispose(); // a second time does nothing
});

Deno.test("scopes of concurrent functions do not mix", async () => {
  const log: string[] = [];
  const task = (name: string, steps: number) =>
    d.scope(async () => {
      const mine: d.Tensor[] = [];
      for (let step = 0; step < steps; step++) {
        mine.push(d.full([4], step));
        await d.sync();
        log.push(name);
        for (const tensor of mine) assert.equal(tensor.isDisposed, false);
      }
      const total = mine.reduce((a, b) => d.add(a, b));
      return { total, mine };
    }).then(({ total, mine }) => ({ total, mine }));
  const one = d.scope(() => task("a", 2));
  const two = d.scope(() => task("b", 4));
  const [a, b] = await Promise.all([one, two]);
  assert.match(log.join(""), /ab|ba/);
  await assertClose(a.total, [1, 1, 1, 1]);
  await assertClose(b.total, [6, 6, 6, 6]);
});

Deno.test("a scope that ends leaves a concurrent one's tensors alone", async () => {
  const { promise: shortDone, resolve } = Promise.withResolvers<void>();
  const long = d.scope(async () => {
    const x = d.tensor([1]);
    await shortDone;
    return x.item();
  });
  await d.scope(async () => {
    d.tensor([2]);
    await d.sync();
  });
  resolve();
  assert.equal(await long, 1);
});

Deno.test("using frees a tensor at the end of its block", async () => {
  assert.equal(
    await left(() => {
      using x = d.ones([10]);
      using _y = d.exp(x);
    }),
    0,
  );
});

Deno.test("views live on when the tensor they look at is disposed", async () => {
  const x = d.tensor([1, 2, 3, 4]);
  const y = d.reshape(x, [2, 2]);
  x.dispose();
  assert.deepEqual(await y.toArray(), [[1, 2], [3, 4]]);
});
