// binary: elementwise functions of two tensors, broadcast as NumPy does.
//   equal      out = f(a, b)                 same shape; or one operand a single number
//   broadcast  out = f(a, b)                 any shapes, by strides (0 along a repeated axis)
//   broadcast_packs    the same four at a time, where an operand repeats along the last axis, or its
//              step there is 1 and its other strides are multiples of four
//   backward   out = dy * df/da or df/db     operands already of the output's shape
// shapes    equal, backward: [n], four at a time (buffers are padded to 16 bytes)
//           broadcast: i < length counts along the last axis (in packs), r along all others: the
//           first of `rows`, and MIDDLE axes of `row` together, in shape0, shape1 from the last to the
//           first; vectors of two are for a and b
// dispatch  one invocation per FOURS times four elements, as _fours.wgsl has it; broadcast:
//           `lanes` per r, each of which takes every lanes-th i
struct Params {
  n: u32, a_scalar: u32, b_scalar: u32,
  rows: u32, row: u32, length: u32, lanes: u32, step: vec2u, outer: vec2u,
  shape0: vec4u, shape1: vec4u, a_strides0: vec4u, a_strides1: vec4u, b_strides0: vec4u, b_strides1: vec4u,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read> dy: array<vec4f>; // backward only
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(5) var<storage, read> a_elements: array<f32>; // a, b, out by element
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
override MIDDLE: u32 = 0u; // broadcast: 0 to 6
override REPEATS: u32 = 0u; // broadcast_packs: the operand that repeats along the last axis, one of:
const NEITHER = 0u;
const A = 1u;
const B = 2u;

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
fn equal(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
         @builtin(local_invocation_index) lane: u32) {
  for (var k = 0u; k < FOURS; k++) {
    let i = four_of(wg, grid, lane, k, params.n);
    let u = a[select(i, 0u, params.a_scalar == 1u)];
    let v = b[select(i, 0u, params.b_scalar == 1u)];
    out[i] = f(select(u, u.xxxx, params.a_scalar == 1u), select(v, v.xxxx, params.b_scalar == 1u));
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn backward(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
            @builtin(local_invocation_index) lane: u32) {
  for (var k = 0u; k < FOURS; k++) {
    let i = four_of(wg, grid, lane, k, params.n);
    out[i] = dy[i] * df(a[i], b[i]);
  }
}

struct Lane {
  row: u32, // first index of out
  a: u32, // of a
  b: u32, // of b
  first: u32, // i
}

fn lane_of(id: vec3u, grid: vec3u) -> Lane {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  let r = at / params.lanes;
  if (r >= params.rows * params.row) { return Lane(0u, 0u, 0u, params.length); }
  var rest = r;
  var offset = vec2u(0u);
  if (MIDDLE > 0u) { offset += walk(&rest, params.shape0.x, params.a_strides0.x, params.b_strides0.x); }
  if (MIDDLE > 1u) { offset += walk(&rest, params.shape0.y, params.a_strides0.y, params.b_strides0.y); }
  if (MIDDLE > 2u) { offset += walk(&rest, params.shape0.z, params.a_strides0.z, params.b_strides0.z); }
  if (MIDDLE > 3u) { offset += walk(&rest, params.shape0.w, params.a_strides0.w, params.b_strides0.w); }
  if (MIDDLE > 4u) { offset += walk(&rest, params.shape1.x, params.a_strides1.x, params.b_strides1.x); }
  if (MIDDLE > 5u) { offset += walk(&rest, params.shape1.y, params.a_strides1.y, params.b_strides1.y); }
  offset += rest * params.outer;
  return Lane(r * params.length, offset.x, offset.y, at - r * params.lanes);
}

// One axis: its coordinate in `rest` times its strides; `rest` then counts along those before.
fn walk(rest: ptr<function, u32>, length: u32, a_stride: u32, b_stride: u32) -> vec2u {
  let q = *rest / length;
  let k = *rest - q * length;
  *rest = q;
  return k * vec2u(a_stride, b_stride);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn broadcast(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let lane = lane_of(id, grid);
  for (var i = lane.first; i < params.length; i += params.lanes) {
    let at = vec2u(lane.a, lane.b) + i * params.step;
    out_elements[lane.row + i] = f(vec4f(a_elements[at.x]), vec4f(b_elements[at.y])).x;
  }
}

// Along the last axis an operand lies in packs, or is one number: then it is the same for the row.
@compute @workgroup_size(WORKGROUP_SIZE)
fn broadcast_packs(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let lane = lane_of(id, grid);
  if (lane.first >= params.length) { return; }
  var u = vec4f(0.0);
  var v = vec4f(0.0);
  if (REPEATS == A) { u = vec4f(a_elements[lane.a]); }
  if (REPEATS == B) { v = vec4f(b_elements[lane.b]); }
  for (var i = lane.first; i < params.length; i += params.lanes) {
    if (REPEATS != A) { u = a[lane.a + i]; }
    if (REPEATS != B) { v = b[lane.b + i]; }
    out[lane.row + i] = f(u, v);
  }
}
