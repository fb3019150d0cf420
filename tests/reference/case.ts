/**
 * What the runners of the reference groups share: a case, its file, and the values they hand back.
 *
 * @module
 */
import {
  add,
  gradients,
  type HostTensor,
  mul,
  sum,
  type Tensor,
  tensor,
} from "../../mod.ts";

/** One entry of `index.json`. */
export interface Case {
  readonly file: string;
  readonly name: string;
  readonly op: string;
  // deno-lint-ignore no-explicit-any -- every op has its own
  readonly attrs: Readonly<Record<string, any>>;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly upstream: string | Readonly<Record<string, string>> | null;
  readonly grads: Readonly<Record<string, string>>;
  readonly params?: Readonly<Record<string, string>>;
  readonly tolerance: Readonly<Record<string, { atol: number; rtol: number }>>;
  readonly f64?: readonly string[];
}

/** Arrays of the file by name. */
export type Arrays = Readonly<Record<string, HostTensor>>;

/** Computed values by the names of the tensors in the file; doubles under the name without `.hi`. */
export type Values = Record<string, Tensor | ArrayLike<number>>;

/** Computes the outputs and gradients of a case; null for what the library does not have yet. */
export type Runner = (
  one: Case,
  arrays: Arrays,
) => Values | Promise<Values | null>;

/** The part of a tensor's name after the last slash: its role. */
export function roleOf(name: string): string {
  return name.slice(name.lastIndexOf("/") + 1);
}

/** An array of the file. */
export function arrayOf(arrays: Arrays, name: string): HostTensor {
  if (!Object.hasOwn(arrays, name)) throw new Error(`The file lacks ${name}`);
  return arrays[name]!;
}

/** An array of the file on the device. */
export function upload(arrays: Arrays, name: string): Tensor {
  const { data, shape } = arrayOf(arrays, name);
  return tensor(data, shape);
}

/** The inputs of a case on the device, by role; those with a gradient ask for it. */
export function inputsOf(one: Case, arrays: Arrays): Record<string, Tensor> {
  return Object.fromEntries(one.inputs.map((name) => {
    const input = upload(arrays, name);
    return [roleOf(name), name in one.grads ? input.requireGrad() : input];
  }));
}

/** Outputs by role, and the gradients of the inputs, under their names in the file. */
export function answer(
  one: Case,
  arrays: Arrays,
  inputs: Readonly<Record<string, Tensor>>,
  outputs: Readonly<Record<string, Tensor>>,
): Values {
  const values: Values = Object.fromEntries(
    one.outputs.filter((name) => roleOf(name) in outputs)
      .map((name) => [name, outputs[roleOf(name)]!]),
  );
  const wanted = Object.entries(one.grads);
  if (wanted.length === 0 || one.upstream === null) return values;
  const arriving = typeof one.upstream === "string"
    ? { [one.outputs[0]!]: one.upstream }
    : one.upstream;
  const leaves = wanted.map(([name]) => inputs[roleOf(name)]!);
  const ends = Object.entries(arriving).map(([output, dy]) =>
    [outputs[roleOf(output)]!, upload(arrays, dy)] as const
  );
  const [[first, dy] = []] = ends;
  const found = ends.length === 1
    ? gradients(first!, leaves, { upstream: dy })
    : gradients(
      ends.map(([output, dy]) => sum(mul(output, dy))).reduce((a, b) =>
        add(a, b)
      ),
      leaves,
    );
  wanted.forEach(([, name], i) => values[name] = found[i]!);
  return values;
}
