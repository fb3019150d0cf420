// shape: copies between a row-major tensor and a strided view of another; values are moved as bits.
//   pull         out[r, i] = x[offset(r) + i * step]       permute, slice, flip, expand
//   push         out[offset(r) + i * step] = x[r, i]       concat, pad, the gradient of slice
//   pull_packs, push_packs     the same four at a time, where step is 1 and all else a multiple of four
//   pull_fours                 reads one by one, writes four at a time
//   offset(r) = base + sum over all axes but the last of k * stride, where k are the coordinates of r
// shapes    i < length counts along the last axis (in packs, where packs are written), r along all
//           others: the first of `rows`, and MIDDLE axes of `row` together, in shape0, shape1 from the
//           last to the first
// dispatch  `lanes` invocations per r, each of which takes every lanes-th i
struct Params {
  rows: u32, row: u32, length: u32, lanes: u32, base: i32, step: i32, outer: i32,
  shape0: vec4u, shape1: vec4u, strides0: vec4i, strides1: vec4i,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> x_packs: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;
@group(0) @binding(4) var<storage, read_write> out_packs: array<vec4u>;
const WORKGROUP_SIZE = 64u;
override MIDDLE: u32; // 0 to 6

struct Lane {
  dense: u32, // first index of the row-major side
  strided: i32, // first index of the other
  first: u32, // i
}

// One axis: its coordinate in `rest` times its stride; `rest` then counts along those before.
fn walk(rest: ptr<function, u32>, length: u32, stride: i32) -> i32 {
  let q = *rest / length;
  let k = *rest - q * length;
  *rest = q;
  return i32(k) * stride;
}

fn lane_of(id: vec3u, grid: vec3u) -> Lane {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  let r = at / params.lanes;
  if (r >= params.rows * params.row) { return Lane(0u, 0, params.length); }
  var rest = r;
  var offset = params.base;
  if (MIDDLE > 0u) { offset += walk(&rest, params.shape0.x, params.strides0.x); }
  if (MIDDLE > 1u) { offset += walk(&rest, params.shape0.y, params.strides0.y); }
  if (MIDDLE > 2u) { offset += walk(&rest, params.shape0.z, params.strides0.z); }
  if (MIDDLE > 3u) { offset += walk(&rest, params.shape0.w, params.strides0.w); }
  if (MIDDLE > 4u) { offset += walk(&rest, params.shape1.x, params.strides1.x); }
  if (MIDDLE > 5u) { offset += walk(&rest, params.shape1.y, params.strides1.y); }
  return Lane(r * params.length, offset + i32(rest) * params.outer, at - r * params.lanes);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn pull(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let lane = lane_of(id, grid);
  for (var i = lane.first; i < params.length; i += params.lanes) {
    out[lane.dense + i] = x[lane.strided + i32(i) * params.step];
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn push(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let lane = lane_of(id, grid);
  for (var i = lane.first; i < params.length; i += params.lanes) {
    out[lane.strided + i32(i) * params.step] = x[lane.dense + i];
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn pull_packs(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let lane = lane_of(id, grid);
  for (var i = lane.first; i < params.length; i += params.lanes) {
    out_packs[lane.dense + i] = x_packs[lane.strided + i32(i)];
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn push_packs(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let lane = lane_of(id, grid);
  for (var i = lane.first; i < params.length; i += params.lanes) {
    out_packs[lane.strided + i32(i)] = x_packs[lane.dense + i];
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn pull_fours(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let lane = lane_of(id, grid);
  let step = params.step;
  for (var i = lane.first; i < params.length; i += params.lanes) {
    let at = lane.strided + i32(4u * i) * step;
    out_packs[lane.dense + i] = vec4u(x[at], x[at + step], x[at + 2 * step], x[at + 3 * step]);
  }
}
