import {
  deepStrictEqual,
  rejects,
  strictEqual,
  throws,
} from "node:assert/strict";
import * as d from "../../mod.ts";
import { overwrite } from "../../tensor/tensor.ts";
import { assertClose } from "../_check.ts";

const rng = new d.Rng(5);
const EXACT = { atol: 0, rtol: 0 };

/** Averages of a trajectory in doubles. */
function average(rows: number[][], decay: (t: number) => number): number[] {
  return rows.slice(1).reduce(
    (ema, row, t) => ema.map((e, i) => decay(t) * e + (1 - decay(t)) * row[i]!),
    rows[0]!,
  );
}

for (
  const [warmup, decay] of [[false, 0.99], [true, 0.99], [true, 0.2], [
    false,
    0,
  ]] as const
) {
  Deno.test(`Ema follows its formula, decay ${decay}${warmup ? " with warm-up" : ""}`, async () => {
    const n = 263; // past the workgroup, and a prime
    const rows = await Promise.all(
      Array.from(
        { length: 6 },
        async () => Array.from(await rng.normal([n]).data()),
      ),
    );
    const p = d.parameter(d.tensor(rows[0]!));
    const ema = new d.Ema([p], { decay, warmup });
    for (const row of rows.slice(1)) {
      overwrite(p, Float32Array.from(row));
      ema.update();
    }
    const want = average(
      rows,
      (t) => warmup ? Math.min(decay, (1 + t) / (10 + t)) : decay,
    );
    await assertClose(await (ema.stateDict()["0"] as d.Tensor).data(), want, {
      atol: 1e-6,
    });
    await assertClose(p, rows.at(-1)!);
  });
}

Deno.test("withWeights() lends the averages and gives the weights back, without copies", async () => {
  const layer = new d.Linear(2, 1, rng);
  const ema = new d.Ema(layer, { decay: 0.5 });
  layer.loadStateDict({ weight: d.tensor([[1, 1]]), bias: d.tensor([1]) });
  ema.update();
  const own = layer.weight.storage;
  const lent = (ema.stateDict()["weight"] as d.Tensor).storage;
  const x = d.tensor([[3, 4]]);
  const averages = ema.stateDict();
  const want = d.linear(
    x,
    averages["weight"] as d.Tensor,
    averages["bias"] as d.Tensor,
  );
  const before = d.memory().bytesInUse;
  const y = ema.withWeights(() => {
    strictEqual(layer.weight.storage, lent);
    strictEqual(d.memory().bytesInUse, before);
    return layer.forward(x);
  });
  strictEqual(layer.weight.storage, own);
  await assertClose(y, want, EXACT);
  await assertClose(layer.forward(x), d.tensor([[8]]));
  // Asynchronous bodies are waited for, errors pass and give the weights back.
  strictEqual(
    await ema.withWeights(async () => {
      await layer.bias!.data();
      strictEqual(layer.weight.storage, lent);
      return 7;
    }),
    7,
  );
  strictEqual(layer.weight.storage, own);
  throws(() =>
    ema.withWeights(() => {
      throw new Error("inside");
    }), /inside/);
  await rejects(
    ema.withWeights(() => Promise.reject(new Error("later"))),
    /later/,
  );
  strictEqual(layer.weight.storage, own);
  for (
    const [name, body] of [
      ["withWeights", () => ema.withWeights(() => 0)],
      ["update", () => ema.update()],
      ["stateDict", () => ema.stateDict()],
      ["copyTo", () => ema.copyTo(layer)],
    ] as const
  ) {
    throws(() => ema.withWeights<unknown>(body), {
      message: new RegExp(`Ema.${name} inside`),
    });
  }
  strictEqual(layer.weight.storage, own);
});

Deno.test("weights that were lent are freed by their owners only", async () => {
  const p = d.parameter(d.tensor([1, 2]));
  const ema = new d.Ema({ p }, { decay: 0.5 });
  ema.withWeights(() => d.scope(() => d.scale(p, 2)));
  ema.dispose();
  await assertClose(p, [1, 2]);
  p.dispose();
});

Deno.test("copyTo() fills a model of the same names, or says how they differ", async () => {
  const source = new d.Linear(2, 3, rng), target = new d.Linear(2, 3, rng);
  const ema = new d.Ema(source);
  ema.copyTo(target);
  await assertClose(target.weight, source.weight, EXACT);
  throws(
    () => ema.copyTo(new d.Linear(2, 4, rng)),
    /weight is f32\[3, 2\], want f32\[4, 2\], bias is f32\[3\], want f32\[4\]/,
  );
});

Deno.test("model, optimizer and average fit one file and go on bit for bit", async () => {
  const make = () => {
    const model = new d.Sequential(
      new d.Linear(2, 3, new d.Rng(1)),
      new d.BatchNorm1d(3),
    );
    const optimizer = new d.AdamW(model, { learningRate: 0.1 });
    const ema = new d.Ema(model, { decay: 0.9, warmup: true });
    const step = (x: d.Tensor) =>
      d.scope(() => {
        const loss = d.sum(
          d.square(d.sub(model.forward(x, { training: true }), 1)),
        );
        optimizer.step(d.gradients(loss, model.parameters()));
        ema.update();
      });
    const state = (): d.StateDict => ({
      ...model.stateDict("model."),
      ...optimizer.stateDict("optimizer."),
      ...ema.stateDict("ema."),
    });
    const load = (entries: d.StateDict) => {
      model.loadStateDict(entries, { prefix: "model." });
      optimizer.loadStateDict(entries, { prefix: "optimizer." });
      ema.loadStateDict(entries, { prefix: "ema." });
    };
    return { step, state, load };
  };
  const batches = Array.from({ length: 4 }, () => rng.normal([5, 2]));
  const straight = make(), first = make(), second = make();
  batches.forEach(straight.step);
  batches.slice(0, 2).forEach(first.step);
  second.load(
    d.parseSafetensors(await d.saveSafetensors(first.state())).tensors,
  );
  batches.slice(2).forEach(second.step);
  deepStrictEqual(
    await d.saveSafetensors(second.state()),
    await d.saveSafetensors(straight.state()),
  );
});

Deno.test("Ema refuses a decay outside 0 … 1", () => {
  const p = d.parameter(d.tensor([1]));
  throws(() => new d.Ema([p], { decay: 1.1 }), {
    name: "RangeError",
    message: /1\.1/,
  });
});
