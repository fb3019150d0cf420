// matmul: the product of _matmul.wgsl, 8 x 8 sums per invocation (_tile.wgsl).
// dispatch  one invocation per tile of 8 rows x 8 columns, 32 tiles side by side in a workgroup.
//           No barriers: they are slow on software drivers. `a` is read at indices equal in the
//           whole workgroup, `b` at neighbouring ones.
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
const WORKGROUP_SIZE = 32u;
const ROWS = 8u;
const COLUMNS = 256u; // 8 per invocation

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

// The sums of rows row + step * (0 to 7), with the bias, which only the first piece of a sum adds.
fn store_all(at: u32, row: u32, step: u32, l: vec4u, r: vec4u, split: u32) {
  var bias_l = vec4f();
  var bias_r = vec4f();
  if (params.has_bias == 1u && split == 0u) {
    bias_l = bias_of(l);
    bias_r = bias_of(r);
  }
  store(at, row, l, sum0l + bias_l);
  store(at, row, r, sum0r + bias_r);
  store(at, row + step, l, sum1l + bias_l);
  store(at, row + step, r, sum1r + bias_r);
  store(at, row + 2u * step, l, sum2l + bias_l);
  store(at, row + 2u * step, r, sum2r + bias_r);
  store(at, row + 3u * step, l, sum3l + bias_l);
  store(at, row + 3u * step, r, sum3r + bias_r);
  store(at, row + 4u * step, l, sum4l + bias_l);
  store(at, row + 4u * step, r, sum4r + bias_r);
  store(at, row + 5u * step, l, sum5l + bias_l);
  store(at, row + 5u * step, r, sum5r + bias_r);
  store(at, row + 6u * step, l, sum6l + bias_l);
  store(at, row + 6u * step, r, sum6r + bias_r);
  store(at, row + 7u * step, l, sum7l + bias_l);
  store(at, row + 7u * step, r, sum7r + bias_r);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn multiply(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
            @builtin(local_invocation_index) lane: u32) {
  // Row tiles first: they share their part of b, which then stays in a cache.
  let tile = wg.x + wg.y * grid.x;
  let row_tiles = (params.m + ROWS - 1u) / ROWS;
  let column_tiles = (params.n + COLUMNS - 1u) / COLUMNS;
  let row = tile % row_tiles * ROWS;
  let column = vec4u(tile / row_tiles % column_tiles * COLUMNS + 8u * lane) + vec4u(0u, 1u, 2u, 3u);
  let z_split = tile / (row_tiles * column_tiles);
  let split = z_split / params.batch;
  if (split >= params.splits || column.x >= params.n) { return; }
  let z = z_split % params.batch;

  let start = split * params.piece;
  let end = min(start + params.piece, params.k);
  // Past the edge the last row and column are computed again, and not stored.
  let last = vec4u(params.m - 1u);
  let a_start = z * params.a_batch + start * params.a_k;
  let even = a_start + min(row + vec4u(0u, 2u, 4u, 6u), last) * params.a_row;
  let odd = a_start + min(row + vec4u(1u, 3u, 5u, 7u), last) * params.a_row;
  let edge = vec4u(params.n - 1u);
  let b_start = z * params.b_batch;
  let l = b_start + min(column, edge) * params.b_col;
  let r = b_start + min(column + 4u, edge) * params.b_col;
  for (var k = start; k < end; k++) {
    let i = (k - start) * params.a_k;
    let j = k * params.b_k;
    add_term(vec4f(a[even.x + i], a[even.y + i], a[even.z + i], a[even.w + i]),
      vec4f(a[odd.x + i], a[odd.y + i], a[odd.z + i], a[odd.w + i]),
      vec4f(b[l.x + j], b[l.y + j], b[l.z + j], b[l.w + j]),
      vec4f(b[r.x + j], b[r.y + j], b[r.z + j], b[r.w + j]));
  }

  store_all(z_split * params.m * params.n, row, 1u, column, column + 4u, split);
}
