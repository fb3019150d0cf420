/**
 * Cases of the group `optim`: optimizers, EMA, schedules.
 *
 * @module
 */
import {
  Adam,
  AdamW,
  Ema,
  type HostTensor,
  type Optimizer,
  RMSprop,
  type Schedule,
  schedules,
  SGD,
  type Tensor,
  tensor,
  type TypedArray,
} from "../../mod.ts";
import { overwrite } from "../../tensor/tensor.ts";
import {
  arrayOf,
  type Arrays,
  type Case,
  roleOf,
  type Values,
} from "./case.ts";

type Attrs = Case["attrs"];

const OPTIMIZERS: Readonly<
  Record<
    string,
    // deno-lint-ignore no-explicit-any -- options are checked by name below
    new (parameters: Tensor[], options: any) => Optimizer
  >
> = { sgd: SGD, adam: Adam, adamw: AdamW, rmsprop: RMSprop };

/** Attributes that are options, by our names. */
const OPTIONS: Readonly<Record<string, string>> = {
  momentum: "momentum",
  dampening: "dampening",
  nesterov: "nesterov",
  weight_decay: "weightDecay",
  betas: "betas",
  eps: "eps",
  amsgrad: "amsgrad",
  alpha: "alpha",
  centered: "centered",
};
const NOT_OPTIONS = ["lr", "steps", "layout", "note"];

const SCHEDULES: Readonly<Record<string, (attrs: Attrs) => Schedule>> = {
  lr_constant: (a) => schedules.constant(a.base_lr),
  lr_linear_warmup: (a) =>
    schedules.linearWarmup(a.base_lr, {
      warmupSteps: a.total_iters,
      startFactor: a.start_factor,
      endFactor: a.end_factor,
    }),
  lr_cosine: (a) =>
    schedules.cosine(a.base_lr, { totalSteps: a.T_max, min: a.eta_min }),
  lr_warmup_cosine: (a) =>
    schedules.warmupCosine(a.base_lr, {
      warmupSteps: a.warmup_steps,
      totalSteps: a.total_steps,
      min: a.min_lr,
    }),
  lr_step: (a) =>
    schedules.stepDecay(a.base_lr, { stepSize: a.step_size, gamma: a.gamma }),
  lr_exponential: (a) => schedules.exponential(a.base_lr, a.gamma),
};

/** Runs the trajectory or the schedule of the case. */
export async function runOptim(one: Case, arrays: Arrays): Promise<Values> {
  const schedule = SCHEDULES[one.op];
  if (schedule) {
    const rate = schedule(one.attrs);
    const rates = Float64Array.from({ length: one.attrs.n }, (_, s) => rate(s));
    return { [one.f64![0]!]: rates };
  }
  const named = (letter: string) =>
    one.inputs.filter((name) => roleOf(name).startsWith(`${letter}.`));
  const starts = named("p0").map((name) => arrayOf(arrays, name));
  const parameters = starts.map(({ data, shape }) => tensor(data, shape));
  if (one.op === "ema") {
    const ema = new Ema(parameters, {
      decay: one.attrs.decay,
      warmup: one.attrs.warmup,
    });
    const averages = Object.values(ema.stateDict()).slice(0, starts.length);
    const values = named("traj").map((name) => arrayOf(arrays, name));
    return await record(one, values, averages as Tensor[], (t) => {
      parameters.forEach((p, i) => overwrite(p, rowOf(values[i]!, t)));
      ema.update();
    });
  }
  const Kind = OPTIMIZERS[one.op];
  if (!Kind) throw new Error(`There is no runner for ${one.op}`);
  const options: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(one.attrs)) {
    if (NOT_OPTIONS.includes(name)) continue;
    if (!OPTIONS[name]) throw new Error(`${one.op} has no option for ${name}`);
    options[OPTIONS[name]] = value;
  }
  const optimizer = new Kind(parameters, options);
  const given = named("g").map((name) => arrayOf(arrays, name));
  const { lr } = one.attrs;
  return await record(one, given, parameters, (t) => {
    optimizer.learningRate = Array.isArray(lr) ? lr[t] : lr;
    optimizer.step(given.map((g) => tensor(rowOf(g, t), g.shape.slice(1))));
  });
}

/** Element `t` of the first axis. */
function rowOf({ data, shape }: HostTensor, t: number): TypedArray {
  const size = data.length / shape[0]!;
  return data.slice(t * size, (t + 1) * size);
}

/** Steps through all rows and notes what the tensors hold after each. */
async function record(
  one: Case,
  rows: readonly HostTensor[],
  tensors: readonly Tensor[],
  step: (t: number) => void,
): Promise<Values> {
  const readings: Promise<TypedArray>[][] = tensors.map(() => []);
  for (let t = 0; t < rows[0]!.shape[0]!; t++) {
    step(t);
    tensors.forEach((tensor, i) => readings[i]!.push(tensor.data()));
  }
  const values: Values = {};
  for (const [i, name] of one.outputs.entries()) {
    const parts = await Promise.all(readings[i]!);
    values[name] = parts.flatMap((part) => Array.from(part));
  }
  return values;
}
