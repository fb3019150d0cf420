// unary: elementwise functions of one tensor.
//   forward   out = f(x)
//   backward  out = dy * f'(x)
// shapes    x, dy, out: f32[n]; buffers are padded to 16 bytes, so four at a time
// dispatch  one invocation per FOURS times four elements, as _fours.wgsl has it
struct Params { n: u32, a: f32, b: f32 } // a, b: what f takes besides x
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> dy: array<vec4f>; // backward only
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;
const WORKGROUP_SIZE = 64u;
override KIND: u32; // one of:
const NEG = 0u;
const EXP = 1u;
const LOG = 2u;
const SQRT = 3u;
const RSQRT = 4u;
const ABS = 5u;
const SIN = 6u;
const COS = 7u;
const RELU = 8u;
const LEAKY_RELU = 9u; // slope a
const SIGMOID = 10u;
const TANH = 11u;
const SILU = 12u;
const GELU_ERF = 13u;
const GELU_TANH = 14u;
const SOFTPLUS = 15u; // beta a, threshold b
const CLAMP = 16u; // a to b
const POW = 17u; // exponent a
const SCALE = 18u; // a x + b
const RECIPROCAL = 19u;
const SQUARE = 20u;
const FLOOR = 21u;
const SIGN = 22u;

const ZERO = vec4f(0.0);
const ONE = vec4f(1.0);

// The error function: below 1 its Maclaurin series, above 1 - erfc by Abramowitz & Stegun's
// continued-fraction fit 7.1.26 refined to f32 by W. J. Cody's form (Numerical Recipes, erfcc).
fn erf_(v: vec4f) -> vec4f {
  let u = abs(v);
  let u2 = u * u;
  let small = u * 1.1283791670955126 * (ONE - u2 * (1.0 / 3.0 - u2 * (0.1 - u2 * (1.0 / 42.0 -
    u2 * (1.0 / 216.0 - u2 * (1.0 / 1320.0 - u2 * (1.0 / 9360.0 - u2 / 75600.0)))))));
  let t = ONE / (ONE + 0.5 * u);
  let poly = -1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 +
    t * (-0.18628806 + t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 +
    t * (-0.82215223 + t * 0.17087277))))))));
  let large = ONE - t * exp(max(-u2 + poly, vec4f(-80.0)));
  return sign(v) * select(large, small, u < vec4f(0.9));
}


fn pow_(v: vec4f, e: f32) -> vec4f { // of a negative base too, when the exponent is whole
  let odd = floor(e) == e && floor(e * 0.5) * 2.0 != e;
  let power = select(pow(abs(v), vec4f(e)), vec4f(select(0.0, 1.0, e == 0.0)), (v == ZERO) & vec4<bool>(e >= 0.0));
  return select(power, -power, (v < ZERO) & vec4<bool>(odd));
}

fn f(v: vec4f) -> vec4f {
  switch (KIND) {
    case NEG: { return -v; }
    case EXP: { return exp(v); }
    case LOG: { return log(v); }
    case SQRT: { return sqrt(v); }
    case RSQRT: { return ONE / sqrt(v); }
    case ABS: { return abs(v); }
    case SIN: { return sin(v); }
    case COS: { return cos(v); }
    case RELU: { return max(v, ZERO); }
    case LEAKY_RELU: { return select(params.a * v, v, v > ZERO); }
    case SIGMOID: { return sigmoid(v); }
    case TANH: { return tanh_(v); }
    case SILU: { return v * sigmoid(v); }
    case GELU_ERF: { return 0.5 * v * (ONE + erf_(v * 0.7071067811865476)); }
    case GELU_TANH: { return 0.5 * v * (ONE + tanh_(0.7978845608028654 * (v + 0.044715 * v * v * v))); }
    case SOFTPLUS: { // max(z, 0) + log(1 + exp(-|z|)) cannot overflow
      let z = params.a * v;
      let soft = (max(z, ZERO) + log(ONE + exp(-abs(z)))) / params.a;
      return select(soft, v, z > vec4f(params.b));
    }
    case CLAMP: { return clamp(v, vec4f(params.a), vec4f(params.b)); }
    case POW: { return pow_(v, params.a); }
    case SCALE: { return params.a * v + params.b; }
    case RECIPROCAL: { return ONE / v; }
    case SQUARE: { return v * v; }
    case FLOOR: { return floor(v); }
    case SIGN: { return sign(v); }
    default: { return v; }
  }
}

fn df(v: vec4f) -> vec4f {
  switch (KIND) {
    case NEG: { return -ONE; }
    case EXP: { return exp(v); }
    case LOG: { return ONE / v; }
    case SQRT: { return 0.5 / sqrt(v); }
    case RSQRT: { return -0.5 / (v * sqrt(v)); }
    case ABS: { return sign(v); }
    case SIN: { return cos(v); }
    case COS: { return -sin(v); }
    case RELU: { return select(ZERO, ONE, v > ZERO); }
    case LEAKY_RELU: { return select(vec4f(params.a), ONE, v > ZERO); }
    case SIGMOID: { let s = sigmoid(v); return s * (ONE - s); }
    case TANH: { let t = tanh_(v); return ONE - t * t; }
    case SILU: { let s = sigmoid(v); return s * (ONE + v * (ONE - s)); }
    case GELU_ERF: {
      return 0.5 * (ONE + erf_(v * 0.7071067811865476)) +
        v * 0.3989422804014327 * exp(max(-0.5 * v * v, vec4f(-80.0)));
    }
    case GELU_TANH: {
      let t = tanh_(0.7978845608028654 * (v + 0.044715 * v * v * v));
      return 0.5 * (ONE + t) +
        0.5 * v * (ONE - t * t) * 0.7978845608028654 * (ONE + 0.134145 * v * v);
    }
    case SOFTPLUS: { let z = params.a * v; return select(sigmoid(z), ONE, z > vec4f(params.b)); }
    case CLAMP: { return select(ZERO, ONE, (v >= vec4f(params.a)) & (v <= vec4f(params.b))); }
    case POW: { return params.a * pow_(v, params.a - 1.0); }
    case SCALE: { return vec4f(params.a); }
    case RECIPROCAL: { return -ONE / (v * v); }
    case SQUARE: { return 2.0 * v; }
    default: { return ZERO; } // FLOOR, SIGN
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  for (var k = 0u; k < FOURS; k++) {
    let i = four_of(wg, grid, lane, k, params.n);
    out[i] = f(x[i]);
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn backward(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
            @builtin(local_invocation_index) lane: u32) {
  for (var k = 0u; k < FOURS; k++) {
    let i = four_of(wg, grid, lane, k, params.n);
    out[i] = dy[i] * df(x[i]);
  }
}
