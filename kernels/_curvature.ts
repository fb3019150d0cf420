/**
 * Second derivatives of the elementwise functions of one tensor, made of ops, so that there are third
 * ones and so on.
 *
 * @module
 */
import type { Tensor } from "../tensor/tensor.ts";
import { lessEqual, mul, sub } from "./binary.ts";
import {
  cos,
  exp,
  powScalar,
  reciprocal,
  rsqrt,
  scale,
  sigmoid,
  sin,
  square,
  tanh,
} from "./unary.ts";

/** `u · f″(x)`; `a` and `b` are the further numbers of f. */
export type Curvature = (u: Tensor, x: Tensor, a: number, b: number) => Tensor;

/** `s (1 - s)`, the slope of the sigmoid. */
function sigmoidSlope(s: Tensor): Tensor {
  return mul(s, sub(1, s));
}

/** By kinds in `unary.wgsl`; those that are missing consist of straight lines, and have none. */
export const CURVATURES: Readonly<Record<string, Curvature>> = {
  EXP: (u, x) => mul(u, exp(x)),
  LOG: (u, x) => scale(mul(u, square(reciprocal(x))), -1),
  SQRT: (u, x) => scale(mul(u, mul(rsqrt(x), reciprocal(x))), -0.25),
  RSQRT: (u, x) => scale(mul(u, mul(rsqrt(x), square(reciprocal(x)))), 0.75),
  SIN: (u, x) => scale(mul(u, sin(x)), -1),
  COS: (u, x) => scale(mul(u, cos(x)), -1),
  SIGMOID: (u, x) => {
    const s = sigmoid(x);
    return mul(u, mul(sigmoidSlope(s), scale(s, -2, 1)));
  },
  TANH: (u, x) => {
    const t = tanh(x);
    return scale(mul(u, mul(t, sub(1, square(t)))), -2);
  },
  SILU: (u, x) => { // s (1 - s) (2 + x (1 - 2 s))
    const s = sigmoid(x);
    const factor = scale(mul(x, scale(s, -2, 1)), 1, 2);
    return mul(u, mul(sigmoidSlope(s), factor));
  },
  GELU_ERF: (u, x) => { // φ(x) (2 - x²)
    const x2 = square(x);
    const density = scale(exp(scale(x2, -0.5)), 1 / Math.sqrt(2 * Math.PI));
    return mul(u, mul(density, sub(2, x2)));
  },
  GELU_TANH: (u, x) => { // (1 - t²) (v′ + ½ x v″ - t x v′²), t = tanh(v)
    const c = Math.sqrt(2 / Math.PI), k = 0.044715;
    const x2 = square(x);
    const t = tanh(mul(x, scale(x2, c * k, c)));
    const slope = scale(x2, 3 * c * k, c);
    const first = scale(x2, 6 * c * k, c); // v′ + ½ x v″
    const second = mul(mul(t, x), square(slope));
    return mul(u, mul(sub(1, square(t)), sub(first, second)));
  },
  SOFTPLUS: (u, x, beta, threshold) => {
    const z = scale(x, beta);
    const curved = mul(sigmoidSlope(sigmoid(z)), lessEqual(z, threshold));
    return scale(mul(u, curved), beta);
  },
  POW: (u, x, n) => scale(mul(u, powScalar(x, n - 2)), n * (n - 1)),
  RECIPROCAL: (u, x) => {
    const r = reciprocal(x);
    return scale(mul(u, mul(r, square(r))), 2);
  },
  SQUARE: (u) => scale(u, 2),
};
