/**
 * Cases of the group `rng`.
 *
 * @module
 */
import {
  exp,
  gradients,
  indexSelect,
  max,
  mul,
  narrow,
  neg,
  Rng,
  sum,
  tensor,
} from "../../mod.ts";
import { philox4x32 } from "../../tensor/philox.ts";
import {
  arrayOf,
  type Arrays,
  type Case,
  roleOf,
  type Values,
} from "./case.ts";

type Block = [number, number, number, number];
type Key = [number, number];

/** An input as unsigned words. */
function words(one: Case, arrays: Arrays, role: string): number[] {
  const name = one.inputs.find((input) => roleOf(input) === role);
  if (!name) throw new Error(`${one.name} has no input ${role}`);
  return Array.from(arrayOf(arrays, name).data, (word) => word >>> 0);
}

/** Generates what the case asks for. */
export async function runRng(one: Case, arrays: Arrays): Promise<Values> {
  const [first] = one.outputs as [string];
  const shape = arrayOf(arrays, first).shape;
  const key = words(one, arrays, "key");
  const rng = () => new Rng(key[0]!, key[1]!);
  switch (one.op) {
    case "philox4x32_10": {
      const counters = words(one, arrays, "counter");
      const rows = counters.length / 4;
      const out = Array.from({ length: rows }, (_, row) =>
        philox4x32(
          counters.slice(4 * row, 4 * row + 4) as Block,
          key.slice(2 * row, 2 * row + 2) as Key,
        ));
      return { [first]: Uint32Array.from(out.flat()) };
    }
    case "philox4x32_10_blocks": {
      const blocks = words(one, arrays, "block");
      const out = blocks.flatMap((block) =>
        philox4x32([block, 0, 0, 0], key as Key)
      );
      return { [first]: Uint32Array.from(out) };
    }
    case "philox_stream":
      return { [first]: rng().words(shape) };
    case "philox_uniform":
      return { [first]: rng().uniform(shape) };
    case "philox_normal":
      return { [first]: rng().normal(shape) };
    case "philox_moments": {
      const { n } = one.attrs as { n: number };
      const values: Values = {};
      for (const name of one.outputs) {
        const kind = roleOf(name);
        const drawn = kind === "normal"
          ? rng().normal([n])
          : rng().uniform([n]);
        const stats = momentsOf(await drawn.data());
        values[name] = kind === "normal"
          ? stats
          : [stats[0]!, stats[1]!, stats[4]!, stats[5]!];
      }
      return values;
    }
    case "large_elementwise":
      return largeElementwise(one, rng());
    default:
      throw new Error(`There is no runner for ${one.op}`);
  }
}

/** Mean, variance, third and fourth raw moment, least and largest. */
function momentsOf(data: ArrayLike<number>): number[] {
  const list = Array.from(data), n = list.length;
  const raw = (power: number) =>
    list.reduce((total, v) => total + v ** power, 0) / n;
  const mean = raw(1);
  const variance = list.reduce((total, v) => total + (v - mean) ** 2, 0) / n;
  const [low, high] = list.reduce(
    ([low, high], v) => [Math.min(low, v), Math.max(high, v)],
    [Infinity, -Infinity],
  );
  return [mean, variance, raw(3), raw(4), low, high];
}

/** `y = x e⁻ˣ` of more elements than one dispatch axis counts, and its gradient. */
function largeElementwise(one: Case, rng: Rng): Values {
  const { n } = one.attrs as { n: number };
  const x = rng.uniform([n]).requireGrad();
  const y = mul(x, exp(neg(x)));
  const [grad] = gradients(sum(y), [x]) as [typeof x];
  const parts: Values = {
    x_last8: narrow(x, 0, n - 8, n),
    y_first8: narrow(y, 0, 0, 8),
    y_last8: narrow(y, 0, n - 8, n),
    grad_last8: narrow(grad, 0, n - 8, n),
    y_spread64: indexSelect(
      y,
      0,
      tensor(
        Int32Array.from({ length: 64 }, (_, i) => Math.floor(i * (n - 1) / 63)),
      ),
    ),
    "x_sum.hi": sum(x),
    "y_sum.hi": sum(y),
    "grad_sum.hi": sum(grad),
    "y_max.hi": max(y),
  };
  const prefix = one.outputs[0]!.slice(0, one.outputs[0]!.lastIndexOf("/") + 1);
  return Object.fromEntries(
    Object.entries(parts).map(([role, value]) => [prefix + role, value]),
  );
}
