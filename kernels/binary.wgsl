// binary: elementwise functions of two tensors, broadcast as NumPy does.
//   equal      out = f(a, b)                 same shape; or one operand a single number
//   broadcast  out = f(a, b)                 any shapes, by strides (0 along a repeated axis)
//   backward   out = dy * df/da or df/db     operands already of the output's shape
// shapes    equal, backward: [n], four at a time (buffers are padded to 16 bytes)
//           broadcast: up to 8 axes, innermost last; rows is the first, row the product of the rest
// dispatch  one invocation per four elements; broadcast: one per element
struct Params {
  n: u32, rows: u32, row: u32, a_scalar: u32, b_scalar: u32,
  shape0: vec4u, shape1: vec4u, a_strides0: vec4u, a_strides1: vec4u, b_strides0: vec4u, b_strides1: vec4u,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read> dy: array<vec4f>; // backward only
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(5) var<storage, read> a_elements: array<f32>; // broadcast: a, b, out by element
@group(0) @binding(6) var<storage, read> b_elements: array<f32>;
@group(0) @binding(7) var<storage, read_write> out_elements: array<f32>;
const WORKGROUP_SIZE = 64u;
override KIND: u32; // one of:
const ADD = 0u;
const SUB = 1u;
const MUL = 2u;
const DIV = 3u;
const MAXIMUM = 4u;
const MINIMUM = 5u;
const POW = 6u;
const EQUAL = 7u;
const LESS = 8u;
const LESS_EQUAL = 9u;
override SIDE: u32 = 0u; // backward: 0 for da, 1 for db

fn pow_(u: vec4f, e: vec4f) -> vec4f { // of a negative base too, when the exponent is whole
  // Of a zero base by hand: drivers differ, as they take its logarithm.
  let of_zero = select(select(vec4f(0.0), vec4f(1.0), e == vec4f(0.0)), 1.0 / abs(u), e < vec4f(0.0));
  let magnitude = select(pow(abs(u), e), of_zero, u == vec4f(0.0));
  let odd = (floor(e) == e) & (floor(e * 0.5) * 2.0 != e);
  return select(magnitude, -magnitude, (u < vec4f(0.0)) & odd);
}

fn f(u: vec4f, v: vec4f) -> vec4f {
  switch (KIND) {
    case ADD: { return u + v; }
    case SUB: { return u - v; }
    case MUL: { return u * v; }
    case DIV: { return u / v; }
    case MAXIMUM: { return max(u, v); }
    case MINIMUM: { return min(u, v); }
    case POW: { return pow_(u, v); }
    case EQUAL: { return select(vec4f(0.0), vec4f(1.0), u == v); }
    case LESS: { return select(vec4f(0.0), vec4f(1.0), u < v); }
    default: { return select(vec4f(0.0), vec4f(1.0), u <= v); } // LESS_EQUAL
  }
}

// 1 where u wins, a half on a tie, as PyTorch.
fn wins(u: vec4f, v: vec4f) -> vec4f {
  return select(select(vec4f(0.0), vec4f(1.0), u > v), vec4f(0.5), u == v);
}

fn df(u: vec4f, v: vec4f) -> vec4f {
  let to_a = SIDE == 0u;
  switch (KIND) {
    case MUL: { if (to_a) { return v; } return u; }
    case DIV: { if (to_a) { return 1.0 / v; } return -u / (v * v); }
    case MAXIMUM: { if (to_a) { return wins(u, v); } return wins(v, u); }
    case MINIMUM: { if (to_a) { return wins(v, u); } return wins(u, v); }
    case POW: {
      if (to_a) { return select(v * pow_(u, v - vec4f(1.0)), vec4f(0.0), v == vec4f(0.0)); }
      return select(pow_(u, v) * log(max(u, vec4f(1e-38))), vec4f(0.0), u <= vec4f(0.0));
    }
    default: { return vec4f(1.0); }
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn equal(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  var u: vec4f;
  var v: vec4f;
  if (params.a_scalar == 1u) { u = vec4f(a[0].x); } else { u = a[i]; }
  if (params.b_scalar == 1u) { v = vec4f(b[0].x); } else { v = b[i]; }
  out[i] = f(u, v);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  out[i] = dy[i] * df(a[i], b[i]);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn broadcast(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i >= params.rows * params.row) { return; }
  var rest = i;
  var at = vec2u(0u); // offsets into a and b
  for (var axis = 7; axis >= 0; axis--) {
    let lane = u32(axis) & 3u;
    let length = select(params.shape0[lane], params.shape1[lane], axis > 3);
    if (length == 1u) { continue; }
    let k = rest % length;
    rest /= length;
    at += k * vec2u(
      select(params.a_strides0[lane], params.a_strides1[lane], axis > 3),
      select(params.b_strides0[lane], params.b_strides1[lane], axis > 3),
    );
  }
  out_elements[i] = f(vec4f(a_elements[at.x]), vec4f(b_elements[at.y])).x;
}
