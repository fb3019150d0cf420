import { throws } from "node:assert/strict";
import { flashAttention } from "../../kernels/attention.ts";
import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new d.Rng(12);

/** One head in doubles: q `[T, D]`, k `[S, D]`, v `[S, W]`. */
function exact(
  [q, k, v]: ArrayLike<number>[],
  [T, S, D, W]: [number, number, number, number],
  scale: number,
  causal: boolean,
): Float64Array {
  const out = new Float64Array(T * W);
  for (let t = 0; t < T; t++) {
    const weights = Float64Array.from({ length: S }, (_, s) => {
      if (causal && s > t) return 0;
      let dot = 0;
      for (let c = 0; c < D; c++) dot += q![t * D + c]! * k![s * D + c]!;
      return Math.exp(scale * dot);
    });
    const sum = weights.reduce((a, b) => a + b);
    for (let s = 0; s < S; s++) {
      for (let c = 0; c < W; c++) {
        out[t * W + c]! += weights[s]! / sum * v![s * W + c]!;
      }
    }
  }
  return out;
}

for (const causal of [false, true]) {
  Deno.test(`attention() matches a plain loop, causal ${causal}`, async () => {
    // An odd head, then those without a matrix of weights; 131 queries are two workgroups.
    for (
      const sizes of [
        [5, 7, 3, 2],
        [67, 67, 20, 16],
        [1, 1, 4, 4],
        [131, 37, 16, 4],
        [3, 131, 12, 16],
        [7, 131, 64, 40], // slices of 16 columns, the last of them in part
      ] as const
    ) {
      const [T, S, D, W] = sizes;
      const inputs = [
        rng.normal([T, D]),
        rng.normal([S, D]),
        rng.normal([S, W]),
      ] as const;
      const hosts = await Promise.all(inputs.map((x) => x.data()));
      const want = exact(hosts, [T, S, D, W], 1 / Math.sqrt(D), causal);
      const loose = { rtol: 1e-4, atol: 1e-5 };
      await assertClose(d.attention(...inputs, { causal }), want, loose);
      const own = exact(hosts, [T, S, D, W], 0.5, causal);
      await assertClose(
        d.attention(...inputs, { causal, scale: 0.5 }),
        own,
        loose,
      );
    }
  });
}

Deno.test("attention() treats every batch and head by itself", async () => {
  const [q, k, v] = [
    rng.normal([2, 3, 5, 4]),
    rng.normal([2, 3, 6, 4]),
    rng.normal([2, 3, 6, 2]),
  ];
  const all = await d.attention(q, k, v).data();
  const hosts = await Promise.all([q, k, v].map((x) => x.data()));
  for (let head = 0; head < 6; head++) {
    const parts = hosts.map((x) =>
      x.subarray(head * x.length / 6, (head + 1) * x.length / 6)
    );
    const want = exact(parts, [5, 6, 4, 2], 0.5, false);
    await assertClose(all.subarray(head * 10, (head + 1) * 10), want, {
      rtol: 1e-4,
      atol: 1e-5,
    });
  }
});

Deno.test("attention() has the right gradients", async () => {
  for (const width of [2, 4]) { // a narrow head that is no multiple of 4, and one that is
    const inputs = [[2, 3, 4], [2, 5, 4], [2, 5, width]].map((shape) =>
      rng.normal(shape)
    );
    for (const causal of [false, true]) {
      const f = (...[q, k, v]: d.Tensor[]) =>
        d.attention(q!, k!, v!, { causal });
      await assertGradient(f, inputs, { step: 3e-3, atol: 3e-3 });
    }
  }
});

/** Attention by its definition, from other ops; a hidden key gets the score -1e30. */
function defined([q, k, v]: d.Tensor[], causal: boolean): d.Tensor {
  const T = q!.shape.at(-2)!, S = k!.shape.at(-2)!;
  const mask = Array.from(
    { length: T * S },
    (_, i) => causal && i % S > Math.floor(i / S) ? -1e30 : 0,
  );
  const scores = d.matmul(q!, d.transpose(k!));
  const scaled = d.mul(scores, 1 / Math.sqrt(q!.shape.at(-1)!));
  return d.matmul(d.softmax(d.add(scaled, d.tensor(mask, [T, S]))), v!);
}

