// where: chooses between two tensors element by element, all three broadcast; values move as bits.
//   out = a where cond is not 0, else b
// shapes    by strides (0 along a repeated axis), up to 8 axes, innermost last; rows is the first,
//           row the product of the rest
// dispatch  one invocation per element of out
struct Params {
  rows: u32, row: u32,
  shape0: vec4u, shape1: vec4u, cond_strides0: vec4u, cond_strides1: vec4u,
  a_strides0: vec4u, a_strides1: vec4u, b_strides0: vec4u, b_strides1: vec4u,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> cond: array<u32>;
@group(0) @binding(2) var<storage, read> a: array<u32>;
@group(0) @binding(3) var<storage, read> b: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<u32>;
const WORKGROUP_SIZE = 64u;
override IGNORED_BITS: u32; // 1 if cond is f32: the sign bit, as -0 is 0

@compute @workgroup_size(WORKGROUP_SIZE)
fn choose(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i >= params.rows * params.row) { return; }
  var rest = i;
  var at = vec3u(0u); // offsets into cond, a and b
  for (var axis = 7; axis >= 0; axis--) {
    let lane = u32(axis) & 3u;
    let length = select(params.shape0[lane], params.shape1[lane], axis > 3);
    if (length == 1u) { continue; }
    let k = rest % length;
    rest /= length;
    at += k * vec3u(
      select(params.cond_strides0[lane], params.cond_strides1[lane], axis > 3),
      select(params.a_strides0[lane], params.a_strides1[lane], axis > 3),
      select(params.b_strides0[lane], params.b_strides1[lane], axis > 3),
    );
  }
  if ((cond[at.x] << IGNORED_BITS) != 0u) { out[i] = a[at.y]; } else { out[i] = b[at.z]; }
}
