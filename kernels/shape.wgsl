// shape: copies between a row-major tensor and a strided view of another; values are moved as bits.
//   pull     out[i] = x[base + offset(i)]         permute, slice, flip, expand
//   push     out[base + offset(i)] = x[i]         concat, pad, the gradient of slice
//   offset(i) = sum over axes of k * stride, where k are the coordinates of i in `shape`
// shapes    up to 8 axes, innermost last, missing ones of length 1; rows is the first that counts,
//           row the product of the others
// dispatch  one invocation per element of the row-major side
struct Params {
  rows: u32, row: u32, base: i32,
  shape0: vec4u, shape1: vec4u, strides0: vec4i, strides1: vec4i,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
const WORKGROUP_SIZE = 64u;

fn offset(i: u32) -> i32 {
  var rest = i;
  var at = params.base;
  for (var axis = 7; axis >= 0; axis--) {
    let lane = u32(axis) & 3u;
    let length = select(params.shape0[lane], params.shape1[lane], axis > 3);
    if (length == 1u) { continue; }
    at += i32(rest % length) * select(params.strides0[lane], params.strides1[lane], axis > 3);
    rest /= length;
  }
  return at;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn pull(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i >= params.rows * params.row) { return; }
  out[i] = x[offset(i)];
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn push(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i >= params.rows * params.row) { return; }
  out[offset(i)] = x[i];
}
