// matmul: out[z] = a[z] b[z] for a batch of matrices, plus a bias.
//   out[s, z, i, j] = sum over k in piece s of a[z, i, k] b[z, k, j], + bias[j] in piece 0
// shapes    a: [batch, m, k], b: [batch, k, n], each with any strides, so that a transposed operand
//           is not copied; out: [splits, batch, m, n] or, by its strides, [splits, batch, n, m]
// dispatch  one invocation per tile of 8 rows x 4 columns, 32 tiles side by side in a workgroup.
//           No barriers: they are slow on software drivers. `a` is read at indices equal in the
//           whole workgroup, which costs one scalar load; `b` at neighbouring ones.
// Few tiles and a long k are cut into `splits` pieces of k, whose sums are then folded.
struct Params {
  batch: u32, m: u32, n: u32, k: u32, splits: u32, piece: u32, // piece: terms of the sum per split
  a_batch: u32, a_row: u32, a_k: u32, // strides
  b_batch: u32, b_k: u32, b_col: u32,
  out_row: u32, out_col: u32,
  has_bias: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
const WORKGROUP_SIZE = 32u;
const ROWS = 8u;
const COLUMNS = 128u; // 4 per invocation

fn bias_of(column: vec4u) -> vec4f {
  return vec4f(bias[column.x], bias[column.y], bias[column.z], bias[column.w]);
}

fn store(at: u32, row: u32, column: vec4u, sum: vec4f) {
  if (row >= params.m) { return; }
  let i = at + row * params.out_row + column * params.out_col;
  if (column.x < params.n) { out[i.x] = sum.x; }
  if (column.y < params.n) { out[i.y] = sum.y; }
  if (column.z < params.n) { out[i.z] = sum.z; }
  if (column.w < params.n) { out[i.w] = sum.w; }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn multiply(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
            @builtin(local_invocation_index) lane: u32) {
  // Row tiles first: they share their part of b, which then stays in a cache.
  let tile = wg.x + wg.y * grid.x;
  let row_tiles = (params.m + ROWS - 1u) / ROWS;
  let column_tiles = (params.n + COLUMNS - 1u) / COLUMNS;
  let row = tile % row_tiles * ROWS;
  let column = vec4u(tile / row_tiles % column_tiles * COLUMNS + 4u * lane) + vec4u(0u, 1u, 2u, 3u);
  let z_split = tile / (row_tiles * column_tiles);
  let split = z_split / params.batch;
  if (split >= params.splits || column.x >= params.n) { return; }
  let z = z_split % params.batch;

  let start = split * params.piece;
  let end = min(start + params.piece, params.k);
  // Past the edge the last row and column are computed again, and not stored.
  let last = params.m - 1u;
  let a_start = z * params.a_batch + start * params.a_k;
  let a0 = a_start + row * params.a_row;
  let a1 = a_start + min(row + 1u, last) * params.a_row;
  let a2 = a_start + min(row + 2u, last) * params.a_row;
  let a3 = a_start + min(row + 3u, last) * params.a_row;
  let a4 = a_start + min(row + 4u, last) * params.a_row;
  let a5 = a_start + min(row + 5u, last) * params.a_row;
  let a6 = a_start + min(row + 6u, last) * params.a_row;
  let a7 = a_start + min(row + 7u, last) * params.a_row;
  let inside = min(column, vec4u(params.n - 1u));
  let b_start = z * params.b_batch + inside * params.b_col;
  var sum0 = vec4f();
  if (params.has_bias == 1u && split == 0u) { sum0 = bias_of(inside); }
  var sum1 = sum0; var sum2 = sum0; var sum3 = sum0;
  var sum4 = sum0; var sum5 = sum0; var sum6 = sum0; var sum7 = sum0;
  for (var k = start; k < end; k++) {
    let j = b_start + k * params.b_k;
    let v = vec4f(b[j.x], b[j.y], b[j.z], b[j.w]);
    let i = (k - start) * params.a_k;
    sum0 = fma(vec4f(a[a0 + i]), v, sum0);
    sum1 = fma(vec4f(a[a1 + i]), v, sum1);
    sum2 = fma(vec4f(a[a2 + i]), v, sum2);
    sum3 = fma(vec4f(a[a3 + i]), v, sum3);
    sum4 = fma(vec4f(a[a4 + i]), v, sum4);
    sum5 = fma(vec4f(a[a5 + i]), v, sum5);
    sum6 = fma(vec4f(a[a6 + i]), v, sum6);
    sum7 = fma(vec4f(a[a7 + i]), v, sum7);
  }

  let at = z_split * params.m * params.n;
  store(at, row, column, sum0);
  store(at, row + 1u, column, sum1);
  store(at, row + 2u, column, sum2);
  store(at, row + 3u, column, sum3);
  store(at, row + 4u, column, sum4);
  store(at, row + 5u, column, sum5);
  store(at, row + 6u, column, sum6);
  store(at, row + 7u, column, sum7);
}
