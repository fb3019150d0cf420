/**
 * Elementwise functions of one tensor. Each returns a tensor of the same shape and, unless marked,
 * has a gradient.
 *
 * @module
 */
import { apply, type Op } from "../tensor/autograd.ts";
import { requireThat } from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Live } from "../tensor/trace.ts";
import { runUnary, slopeOf, type UnaryAttrs } from "./_unary.ts";

/** Makes the public function of one kind in `unary.wgsl`; `a` and `b` are its further numbers. */
function unary(
  name: string,
  kind: string,
): (x: Tensor, a?: number | Live, b?: number | Live) => Tensor {
  const slope = slopeOf(name, kind);
  const op: Op<[x: Tensor], UnaryAttrs> = {
    name,
    forward: ([x], attrs) => runUnary("forward", kind, attrs, { x }),
    backward: (dy, [x], attrs) => [slope(x, dy, attrs)],
  };
  return (x, a = 0, b = 0) => {
    requireThat(x.dtype === "f32", name, "elements must be f32", {
      x: String(x),
    });
    return apply(op, [x], { a, b });
  };
}

const leakyReluOp = unary("leakyRelu", "LEAKY_RELU");
const geluErf = unary("gelu", "GELU_ERF");
const geluTanh = unary("gelu", "GELU_TANH");
const softplusOp = unary("softplus", "SOFTPLUS");
const clampOp = unary("clamp", "CLAMP");
const powOp = unary("pow", "POW");
const scaleOp = unary("scale", "SCALE");

/** `-x`. */
export const neg: (x: Tensor) => Tensor = unary("neg", "NEG");
/** `eˣ`. */
export const exp: (x: Tensor) => Tensor = unary("exp", "EXP");
/** Natural logarithm. */
export const log: (x: Tensor) => Tensor = unary("log", "LOG");
/** Square root. */
export const sqrt: (x: Tensor) => Tensor = unary("sqrt", "SQRT");
/** `1 / √x`. */
export const rsqrt: (x: Tensor) => Tensor = unary("rsqrt", "RSQRT");
/** `|x|`; the gradient at 0 is 0. */
export const abs: (x: Tensor) => Tensor = unary("abs", "ABS");
/** Sine of radians. */
export const sin: (x: Tensor) => Tensor = unary("sin", "SIN");
/** Cosine of radians. */
export const cos: (x: Tensor) => Tensor = unary("cos", "COS");
/** `max(x, 0)`; the gradient at 0 is 0. */
export const relu: (x: Tensor) => Tensor = unary("relu", "RELU");
/** `1 / (1 + e⁻ˣ)`. */
export const sigmoid: (x: Tensor) => Tensor = unary("sigmoid", "SIGMOID");
/** Hyperbolic tangent. */
export const tanh: (x: Tensor) => Tensor = unary("tanh", "TANH");
/** `x · sigmoid(x)` (Elfwing et al. 2017, arXiv:1702.03118; also known as swish). */
export const silu: (x: Tensor) => Tensor = unary("silu", "SILU");
/** `1 / x`. */
export const reciprocal: (x: Tensor) => Tensor = unary(
  "reciprocal",
  "RECIPROCAL",
);
/** `x²`. */
export const square: (x: Tensor) => Tensor = unary("square", "SQUARE");
/** Largest whole number not above x; its gradient is 0. */
export const floor: (x: Tensor) => Tensor = unary("floor", "FLOOR");
/** -1, 0 or 1; its gradient is 0. */
export const sign: (x: Tensor) => Tensor = unary("sign", "SIGN");

/**
 * `x` where positive, else `negativeSlope · x`.
 *
 * @param negativeSlope Defaults to 0.01.
 */
export function leakyRelu(x: Tensor, negativeSlope = 0.01): Tensor {
  return leakyReluOp(x, negativeSlope);
}

/**
 * `x · Φ(x)` (Hendrycks & Gimpel 2016, arXiv:1606.08415), with Φ by `erf` or by its approximation
 * `½(1 + tanh(√(2/π)(x + 0.044715x³)))`.
 *
 * @param options `approximate`: `"none"` (default) or `"tanh"`.
 */
export function gelu(
  x: Tensor,
  options: { approximate?: "none" | "tanh" } = {},
): Tensor {
  return options.approximate === "tanh" ? geluTanh(x) : geluErf(x);
}

/**
 * `log(1 + e^(βx)) / β`, and `x` itself where `βx` exceeds the threshold.
 *
 * @param options `beta` defaults to 1, `threshold` to 20.
 */
export function softplus(
  x: Tensor,
  options: { beta?: number; threshold?: number } = {},
): Tensor {
  return softplusOp(x, options.beta ?? 1, options.threshold ?? 20);
}

/**
 * `x` limited to `[min, max]`; the gradient is 1 inside and on the edges, 0 outside.
 *
 * @param options `min` and `max`; either may be left open.
 */
export function clamp(
  x: Tensor,
  options: { min?: number; max?: number },
): Tensor {
  return clampOp(x, options.min ?? -3.4e38, options.max ?? 3.4e38);
}

/** `x^exponent` for a number; a negative base needs a whole exponent. See `pow`. */
export function powScalar(x: Tensor, exponent: number): Tensor {
  if (exponent === 1) return scaleOp(x, 1);
  return exponent === 2 ? square(x) : powOp(x, exponent);
}

/** `factor · x + offset` for numbers; the factor may be one that changes from step to step. */
export function scale(x: Tensor, factor: number | Live, offset = 0): Tensor {
  return scaleOp(x, factor, offset);
}
