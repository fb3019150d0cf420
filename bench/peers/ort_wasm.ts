/**
 * onnxruntime-web's WebAssembly build, as the benchmark asks for it: what is to be run becomes one ONNX
 * graph and one session, which computes forward only.
 *
 * A session copies what it is given and what it returns. So that this does not count, inputs are
 * constants of the graph, as weights are, nothing is folded, and a timed run returns one number of its
 * result.
 *
 * On a busy machine this runtime sometimes loses one of its threads during a network's run, which then
 * never ends but by the caller's timeout.
 *
 * The package is imported by a computed name and typed loosely, so that neither a user of the library
 * nor a type check downloads it.
 *
 * @module
 */
// deno-lint-ignore-file no-explicit-any
import { sizeOf } from "../data.ts";
import type { Library } from "../library.ts";
import { cpuName } from "./cpu_name.ts";
import { type Attributes, onnxModel, type Value } from "./onnx.ts";

const VERSION = "1.30.0";

/** A tensor of a graph; of a run's result, also what runs the graph and reads it, or one number of it. */
type Tensor = Value & { run?: (output: "all" | "one") => Promise<any> };

/** Opens onnxruntime-web on the CPU. */
export async function openOrtWasm(threads: number): Promise<Library<Tensor>> {
  const ort: any = await import(`npm:onnxruntime-web@${VERSION}`);
  ort.env.wasm.numThreads = threads;
  const options = {
    executionProviders: ["wasm"],
    graphOptimizationLevel: "all",
    extra: {
      optimization: { disable_specified_optimizers: "ConstantFolding" },
    },
  };
  // The first session loads the library, which belongs to no item.
  const nothing = apply("Identity", [floats([0])], [1]);
  await ort.InferenceSession.create(onnxModel({ nothing }), options);
  /** Runs come one after the other, since sessions share a stack. */
  let last: Promise<unknown> = Promise.resolve();
  const compile = (
    f: (...inputs: Tensor[]) => Tensor[],
    inputs: readonly Tensor[],
  ) => {
    const [all] = f(...inputs) as [Tensor];
    const flat = reshape(all, [sizeOf(all.shape)]);
    const one = apply("Slice", [flat, ints([0]), ints([1])], [1]);
    let session: Promise<any> | undefined;
    const run = async (output: "all" | "one") => {
      session ??= ort.InferenceSession.create(onnxModel({ all, one }), options);
      return (await (await session).run({}, [output]))[output].data;
    };
    return () => {
      last = last.then(() => run("one"));
      return [{ shape: all.shape, run }];
    };
  };
  return {
    name: `ort-wasm-${VERSION}`,
    adapter: cpuName(threads),
    tensor: (data, shape) => ({ data, shape }),
    read: (x) => x.run!("all"),
    wait: async () => void await last,
    free: () => {},
    compile,
    compileNetwork: (f, inputs) => compile((...xs) => [f(...xs)], inputs),
    gradients: noKernel,
    train: noKernel,
    constant: (f) => f(),
    add: (a, b) => elementwise("Add", a, b),
    mul: (a, b) => elementwise("Mul", a, b),
    mulAdd: (a, b, c) => elementwise("Add", elementwise("Mul", a, b), c),
    exp: (x) => elementwise("Exp", x),
    sin: (x) => elementwise("Sin", x),
    cos: (x) => elementwise("Cos", x),
    tanh: (x) => elementwise("Tanh", x),
    relu: (x) => elementwise("Relu", x),
    leakyRelu: noKernel,
    silu,
    sum: (x) => apply("ReduceSum", [x], [], { keepdims: 0 }),
    softmax: (x) => apply("Softmax", [x], x.shape, { axis: -1 }),
    matmul,
    linear: (x, weight, bias) =>
      apply("Gemm", [x, weight, bias], [x.shape[0]!, weight.shape[0]!], {
        transB: 1,
      }),
    conv2d(x, weight, bias, { stride, padding }) {
      const [n, , height, width] = x.shape as [number, number, number, number];
      const size = (from: number) =>
        Math.floor((from + 2 * padding - weight.shape[2]!) / stride) + 1;
      return apply(
        "Conv",
        bias === null ? [x, weight] : [x, weight, bias],
        [n, weight.shape[0]!, size(height), size(width)],
        { strides: [stride, stride], pads: Array(4).fill(padding) },
      );
    },
    convTranspose2d: noKernel,
    groupNorm,
    groupNormSilu: (x, groups, weight, bias) =>
      silu(groupNorm(x, groups, weight, bias)),
    batchNorm: noKernel,
    attention: (q, k, v) => attention(q, transpose(k), v),
    imageAttention(qkv, heads) {
      const [n, c, height, width] = qkv.shape as [
        number,
        number,
        number,
        number,
      ];
      const shape = [n, 3, heads, c / 3 / heads, height * width];
      const parts = reshape(qkv, shape);
      const [q, k, v] = [0, 1, 2].map((i) =>
        apply("Gather", [parts, ints([i], [])], shape.toSpliced(1, 1), {
          axis: 1,
        })
      ) as [Tensor, Tensor, Tensor];
      const y = transpose(attention(transpose(q), k, transpose(v)));
      return reshape(y, [n, c / 3, height, width]);
    },
    upsample(x) {
      const [n, c, height, width] = x.shape as [number, number, number, number];
      return apply(
        "Resize",
        [x, floats([]), floats([1, 1, 2, 2])],
        [n, c, 2 * height, 2 * width],
        { coordinate_transformation_mode: "asymmetric", nearest_mode: "floor" },
      );
    },
    concatChannels: concat,
    addPerChannel: (x, bias) =>
      elementwise("Add", x, reshape(bias, [...bias.shape, 1, 1])),
    flatten: noKernel,
    unflatten: noKernel,
    concat,
    halves: noKernel,
    outer: (a, b) => elementwise("Mul", reshape(a, [sizeOf(a.shape), 1]), b),
    mseLoss: noKernel,
    bceWithLogits: noKernel,
    gaussianKl: noKernel,
  };
}

