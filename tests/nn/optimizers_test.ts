import {
  deepStrictEqual,
  equal,
  strictEqual,
  throws,
} from "node:assert/strict";
import * as d from "../../mod.ts";
import { overwrite } from "../../tensor/tensor.ts";
import { assertClose } from "../_check.ts";

const STEPS = 4;
const rng = new d.Rng(11);
const EXACT = { atol: 0, rtol: 0 };

/** One number's optimizer in doubles: PyTorch's loop, written for one element. */
type Scalar = (p: number, g: number, t: number) => number;

function sgd(
  { lr = 1e-3, momentum = 0, dampening = 0, nesterov = false, decay = 0 },
): Scalar {
  let velocity = 0;
  return (p, g, t) => {
    g += decay * p;
    if (momentum === 0) return p - lr * g;
    velocity = t === 1 ? g : momentum * velocity + (1 - dampening) * g;
    return p - lr * (nesterov ? g + momentum * velocity : velocity);
  };
}

function adam(
  {
    lr = 1e-3,
    betas = [0.9, 0.999],
    eps = 1e-8,
    decay = 0,
    decoupled = false,
    amsgrad = false,
  },
): Scalar {
  let m = 0, v = 0, largest = 0;
  const [b1, b2] = betas as [number, number];
  return (p, g, t) => {
    if (decoupled) p *= 1 - lr * decay;
    else g += decay * p;
    m = b1 * m + (1 - b1) * g;
    v = b2 * v + (1 - b2) * g * g;
    largest = Math.max(largest, v);
    const root = Math.sqrt((amsgrad ? largest : v) / (1 - b2 ** t));
    return p - lr * m / (1 - b1 ** t) / (root + eps);
  };
}

function rmsprop(
  {
    lr = 1e-2,
    alpha = 0.99,
    eps = 1e-8,
    momentum = 0,
    centered = false,
    decay = 0,
  },
): Scalar {
  let square = 0, mean = 0, velocity = 0;
  return (p, g) => {
    g += decay * p;
    square = alpha * square + (1 - alpha) * g * g;
    mean = alpha * mean + (1 - alpha) * g;
    const root = Math.sqrt(square - (centered ? mean * mean : 0)) + eps;
    velocity = momentum * velocity + g / root;
    return p - lr * velocity;
  };
}

type Make = (parameters: d.ParameterSource) => d.Optimizer;
const CASES: [string, Make, () => Scalar][] = [
  ["SGD", (p) => new d.SGD(p), () => sgd({})],
  [
    "SGD with decay",
    (p) => new d.SGD(p, { learningRate: 0.1, weightDecay: 0.2 }),
    () => sgd({ lr: 0.1, decay: 0.2 }),
  ],
  [
    "SGD with momentum and dampening",
    (p) => new d.SGD(p, { learningRate: 0.1, momentum: 0.9, dampening: 0.3 }),
    () => sgd({ lr: 0.1, momentum: 0.9, dampening: 0.3 }),
  ],
  [
    "SGD by Nesterov",
    (p) =>
      new d.SGD(p, {
        learningRate: 0.1,
        momentum: 0.8,
        nesterov: true,
        weightDecay: 0.1,
      }),
    () => sgd({ lr: 0.1, momentum: 0.8, nesterov: true, decay: 0.1 }),
  ],
  ["Adam", (p) => new d.Adam(p), () => adam({})],
  [
    "Adam with decay",
    (p) =>
      new d.Adam(p, {
        learningRate: 0.02,
        betas: [0.5, 0.9],
        eps: 1e-4,
        weightDecay: 0.3,
      }),
    () => adam({ lr: 0.02, betas: [0.5, 0.9], eps: 1e-4, decay: 0.3 }),
  ],
  [
    "Adam with amsgrad",
    (p) =>
      new d.Adam(p, { learningRate: 0.1, betas: [0.9, 0.5], amsgrad: true }),
    () => adam({ lr: 0.1, betas: [0.9, 0.5], amsgrad: true }),
  ],
  [
    "AdamW",
    (p) => new d.AdamW(p),
    () => adam({ decay: 0.01, decoupled: true }),
  ],
  [
    "AdamW with decay",
    (p) => new d.AdamW(p, { learningRate: 0.1, weightDecay: 0.5 }),
    () => adam({ lr: 0.1, decay: 0.5, decoupled: true }),
  ],
  ["RMSprop", (p) => new d.RMSprop(p), () => rmsprop({})],
  [
    "RMSprop with momentum",
    (p) => new d.RMSprop(p, { momentum: 0.9, weightDecay: 0.1, alpha: 0.8 }),
    () => rmsprop({ momentum: 0.9, decay: 0.1, alpha: 0.8 }),
  ],
  [
    "RMSprop, centered",
    (p) => new d.RMSprop(p, { centered: true, alpha: 0.9 }),
    () => rmsprop({ centered: true, alpha: 0.9 }),
  ],
  [
    "RMSprop, centered, with momentum",
    (p) => new d.RMSprop(p, { centered: true, alpha: 0.9, momentum: 0.5 }),
    () => rmsprop({ centered: true, alpha: 0.9, momentum: 0.5 }),
  ],
];

