// matmul: out[z] = a[z] b[z] for a batch of matrices, plus a bias.
//   out[s, z, i, j] = sum over k in piece s of a[z, i, k] b[z, k, j], + bias in piece 0
// shapes    a: [batch, m, k], b: [batch, k, n], each with any strides, so that a transposed operand
//           is not copied; out: [splits, batch, m, n] or, by its strides, [splits, batch, n, m]
// dispatch  one invocation per tile of 8 rows x 4 columns, 32 tiles side by side in a workgroup.
//           No barriers: they are slow on software drivers. `a` is read at indices equal in the
//           whole workgroup, which costs one scalar load; `b` at neighbouring ones.
// Few tiles and a long k are cut into `splits` pieces of k, whose sums are then folded.
struct Params {
  batch: u32, m: u32, n: u32, k: u32, splits: u32,
  a_batch: u32, a_row: u32, a_k: u32, // strides
  b_batch: u32, b_k: u32, b_col: u32,
  out_row: u32, out_col: u32,
  bias_row: u32, bias_col: u32, // both 0: there is no bias
  first: u32, k_pieces: u32, // k_pieces 1: a run with first > 0 adds to what the one before left
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
const WORKGROUP_SIZE = 32u;
const ROWS = 8u;
const COLUMNS = 128u; // 4 per invocation

fn adds_to_before() -> bool { return params.k_pieces == 1u && params.first > 0u; }

fn store(at: u32, row: u32, column: vec4u, sum: vec4f, add_bias: bool) {
  if (row >= params.m) { return; }
  var v = sum;
  if (add_bias) {
    let i = row * params.bias_row + min(column, vec4u(params.n - 1u)) * params.bias_col;
    v += vec4f(bias[i.x], bias[i.y], bias[i.z], bias[i.w]);
  }
  let i = at + row * params.out_row + column * params.out_col;
  if (adds_to_before()) { // past the edge a neighbour is read, and not used
    v += vec4f(out[i.x], out[i.y], out[i.z], out[i.w]);
  }
  out[i.x] = v.x;
  if (column.y < params.n) { out[i.y] = v.y; }
  if (column.z < params.n) { out[i.z] = v.z; }
  if (column.w < params.n) { out[i.w] = v.w; }
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

  let piece = (params.k + params.splits - 1u) / params.splits;
  let start = min(split * piece, params.k);
  let end = min(start + piece, params.k);
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
  let b_start = z * params.b_batch + min(column, vec4u(params.n - 1u)) * params.b_col;
  var sum0 = vec4f(); var sum1 = vec4f(); var sum2 = vec4f(); var sum3 = vec4f();
  var sum4 = vec4f(); var sum5 = vec4f(); var sum6 = vec4f(); var sum7 = vec4f();
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
  let add_bias = params.bias_row + params.bias_col > 0u && split == 0u && !adds_to_before();
  store(at, row, column, sum0, add_bias);
  store(at, row + 1u, column, sum1, add_bias);
  store(at, row + 2u, column, sum2, add_bias);
  store(at, row + 3u, column, sum3, add_bias);
  store(at, row + 4u, column, sum4, add_bias);
  store(at, row + 5u, column, sum5, add_bias);
  store(at, row + 6u, column, sum6, add_bias);
  store(at, row + 7u, column, sum7, add_bias);
}
