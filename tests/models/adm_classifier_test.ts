import assert from "node:assert/strict";
import {
  AdamW,
  AdmClassifier,
  crossEntropy,
  gradients,
  logSoftmax,
  mul,
  Rng,
  scope,
  sum,
  tensor,
} from "../../mod.ts";
import { AttentionPool } from "../../models/adm_classifier.ts";
import { assertClose, assertGradient } from "../_check.ts";
import { awake, TINIEST } from "./_adm.ts";

const FORM = { ...TINIEST, numClasses: 5, updown: "resBlock" } as const;

Deno.test("AdmClassifier has the reference's names and shapes", () => {
  const shapes = Object.fromEntries(
    Object.entries(new AdmClassifier(FORM, new Rng(0)).stateDict())
      .map(([name, { shape }]) => [name, shape]),
  );
  const want = {
    "time_embed.2.weight": [16, 16],
    "input_blocks.0.0.weight": [4, 1, 3, 3],
    "input_blocks.2.0.in_layers.2.weight": [4, 4, 3, 3],
    "input_blocks.3.0.skip_connection.weight": [8, 4, 1, 1],
    "middle_block.1.qkv.weight": [24, 8, 1],
    "out.0.weight": [8],
    "out.2.positional_embedding": [8, 5],
    "out.2.qkv_proj.weight": [24, 8, 1],
    "out.2.qkv_proj.bias": [24],
    "out.2.c_proj.weight": [5, 8, 1],
    "out.2.c_proj.bias": [5],
  };
  for (const [name, shape] of Object.entries(want)) {
    assert.deepEqual(shapes[name], shape, name);
  }
  const parts = new Set(Object.keys(shapes).map((name) => name.split(".")[0]));
  assert.deepEqual(
    [...parts],
    ["time_embed", "input_blocks", "middle_block", "out"],
  );
});

Deno.test("AttentionPool lets the mean attend to itself and all pixels", async () => {
  const [c, side, heads, out] = [6, 2, 2, 3];
  const pool = awake(new AttentionPool(side, c, heads, out, new Rng(0)));
  const x = new Rng(1).normal([2, c, side, side]);
  const entries = Object.entries(pool.stateDict());
  const state = Object.fromEntries(
    await Promise.all(
      entries.map(async ([name, x]) => [name, await x.data()] as const),
    ),
  );
  const [position, weight, bias, w, b] = [
    "positional_embedding",
    "qkv_proj.weight",
    "qkv_proj.bias",
    "c_proj.weight",
    "c_proj.bias",
  ].map((name) => (...index: [number, number?, number?]) => {
    const [i, columns = 1, j = 0] = index;
    return state[name]![i * columns + j]!;
  });
  const values = await x.data();
  const tokens = 1 + side ** 2, size = c / heads;
  const range = (length: number) => Array.from({ length }, (_, i) => i);
  const total = (terms: number[]) => terms.reduce((a, b) => a + b, 0);
  const want = range(2).flatMap((n) => {
    const pixel = (k: number, s: number) =>
      values[(n * c + k) * (tokens - 1) + s]!;
    const token = (k: number, s: number) =>
      position!(k, tokens, s) +
      (s > 0
        ? pixel(k, s - 1)
        : total(range(tokens - 1).map((s) => pixel(k, s))) / (tokens - 1));
    /** Rows: all queries, all keys, all values, each by head. */
    const project = (row: number, s: number) =>
      bias!(row) + total(range(c).map((k) => weight!(row, c, k) * token(k, s)));
    const pooled = range(c).map((channel) => {
      const head = Math.floor(channel / size);
      const scores = range(tokens).map((s) =>
        Math.exp(
          total(
            range(size).map((k) =>
              project(head * size + k, 0) * project(c + head * size + k, s)
            ),
          ) / Math.sqrt(size),
        )
      );
      return total(
        scores.map((score, s) => score * project(2 * c + channel, s)),
      ) / total(scores);
    });
    return range(out).map((o) =>
      b!(o) + total(pooled.map((value, k) => w!(o, c, k) * value))
    );
  });
  await assertClose(pool.forward(x), want, { atol: 1e-5, rtol: 1e-5 });
});

Deno.test("AdmClassifier has gradients in the image, which guidance needs", async () => {
  const net = awake(new AdmClassifier(FORM, new Rng(0)));
  const x = new Rng(1).normal([2, 1, 4, 4]), t = tensor([3, 700]);
  assert.deepEqual(net.forward(x, t).shape, [2, 5]);
  await assertGradient((x) => logSoftmax(net.forward(x, t)), [x]);
  // Each image has its own: another's class says nothing about it.
  const leaf = x.detach().requireGrad();
  const picked = tensor([0, 1, 0, 0, 0, 0, 0, 0, 0, 0], [2, 5]);
  const chosen = scope(() => {
    const [dx] = gradients(
      sum(mul(logSoftmax(net.forward(leaf, t)), picked)),
      [leaf],
    );
    return dx!;
  });
  const values = await chosen.data();
  assert.ok(values.slice(0, 16).every((value) => value !== 0));
  assert.ok(values.slice(16).every((value) => value === 0));
});

Deno.test("AdmClassifier learns to tell bright from dark", async () => {
  const rng = new Rng(0);
  const net = new AdmClassifier({ ...FORM, numClasses: 2 }, rng);
  const y = [0, 1, 0, 1, 0, 1, 0, 1], n = y.length;
  const noise = await rng.normal([n, 1, 4, 4], 0, 0.5).data();
  const x = tensor(noise.map((v, i) => v + y[i >> 4]! - 0.5), [n, 1, 4, 4]);
  const t = tensor(y.map((_, i) => 100 * i)), wanted = tensor(y, [n], "i32");
  const optimizer = new AdamW(net, { learningRate: 1e-2 });
  const losses: number[] = [];
  for (let step = 0; step < 12; step++) {
    const loss = scope(() => {
      const loss = crossEntropy(net.forward(x, t), wanted);
      optimizer.step(gradients(loss, net.parameters()));
      return loss;
    });
    losses.push(await loss.item());
  }
  assert.ok(losses.at(-1)! < 0.2 * losses[0]!, losses.join(", "));
});

Deno.test("AdmClassifier explains inputs and options that do not fit", () => {
  const rng = new Rng(2);
  const net = new AdmClassifier(FORM, rng);
  const t = tensor([0, 1]);
  assert.throws(
    () => net.forward(rng.normal([2, 1, 8, 8]), t),
    /images must be \[N, C, 4, 4\].*\[2, 1, 8, 8\]/,
  );
  assert.throws(
    () => net.forward(rng.normal([2, 3, 4, 4]), t),
    /must have 1 channels/,
  );
  assert.throws(
    () => net.forward(rng.normal([3, 1, 4, 4]), t),
    /a timestep per image/,
  );
  assert.throws(
    () => new AdmClassifier({ ...FORM, numClasses: 0 }, rng),
    /Cannot make AdmClassifier as numClasses must be whole and positive/,
  );
});