/** Parameters of three shapes, the first past one workgroup, and gradients for some steps. */
function start() {
  const shapes = [[7, 151], [1], []];
  return {
    parameters: shapes.map((shape) => rng.normal(shape).requireGrad()),
    gradients: Array.from(
      { length: STEPS },
      () => shapes.map((shape) => rng.normal(shape, 0.5)),
    ),
  };
}

for (const [name, make, scalar] of CASES) {
  Deno.test(`${name} follows PyTorch's loop in doubles`, async () => {
    const { parameters, gradients } = start();
    const wants = await Promise.all(parameters.map(async (p, i) => {
      const values = Float64Array.from(await p.data());
      const given = await Promise.all(gradients.map((step) => step[i]!.data()));
      return values.map((value, at) => {
        const step = scalar();
        return given.reduce((p, g, t) => step(p, g[at]!, t + 1), value);
      });
    }));
    const optimizer = make(parameters);
    for (const step of gradients) optimizer.step(step);
    for (const [i, want] of wants.entries()) {
      // A centered root of nearly 0 at the first step amplifies rounding.
      await assertClose(await parameters[i]!.data(), want, {
        atol: 3e-6,
        rtol: 3e-5,
      });
    }
  });

  Deno.test(`${name} resumes bit for bit`, async () => {
    const { parameters, gradients } = start();
    const copies = await Promise.all(
      parameters.map(async (p) => d.tensor(await p.data(), p.shape)),
    );
    const straight = make(parameters);
    for (const step of gradients) straight.step(step);
    const before = make(copies);
    for (const step of gradients.slice(0, 2)) before.step(step);
    const saved = await d.saveSafetensors({
      ...before.stateDict("optimizer."),
      ...Object.fromEntries(copies.map((p, i) => [`p${i}`, p])),
    });
    for (const step of gradients.slice(2)) before.step(step); // must not reach what is saved
    const { tensors } = d.parseSafetensors(saved);
    const resumed = copies.map((_, i) =>
      d.tensor(tensors[`p${i}`]!.data, copies[i]!.shape)
    );
    const after = make(resumed);
    after.loadStateDict(tensors, { prefix: "optimizer." });
    for (const step of gradients.slice(2)) after.step(step);
    for (const [i, p] of parameters.entries()) {
      await assertClose(resumed[i]!, p, EXACT);
      await assertClose(copies[i]!, p, EXACT);
    }
  });
}

for (const [name, make] of CASES) {
  Deno.test(`${name} updates an average along as it would be updated afterwards`, async () => {
    const { parameters, gradients } = start();
    const scale = d.tensor(0.7);
    const copies = await Promise.all(
      parameters.map(async (p) => d.tensor(await p.data(), p.shape)),
    );
    const [along, after] = [parameters, copies].map((list) => ({
      optimizer: make(list),
      ema: new d.Ema(list, { decay: 0.9, warmup: true }),
    }));
    for (const step of gradients) {
      along!.optimizer.step(step, { scale, ema: along!.ema });
      after!.optimizer.step(step, { scale });
      after!.ema.update();
    }
    // Another kernel may fuse other products with sums.
    const close = { atol: 1e-6, rtol: 1e-6 };
    for (const [i, p] of parameters.entries()) {
      await assertClose(p, copies[i]!, close);
    }
    const want = after!.ema.stateDict();
    for (const [name, average] of Object.entries(along!.ema.stateDict())) {
      if (average instanceof d.Tensor) {
        await assertClose(average, want[name] as d.Tensor, close);
      } else deepStrictEqual(average, want[name]);
    }
  });
}

