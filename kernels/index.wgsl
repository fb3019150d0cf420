// index: elements and rows picked by index, and the sums that are their gradients.
//   gather           out[o, k, i] = x[o, index[o, k, i], i]
//   gather_backward  sums[o, j, i] = sum of dy[o, k, i] over the k with index[o, k, i] = j
//   select_rows      out[o, k, i] = x[o, index[k], i]
//   link             next[t] = the next k of the same row: for t < n the first k with index[k] = t,
//                    for t = n + k' the first one after k' with index[k] = index[k']; m if there is none
//   select_backward  sums[o, j, i] = sum of dy[o, k, i] along the links from j
//   one_hot          sums[o, j] = 1 if index[o] = j, else 0
// Each sum is made by one invocation in the order of k, so the result does not vary. The links are
// found once for all columns, in place of a search in each.
// shapes    x: [outer, n, inner]; dy: [outer, m, inner]; index: i32, values below 0 or above n - 1
//           count as the nearest row (in one_hot as none); links: u32[n + m]
// dispatch  one invocation per element of what is written. select_rows and select_backward also run
//           over pieces of the rows: then n are at hand, from row `first_row` of all `rows` on
struct Params { outer: u32, n: u32, m: u32, inner: u32, first_row: u32, rows: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>; // any type, moved as bits
@group(0) @binding(2) var<storage, read> index: array<i32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read> links: array<u32>;
@group(0) @binding(5) var<storage, read_write> out: array<u32>;
@group(0) @binding(6) var<storage, read_write> next: array<u32>; // links, while they are found
@group(0) @binding(7) var<storage, read_write> sums: array<f32>;
const WORKGROUP_SIZE = 64u;

fn row_at(k: u32) -> u32 { return u32(clamp(index[k], 0, i32(params.rows) - 1)); }

@compute @workgroup_size(WORKGROUP_SIZE)
fn gather(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (at >= params.outer * params.m * params.inner) { return; }
  let o = at / (params.m * params.inner);
  out[at] = x[(o * params.n + row_at(at)) * params.inner + at % params.inner];
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn gather_backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (at >= params.outer * params.n * params.inner) { return; }
  let j = at / params.inner % params.n;
  var e = at / (params.n * params.inner) * params.m * params.inner + at % params.inner;
  var sum = 0.0;
  for (var k = 0u; k < params.m; k++) {
    if (row_at(e) == j) { sum += dy[e]; }
    e += params.inner;
  }
  sums[at] = sum;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn select_rows(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (at >= params.outer * params.m * params.inner) { return; }
  let o = at / (params.m * params.inner);
  let k = at / params.inner % params.m;
  let row = row_at(k) - params.first_row; // wraps around before the piece
  if (row >= params.n) { return; } // another piece has it
  out[at] = x[(o * params.n + row) * params.inner + at % params.inner];
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn link(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let t = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (t >= params.n + params.m) { return; }
  var row = t;
  var k = 0u;
  if (t >= params.n) {
    row = row_at(t - params.n);
    k = t - params.n + 1u;
  }
  while (k < params.m && row_at(k) != row) { k++; }
  next[t] = k;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn select_backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (at >= params.outer * params.n * params.inner) { return; }
  let first = at / (params.n * params.inner) * params.m * params.inner + at % params.inner;
  var sum = 0.0;
  var k = links[params.first_row + at / params.inner % params.n];
  while (k < params.m) {
    sum += dy[first + k * params.inner];
    k = links[params.rows + k];
  }
  sums[at] = sum;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn one_hot(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (at >= params.outer * params.n) { return; }
  if (index[at / params.n] == i32(at % params.n)) { sums[at] = 1.0; } else { sums[at] = 0.0; }
}
