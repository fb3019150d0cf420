// where: chooses between two tensors element by element, all three broadcast; values move as bits.
//   elements  out = a where cond is not 0, else b
//   fours     the same four at a time, where an operand repeats along the last axis, or its step there
//             is 1 and its other strides are multiples of four; or there is no other axis
// shapes    by strides (0 along a repeated axis). The last axis has `length` elements; r counts along
//           all others: the first of `rows`, and those of `row` together, in shape0, shape1 from the
//           last to the first. Vectors of three are for cond, a and b
// dispatch  `lanes` invocations per r, of which `near` take neighbours, and each four of them, `near`
//           apart. An index past the end is that of the last, which is then written several times,
//           alike: after a branch the software driver would look at every invocation
struct Params {
  rows: u32, row: u32, length: u32, lanes: u32, near: u32, step: vec3u,
  shape0: vec4u, shape1: vec4u, cond_strides0: vec4u, cond_strides1: vec4u,
  a_strides0: vec4u, a_strides1: vec4u, b_strides0: vec4u, b_strides1: vec4u,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> cond: array<u32>;
@group(0) @binding(2) var<storage, read> a: array<u32>;
@group(0) @binding(3) var<storage, read> b: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<u32>;
@group(0) @binding(5) var<storage, read> cond_fours: array<vec4u>;
@group(0) @binding(6) var<storage, read> a_fours: array<vec4u>;
@group(0) @binding(7) var<storage, read> b_fours: array<vec4u>;
@group(0) @binding(8) var<storage, read_write> out_fours: array<vec4u>;
const WORKGROUP_SIZE = 64u;
override IGNORED_BITS: u32; // 1 if cond is f32: the sign bit, as -0 is 0
override AXES: u32; // besides the last: 0 to 7

struct Lane {
  r: u32,
  first: u32, // the others follow `near` apart
  start: vec3u, // in elements of cond, a and b
}

fn lane_of(id: vec3u, grid: vec3u) -> Lane {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  let r = min(at / params.lanes, params.rows * params.row - 1u);
  let lane = at % params.lanes;
  let side = lane % params.near;
  var rest = r;
  var start = vec3u(0u);
  for (var axis = 0u; axis < AXES; axis++) {
    let i = axis & 3u;
    let k = rest % select(params.shape0[i], params.shape1[i], axis > 3u);
    rest /= select(params.shape0[i], params.shape1[i], axis > 3u);
    start += k * vec3u(
      select(params.cond_strides0[i], params.cond_strides1[i], axis > 3u),
      select(params.a_strides0[i], params.a_strides1[i], axis > 3u),
      select(params.b_strides0[i], params.b_strides1[i], axis > 3u),
    );
  }
  return Lane(r, (lane - side) * 4u + side, start);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn elements(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let lane = lane_of(id, grid);
  for (var k = 0u; k < 4u; k++) {
    let i = min(lane.first + k * params.near, params.length - 1u);
    let at = lane.start + i * params.step;
    out[lane.r * params.length + i] = select(b[at.z], a[at.y], (cond[at.x] << IGNORED_BITS) != 0u);
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn fours(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let lane = lane_of(id, grid);
  let length = (params.length + 3u) / 4u;
  let start = lane.start / 4u;
  let part = lane.start % 4u; // of a four that repeats
  for (var k = 0u; k < 4u; k++) {
    let i = min(lane.first + k * params.near, length - 1u);
    let at = start + i * params.step;
    var c = cond_fours[at.x];
    var u = a_fours[at.y];
    var v = b_fours[at.z];
    c = select(c, vec4u(c[part.x]), params.step.x == 0u);
    u = select(u, vec4u(u[part.y]), params.step.y == 0u);
    v = select(v, vec4u(v[part.z]), params.step.z == 0u);
    out_fours[lane.r * length + i] = select(v, u, (c << vec4u(IGNORED_BITS)) != vec4u(0u));
  }
}