Deno.test("step() with scale and average is one dispatch of a captured step, and equals called steps", async () => {
  const make = () => {
    const p = [[5], [3, 67], []].map((shape, i) =>
      new d.Rng(i).normal(shape).requireGrad()
    );
    const optimizer = new d.AdamW(p, { learningRate: 0.1 });
    const ema = new d.Ema(p, { decay: 0.5, warmup: true });
    const body = (fused: boolean) => ({ x }: { x: d.Tensor }) => {
      const found = p.map((value) => d.mul(value, x));
      const { scale, norm } = d.clipScale(found, 1);
      optimizer.step(found, { scale, ema: fused ? ema : undefined });
      if (!fused) ema.update();
      return { norm };
    };
    const state = async () =>
      await d.saveSafetensors({
        ...Object.fromEntries(p.map((value, i) => [`p.${i}`, value])),
        ...optimizer.stateDict("optimizer."),
        ...ema.stateDict("ema."),
      });
    return { body, state };
  };
  const called = make(), replayed = make();
  const inputs = { x: { shape: [] } };
  const apart = d.capture(replayed.body(false), { inputs });
  const step = d.capture(replayed.body(true), { inputs });
  equal(apart.info.dispatches - step.info.dispatches, 1);
  for (const x of [1, -0.25, 3]) {
    step.replay({ x: Float32Array.of(x) });
    d.scope(() => called.body(true)({ x: d.tensor(x) }));
  }
  deepStrictEqual(await replayed.state(), await called.state());
  await step.outputs();
  await step.verify({ x: Float32Array.of(2) });
  apart.dispose();
  step.dispose();
});

Deno.test("step() lets averages follow parameters that have no gradient, too", async () => {
  const a = d.parameter(d.tensor([1])), b = d.parameter(d.tensor([2]));
  const optimizer = new d.SGD({ a, b }, { learningRate: 1 });
  const ema = new d.Ema({ a, b }, { decay: 0.5 });
  d.backward(d.sum(a));
  optimizer.step(undefined, { ema });
  await assertClose(a, [0]);
  await assertClose(ema.stateDict().a as d.Tensor, [0.5]);
  overwrite(b, Float32Array.of(6));
  optimizer.step(undefined, { ema });
  await assertClose(ema.stateDict().b as d.Tensor, [4]);
  strictEqual((ema.stateDict().num_updates as d.HostTensor).data[0], 2);
});

Deno.test("step() takes .grad, leaves parameters without one alone, and counts each apart", async () => {
  const a = d.parameter(d.tensor([1, 2])), b = d.parameter(d.tensor([3]));
  const optimizer = new d.Adam({ a, b }, { learningRate: 0.5 });
  d.backward(d.sum(a));
  optimizer.step();
  await assertClose(a, [0.5, 1.5]); // the first step of Adam is learningRate · sign(g)
  await assertClose(b, [3]);
  optimizer.zeroGrad();
  equal(a.grad, null);
  d.backward(d.sum(b));
  optimizer.step();
  await assertClose(b, [2.5]);
  const { step } = optimizer.stateDict();
  deepStrictEqual((step as d.HostTensor).data, Int32Array.of(1, 1));
});

Deno.test("step() multiplies gradients by a scale that is on the device", async () => {
  const p = d.parameter(d.tensor([1, 1, 1, 1, 1])),
    g = d.tensor([1, 2, 3, 4, 5]);
  const optimizer = new d.SGD([p], { learningRate: 1 });
  optimizer.step([g], { scale: d.tensor([0.1]) });
  await assertClose(p, [0.9, 0.8, 0.7, 0.6, 0.5]);
  await assertClose(g, [1, 2, 3, 4, 5]);
  optimizer.step([g], { scale: d.tensor(0.1) });
  await assertClose(p, [0.8, 0.6, 0.4, 0.2, 0], { atol: 1e-6 });
});

Deno.test("learningRate can change with every step", async () => {
  const p = d.parameter(d.tensor([0])), one = [d.tensor([1])];
  const optimizer = new d.SGD([p]);
  const schedule = d.schedules.linearWarmup(1, {
    warmupSteps: 2,
    startFactor: 0,
  });
  for (let step = 0; step < 4; step++) {
    optimizer.learningRate = schedule(step);
    optimizer.step(one);
  }
  strictEqual(optimizer.learningRate, 1);
  await assertClose(p, [-2.5]);
});

