/**
 * What convolutions do to their sums before they write them: `activation(sum + bias + add)`.
 *
 * @module
 */
import type { OpContext } from "../tensor/autograd.ts";
import { isRecording } from "../tensor/context.ts";
import { empties, type Kernel, requireThat } from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { assemble, fits, moved, partOf, spansOf, summed } from "./_pieces.ts";
import { runUnary, slopeOf } from "./_unary.ts";
import { add as addition } from "./binary.ts";
import { sum } from "./reduce.ts";

/** An activation that a convolution can end with. */
export type Activation = "relu" | "leakyRelu" | "silu" | "sigmoid" | "tanh";

/** What a convolution does to its result before it is written, without further passes over it. */
export interface Epilogue {
  /**
   * Added to the result: of its shape, such as what a residual block skips, or
   * `[N, outChannels, 1, 1]`, such as an embedding of the timestep.
   */
  add?: Tensor;
  /** Applied last; defaults to none. */
  activation?: Activation;
  /** Slope of `leakyRelu` below 0, which must not be negative; defaults to 0.01. */
  negativeSlope?: number;
}

/** The part of an epilogue that is not a tensor, for an op's attributes. */
export interface Ending {
  /** Whether a bias stands before `add` among the inputs. */
  readonly hasBias: boolean;
  readonly activation: Activation | undefined;
  readonly negativeSlope: number;
}

/** Names of activations in WGSL. */
const CODES: Readonly<Record<Activation, string>> = {
  relu: "RELU",
  leakyRelu: "LEAKY_RELU",
  silu: "SILU",
  sigmoid: "SIGMOID",
  tanh: "TANH",
};

/** Their gradients. */
const SLOPES = Object.fromEntries(
  Object.entries(CODES).map(([name, code]) => [name, slopeOf(name, code)]),
) as Record<Activation, ReturnType<typeof slopeOf>>;

/** What the kernels that contain `_epilogue.wgsl` are given for it. */
export interface EpilogueArguments {
  readonly tensors: { readonly addend: Tensor };
  readonly constants: Readonly<Record<string, number>>;
}

/** Arguments of a kernel for an epilogue; a binding must hold something, read or not. */
export function epilogueArguments(
  kernel: Kernel,
  { add, activation, negativeSlope = 0 }: Epilogue,
): EpilogueArguments {
  return {
    tensors: { addend: add ?? empties([0]) },
    constants: {
      ADDEND: kernel.code(
        !add ? "NOTHING" : isPerChannel(add) ? "PER_CHANNEL" : "PER_PIXEL",
      ),
      ACTIVATION: kernel.code(activation ? CODES[activation] : "IDENTITY"),
      NEGATIVE_SLOPE: activation === "leakyRelu" ? negativeSlope : 0,
    },
  };
}

/** Whether there is nothing to do. */
export function endsPlainly({ add, activation }: Epilogue): boolean {
  return !add && !activation;
}

/** Does as kernels do to sums that have been written. */
export function finish(
  sums: Tensor,
  { add, activation, negativeSlope = 0 }: Epilogue,
): Tensor {
  const y = add ? addition(sums, add) : sums;
  return activation
    ? runUnary("forward", CODES[activation], { a: negativeSlope, b: 0 }, {
      x: y,
    })
    : y;
}

function isPerChannel(add: Tensor): boolean {
  return add.shape[2] === 1 && add.shape[3] === 1;
}

/** Inputs of an op after x and weight, and its attributes; throws where the epilogue does not fit. */
export function endingOf(
  operation: string,
  bias: Tensor | undefined,
  { add, activation, negativeSlope = 0.01 }: Epilogue,
  shape: readonly number[],
): { inputs: Tensor[]; ending: Ending } {
  if (add) {
    const perChannel = [...shape.slice(0, 2), 1, 1];
    requireThat(
      add.dtype === "f32" &&
        [shape, perChannel].some((wanted) =>
          wanted.join() === add.shape.join()
        ),
      operation,
      `add must be f32 [${shape.join(", ")}] or [${perChannel.join(", ")}]`,
      { add: String(add) },
    );
  }
  if (activation !== undefined && !Object.hasOwn(CODES, activation)) {
    throw new RangeError(
      `Cannot apply ${operation} as activation must be one of ${
        Object.keys(CODES).join(", ")
      }: it is ${activation}`,
    );
  }
  if (!(negativeSlope >= 0)) {
    throw new RangeError(
      `Cannot apply ${operation} as negativeSlope must not be negative: it is ${negativeSlope}`,
    );
  }
  return {
    inputs: [bias, add].filter((x) => x !== undefined),
    ending: { hasBias: bias !== undefined, activation, negativeSlope },
  };
}

/** Whether the slope of an activation shows in its result, as that has the sign of what came in. */
function slopeShows(activation: Activation): boolean {
  return activation === "relu" || activation === "leakyRelu";
}

/**
 * The forward pass of an op: `run` with what it shall add and apply. An activation whose gradient
 * needs what it was applied to is, where there will be one, applied afterwards.
 */
export function finished(
  [, , ...more]: readonly Tensor[],
  { hasBias, activation, negativeSlope }: Ending,
  context: OpContext,
  run: (bias: Tensor | undefined, ending: Epilogue) => Tensor,
): Tensor {
  const [bias, add] = hasBias ? more : [undefined, more[0]];
  const needsInput = activation && !slopeShows(activation);
  if (!needsInput || !context.needs.includes(true)) {
    return run(bias, { add, activation, negativeSlope });
  }
  const before = run(bias, { add });
  context.save(before);
  return finish(before, { activation, negativeSlope });
}

/**
 * The gradient of the sums, from that of the result.
 *
 * @param sumsAgain Makes the sums by ops, for a gradient that is recorded.
 */
export function gradientOfSums(
  dy: Tensor,
  { activation, negativeSlope }: Ending,
  context: OpContext,
  sumsAgain: () => Tensor,
): Tensor {
  if (!activation) return dy;
  const x = slopeShows(activation)
    ? context.output
    : isRecording()
    ? sumsAgain()
    : context.saved[0]!;
  return SLOPES[activation](x, dy, { a: negativeSlope, b: 0 });
}

/** The gradient of the bias: the sum over images and pixels. */
function biasGradient(dy: Tensor): Tensor {
  if (fits(dy.shape)) return sum(dy, { axis: [0, 2, 3] });
  const image = dy.shape.with(0, 1);
  if (fits(image)) {
    return summed(
      spansOf(dy.shape, 0),
      (part) => biasGradient(partOf(dy, 0, part)),
    );
  }
  return assemble(
    [dy.shape[1]!],
    0,
    spansOf(image, 1),
    (part, place) => moved(biasGradient(partOf(dy, 1, part)), place),
  );
}

/** Gradients of bias and `add`, from that of the sums. */
export function gradientsOfEnding(
  [, , ...more]: readonly Tensor[],
  dSums: Tensor,
  { hasBias }: Ending,
  { needs: [, , ...needs] }: OpContext,
): (Tensor | null)[] {
  const add = more[Number(hasBias)], needsAdd = needs[Number(hasBias)];
  const planes = add && needsAdd && isPerChannel(add)
    ? sum(dSums, { axis: [2, 3], keepDims: true })
    : null;
  const dAdd = needsAdd ? planes ?? dSums : null;
  if (!hasBias) return [dAdd];
  return [
    needs[0] ? biasGradient(planes ?? dSums) : null,
    dAdd,
  ];
}