/** For gradients, and for what is asked only where there are gradients too. */
function noKernel(): never {
  throw new Error("no kernel for gradients");
}

function apply(
  op: string,
  inputs: Tensor[],
  shape: readonly number[],
  attributes?: Attributes,
): Tensor {
  return { shape, node: { op, inputs, attributes } };
}

function floats(values: readonly number[], shape = [values.length]): Tensor {
  return { shape, data: Float32Array.from(values) };
}

function ints(values: readonly number[], shape = [values.length]): Tensor {
  return { shape, data: BigInt64Array.from(values, BigInt) };
}

/** Of the shape of `x`, where others may be broadcast. */
function elementwise(op: string, x: Tensor, ...more: (Tensor | number)[]) {
  const tensors = more.map((y) => typeof y === "number" ? floats([y], []) : y);
  const shape = [x, ...tensors].map(({ shape }) => shape);
  const rank = Math.max(...shape.map(({ length }) => length));
  return apply(
    op,
    [x, ...tensors],
    Array.from(
      { length: rank },
      (_, i) => Math.max(...shape.map((axes) => axes.at(i - rank) ?? 1)),
    ),
  );
}

function reshape(x: Tensor, shape: readonly number[]): Tensor {
  return apply("Reshape", [x, ints(shape)], shape);
}

/** Swaps the last two axes. */
function transpose(x: Tensor): Tensor {
  const swap = <T>(list: readonly T[]) => [
    ...list.slice(0, -2),
    ...list.slice(-2).reverse(),
  ];
  return apply("Transpose", [x], swap(x.shape), {
    perm: swap(x.shape.map((_, i) => i)),
  });
}

function concat(a: Tensor, b: Tensor): Tensor {
  const shape = a.shape.with(1, a.shape[1]! + b.shape[1]!);
  return apply("Concat", [a, b], shape, { axis: 1 });
}

function matmul(a: Tensor, b: Tensor): Tensor {
  return apply("MatMul", [a, b], [...a.shape.slice(0, -1), b.shape.at(-1)!]);
}

function silu(x: Tensor): Tensor {
  return elementwise("Mul", x, elementwise("Sigmoid", x));
}

/** As PyTorch exports it. */
function groupNorm(
  x: Tensor,
  groups: number,
  weight: Tensor,
  bias: Tensor,
): Tensor {
  const shape = [x.shape[0]!, groups, sizeOf(x.shape) / x.shape[0]! / groups];
  const unit = apply(
    "InstanceNormalization",
    [
      reshape(x, shape),
      floats(Array(groups).fill(1)),
      floats(Array(groups).fill(0)),
    ],
    shape,
    { epsilon: { float: 1e-5 } },
  );
  const perChannel = (p: Tensor) => reshape(p, [...p.shape, 1, 1]);
  return elementwise(
    "Add",
    elementwise("Mul", reshape(unit, x.shape), perChannel(weight)),
    perChannel(bias),
  );
}

/** `kT` has its tokens last. */
function attention(q: Tensor, kT: Tensor, v: Tensor): Tensor {
  const scores = elementwise("Mul", matmul(q, kT), 1 / Math.sqrt(q.shape[3]!));
  const weights = apply("Softmax", [scores], scores.shape, { axis: -1 });
  return matmul(weights, v);
}
