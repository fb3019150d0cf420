import {
  deepStrictEqual,
  equal,
  strictEqual,
  throws,
} from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose } from "../_check.ts";

const rng = new d.Rng(7);

class Block extends d.Module {
  readonly conv1 = new d.Conv2d(2, 3, 3, rng);
  readonly norm = new d.BatchNorm2d(3);
}

class Net extends d.Module {
  readonly label?: d.Embedding;
  readonly gain = d.parameter(d.tensor([2]));
  readonly down: Block[] = [new Block(), new Block()];
  readonly mid = { first: new d.Linear(3, 1, rng), second: null };
  readonly tail = new d.Sequential(
    new d.Linear(3, 4, rng),
    d.relu,
    new d.Linear(4, 2, rng, { bias: false }),
  );
  readonly table = d.tensor([1, 2, 3]); // neither parameter nor buffer
  readonly name = "net";
}

const BLOCK = [
  "conv1.weight",
  "conv1.bias",
  "norm.weight",
  "norm.bias",
  "norm.running_mean",
  "norm.running_var",
];

Deno.test("Module finds parameters and buffers by PyTorch's paths, in order", () => {
  const net = new Net();
  deepStrictEqual(Object.keys(net.stateDict()), [
    "gain",
    ...BLOCK.map((name) => `down.0.${name}`),
    ...BLOCK.map((name) => `down.1.${name}`),
    "mid.first.weight",
    "mid.first.bias",
    "tail.0.weight",
    "tail.0.bias",
    "tail.2.weight",
  ]);
  deepStrictEqual(
    Object.keys(net.namedBuffers()),
    ["down.0", "down.1"].flatMap((path) => [
      `${path}.norm.running_mean`,
      `${path}.norm.running_var`,
    ]),
  );
  strictEqual(net.namedParameters()["tail.2.weight"]!.shape.join(), "2,4");
  const block = 3 * 2 * 9 + 3 + 3 + 3;
  strictEqual(net.parameterCount, 1 + 2 * block + 4 + 16 + 8);
  strictEqual(
    Object.keys(net.stateDict("model."))[0],
    "model.gain",
  );
  net.dispose();
});

Deno.test("Module counts a shared parameter once, and saves it under both paths", () => {
  const a = new d.Linear(2, 2, rng);
  const tied = new d.Sequential(a, a);
  deepStrictEqual(Object.keys(tied.namedParameters()), ["0.weight", "0.bias"]);
  strictEqual(Object.keys(tied.stateDict()).length, 4);
  strictEqual(tied.parameterCount, 6);
});

Deno.test("parameter() and buffer() survive scopes; only parameters get gradients", async () => {
  let norm: d.BatchNorm1d | undefined;
  d.scope(() => {
    norm = new d.BatchNorm1d(2);
  });
  const layer = norm!;
  await assertClose(layer.running_var, [1, 1]);
  equal(layer.weight!.requiresGrad, true);
  equal(layer.running_mean.requiresGrad, false);
});

Deno.test("loadStateDict() brings back what stateDict() saved", async () => {
  const source = new Net(), target = new Net(), third = new Net();
  const { tensors } = d.parseSafetensors(
    await d.saveSafetensors(source.stateDict("model.")),
  );
  const before = target.gain.storage;
  target.loadStateDict(
    { ...tensors, "ema.gain": tensors["model.gain"]! },
    { prefix: "model." },
  );
  third.loadStateDict(source.stateDict()); // on the device
  strictEqual(target.gain.storage, before);
  const bytes = await d.saveSafetensors(source.stateDict());
  deepStrictEqual(await d.saveSafetensors(target.stateDict()), bytes);
  deepStrictEqual(await d.saveSafetensors(third.stateDict()), bytes);
});

Deno.test("loadStateDict() names all problems at once and changes nothing", async () => {
  const layer = new d.Sequential(
    new d.Linear(2, 3, rng),
    new d.GroupNorm(1, 3),
  );
  const before = await layer.stateDict()["0.bias"]!.data();
  const state: d.StateDict = {
    ...layer.stateDict(),
    "0.bias": d.tensor([9, 9, 9]),
    "0.weight": d.tensor([[1, 2, 3], [4, 5, 6]]),
    "1.weight": { dtype: "i32", shape: [3], data: new Int32Array(3) },
    constructor: d.tensor([[1]]),
  };
  delete state["1.bias"];
  throws(() => layer.loadStateDict(state), {
    name: "TypeError",
    message:
      "Cannot load the state of Sequential as names, shapes and types must match: " +
      "missing (1): 1.bias [3]; unexpected (1): constructor [1, 1]; " +
      "different (2): 0.weight is f32[2, 3], want f32[3, 2], 1.weight is i32[3], want f32[3]",
  });
  throws(() => layer.loadStateDict(state, { strict: false }), {
    name: "TypeError",
    message: /must match: different \(2\)/,
  });
  await assertClose(layer.stateDict()["0.bias"]!, before, { atol: 0, rtol: 0 });
  const short: d.HostTensor = {
    dtype: "f32",
    shape: [3],
    data: new Float32Array(2),
  };
  throws(
    () => layer.loadStateDict({ ...layer.stateDict(), "0.bias": short }),
    /0.bias is f32\[3\] of 2 elements, want f32\[3\]/,
  );
});

Deno.test("loadStateDict() that is not strict tells what did not match", async () => {
  const layer = new d.Linear(1, 2, rng);
  deepStrictEqual(
    layer.loadStateDict({ bias: d.tensor([5, 6]), odd: d.tensor([1]) }, {
      strict: false,
    }),
    { missing: ["weight"], unexpected: ["odd"] },
  );
  await assertClose(layer.bias!, [5, 6]);
});

Deno.test("loadStateDict() lists many problems in part, with their number", () => {
  const layers = Array.from({ length: 30 }, () => new d.Linear(1, 1, rng));
  throws(
    () => new d.Sequential(...layers).loadStateDict({}),
    /missing \(60\): 0\.weight \[1, 1\], .* and 40 more/,
  );
});

Deno.test("loadStateDict() ignores num_batches_tracked beside running statistics only", () => {
  const norm = new d.BatchNorm2d(2);
  const tracked = { dtype: "i32" as const, shape: [], data: Int32Array.of(3) };
  norm.loadStateDict({ ...norm.stateDict(), num_batches_tracked: tracked });
  throws(
    () =>
      norm.loadStateDict({
        ...norm.stateDict(),
        "x.num_batches_tracked": tracked,
      }),
    /unexpected \(1\): x.num_batches_tracked/,
  );
});

Deno.test("zeroGrad() and dispose() free gradients and parameters", async () => {
  const layer = new d.Linear(2, 1, rng);
  d.backward(d.sum(layer.forward(d.tensor([[1, 2]]))));
  await assertClose(layer.weight.grad!, [1, 2]);
  const { grad } = layer.weight;
  layer.zeroGrad();
  equal(layer.weight.grad, null);
  equal(grad!.isDisposed, true);
  layer.dispose();
  equal(layer.weight.isDisposed, true);
});