Deno.test("attention() without weights and its gradients agree with the definition", async () => {
  for (
    const [T, S, D, W] of [
      [131, 19, 16, 4],
      [19, 131, 16, 4],
      [1, 37, 4, 4],
      [37, 133, 20, 32], // slices of 16 columns, the last of them in part
      [131, 5, 32, 20],
      [9, 131, 64, 40],
    ]
  ) {
    const inputs = [[2, 1, T!, D!], [1, 3, S!, D!], [3, S!, W!]].map((shape) =>
      rng.normal(shape).requireGrad() // leading axes [2, 1], [1, 3] and [3]
    );
    const dy = rng.normal([2, 3, T!, W!]);
    for (const causal of [false, true]) {
      const [q, k, v] = inputs as [d.Tensor, d.Tensor, d.Tensor];
      const got = flashAttention(q, k, v, 1 / Math.sqrt(D!), causal);
      const want = defined(inputs, causal);
      await assertClose(got, want, { rtol: 1e-4, atol: 1e-5 });
      const wanted = d.gradients(want, inputs, { upstream: dy });
      for (
        const [i, gradient] of d.gradients(got, inputs, { upstream: dy })
          .entries()
      ) {
        await assertClose(gradient, wanted[i]!, { rtol: 1e-4, atol: 3e-5 });
      }
    }
  }
});

Deno.test("attention() picks the best keys where scores are huge", async () => {
  // Keys 2 and 3 are equal, so that queries like them share their weight.
  const keys = d.mul(d.oneHot([0, 1, 2, 2], 4), 100);
  const v = rng.normal([4, 8]).requireGrad();
  const y = d.attention(keys, keys, v, { scale: 1e6 }); // scores of 0 and 1e10
  const weights = d.tensor(
    [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0.5, 0.5, 0, 0, 0.5, 0.5],
    [4, 4],
  );
  await assertClose(y, d.matmul(weights, v));
  const dy = rng.normal([4, 8]);
  const [dv] = d.gradients(y, [v], { upstream: dy });
  await assertClose(dv!, d.matmul(weights, dy));
});

Deno.test("attention() takes empty batches, no queries and no keys", async () => {
  const [empty, some] = [d.zeros([0, 3, 4]), d.ones([2, 3, 4])];
  const none = d.zeros([2, 0, 4]).requireGrad();
  const y = d.attention(empty, empty, empty);
  await assertClose(y, empty);
  await assertClose(d.attention(none, some, some), none);
  const unseen = d.attention(some.requireGrad(), none, none);
  await assertClose(unseen, d.zeros([2, 3, 4]));
  const [dq, dk] = d.gradients(d.sum(unseen), [some, none]);
  await assertClose(dq!, d.zeros([2, 3, 4]));
  await assertClose(dk!, d.zeros([2, 0, 4]));
});

Deno.test("multiheadAttention() with one head and plain projections is attention", async () => {
  const E = 4, x = rng.normal([2, 3, E]);
  const identity = d.oneHot([0, 1, 2, 3], E);
  const inProj = d.concat([identity, identity, identity]);
  const y = d.multiheadAttention(
    x,
    inProj,
    d.zeros([3 * E]),
    identity,
    d.zeros([E]),
    1,
  );
  await assertClose(y, d.attention(x, x, x), { rtol: 1e-4, atol: 1e-5 });
});

Deno.test("multiheadAttention() joins the heads in order", async () => {
  const E = 6, heads = 3, x = rng.normal([2, 5, E]);
  const inProj = rng.normal([3 * E, E]), bias = rng.normal([3 * E]);
  const y = d.multiheadAttention(
    x,
    inProj,
    bias,
    d.oneHot([0, 1, 2, 3, 4, 5], E),
    d.zeros([E]),
    heads,
  );
  const [q, k, v] = d.split(d.linear(x, inProj, bias), 3, 2);
  const parts = Array.from({ length: heads }, (_, h) => {
    const [hq, hk, hv] = [q, k, v].map((part) =>
      d.narrow(part!, 2, 2 * h, 2 * h + 2)
    );
    return d.attention(hq!, hk!, hv!);
  });
  await assertClose(y, d.concat(parts, 2), { rtol: 1e-4, atol: 1e-5 });
});

Deno.test("multiheadAttention() has the right gradients", async () => {
  const f = (...[x, w, b, wo, bo]: d.Tensor[]) =>
    d.multiheadAttention(x!, w!, b!, wo!, bo!, 2);
  const inputs = [[1, 3, 4], [12, 4], [12], [4, 4], [4]].map((shape) =>
    rng.normal(shape, 0, 0.5)
  );
  await assertGradient(f, inputs, { step: 3e-3, atol: 5e-3 });
});

Deno.test("attention() names shapes and types that do not fit", () => {
  const x = d.zeros([3, 4]);
  throws(
    () => d.attention(x, d.zeros([3, 5]), x),
    /q is \[3, 4\], k is \[3, 5\]/,
  );
  throws(() => d.attention(x, x, d.zeros([2, 4])), /v is \[2, 4\]/);
  throws(
    () => d.attention(d.zeros([2, 3, 4]), d.zeros([5, 3, 4]), x),
    /b is \[5\]/,
  );
  throws(
    () => d.attention(d.tensor([[1, 2, 3, 4]], [1, 4], "i32"), x, x),
    /must be f32: q is i32/,
  );
  throws(() => {
    d.multiheadAttention(d.zeros([1, 3, 4]), d.zeros([12, 4]), x, x, x, 3);
  }, /multiple of 3 heads/);
});