Deno.test("an optimizer takes a module, and its state has PyTorch's names and outlives scopes", async () => {
  const layer = new d.Linear(2, 1, rng);
  let made: d.Optimizer | undefined;
  d.scope(() => {
    made = new d.Adam(layer, { amsgrad: true });
    d.backward(d.sum(layer.forward(d.tensor([[1, 2]]))));
    made.step();
  });
  const state = made!.stateDict();
  deepStrictEqual(Object.keys(state), [
    "step",
    "weight.exp_avg",
    "weight.exp_avg_sq",
    "weight.max_exp_avg_sq",
    "bias.exp_avg",
    "bias.exp_avg_sq",
    "bias.max_exp_avg_sq",
  ]);
  await assertClose(
    state["weight.exp_avg"] as d.Tensor,
    d.tensor([[0.1, 0.2]]),
  );
  deepStrictEqual(
    Object.keys(new d.SGD(layer, { momentum: 0.5 }).stateDict()),
    ["step", "weight.momentum_buffer", "bias.momentum_buffer"],
  );
  deepStrictEqual(
    Object.keys(
      new d.RMSprop({ w: layer.weight }, { momentum: 0.5, centered: true })
        .stateDict(),
    ),
    ["step", "w.square_avg", "w.momentum_buffer", "w.grad_avg"],
  );
  made!.dispose();
  equal((state["weight.exp_avg"] as d.Tensor).isDisposed, true);
  equal(layer.weight.isDisposed, false);
});

Deno.test("optimizers refuse what cannot work, by name", () => {
  const p = d.parameter(d.tensor([1, 2]));
  const refuse = (body: () => unknown, name: string, message: RegExp) =>
    throws(body, { name, message });
  refuse(
    () => new d.SGD([], {}),
    "TypeError",
    /there must be parameters, each once: .* none/,
  );
  refuse(() => new d.SGD([p, p]), "TypeError", /each once: parameters is 0, 1/);
  refuse(
    () => new d.SGD([p], { learningRate: -1 }),
    "RangeError",
    /SGD as learningRate .* -1/,
  );
  refuse(
    () => new d.SGD([p], { momentum: 1 }),
    "RangeError",
    /momentum must be .* below 1/,
  );
  refuse(
    () => new d.SGD([p], { nesterov: true }),
    "RangeError",
    /nesterov needs momentum/,
  );
  refuse(
    () => new d.Adam([p], { betas: [0.9, 1] }),
    "RangeError",
    /Adam as betas\[1\]/,
  );
  refuse(
    () => new d.AdamW([p], { eps: NaN }),
    "RangeError",
    /AdamW as eps .* NaN/,
  );
  refuse(
    () => new d.RMSprop([p], { alpha: -0.1 }),
    "RangeError",
    /RMSprop as alpha/,
  );
  const adam = new d.Adam({ w: p });
  refuse(() => adam.learningRate = NaN, "RangeError", /learningRate/);
  refuse(() => adam.step(), "TypeError", /gradients is 0, parameters is 1/);
  refuse(() => adam.step([]), "TypeError", /gradients is 0, parameters is 1/);
  refuse(
    () => adam.step([d.tensor([1])]),
    "TypeError",
    /w is \[2\], its gradient is f32\[1\]/,
  );
  refuse(
    () => adam.step([d.tensor([1, 1])], { scale: d.tensor([1, 1]) }),
    "TypeError",
    /scale must be one number: scale is \[2\]/,
  );
  refuse(
    () =>
      adam.step([d.tensor([1, 1])], {
        ema: new d.Ema([d.parameter(d.tensor([1, 2]))]),
      }),
    "TypeError",
    /ema must average the parameters of the optimizer, in their order: parameters is w/,
  );
  refuse(
    () =>
      adam.loadStateDict(new d.SGD({ w: p }, { momentum: 0.5 }).stateDict()),
    "TypeError",
    /state of Adam .* missing \(2\): w.exp_avg \[2\], w.exp_avg_sq \[2\]; unexpected \(1\): w.momentum_buffer/,
  );
  deepStrictEqual(
    (adam.stateDict().step as d.HostTensor).data,
    Int32Array.of(0),
  );
});
