// matmul_panel: matmul.wgsl's product, for a processor whose vectors hold four numbers: an invocation
// keeps 6 x 8 sums, 12 vectors of four columns each, and adds a term with 6 loads of a and 2 of b.
// The last tile of rows or of columns overlaps the one before, where there are so many of them.
// Columns of b are read as vectors. Where they do not lie side by side, or terms lie so that they push
// each other out of the cache, an operand is first written down in panels:
//   pack      packed[z, panel, k, l] = source[z, line, k], line = l + the first line of the panel
// dispatch  workgroups of one invocation, one for each panel, or for each eight columns of a block of
//           rows: a block of a stays in the second cache, with the columns of b in the first
struct Params {
  batch: u32, m: u32, n: u32, k: u32, splits: u32, piece: u32, // piece: terms of the sum per split
  a_batch: u32, a_row: u32, a_panel: u32, a_k: u32, // strides; a_row or a_panel is 0
  b_batch: u32, b_col: u32, b_panel: u32, b_k: u32, // columns lie side by side in any case
  out_row: u32, out_col: u32,
  bias_row: u32, bias_col: u32, has_bias: u32,
  block: u32, // tiles of rows to an invocation
  // pack:
  lines: u32, source_batch: u32, source_line: u32, source_k: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
const ROWS = 6u;
const COLUMNS = 8u;
override WIDTH = 8u; // lines of a panel

// The first line of a tile.
fn first_of(tile: u32, width: u32, lines: u32) -> u32 {
  return min(tile * width, max(lines, width) - width);
}

@compute @workgroup_size(1)
fn pack(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let panel = wg.x + wg.y * grid.x;
  let panels = (params.lines + WIDTH - 1u) / WIDTH;
  let z = panel / panels;
  if (z >= params.batch) { return; }
  let first = first_of(panel % panels, WIDTH, params.lines);
  var at: array<u32, 8>;
  for (var l = 0u; l < WIDTH; l++) {
    at[l] = z * params.source_batch + min(first + l, params.lines - 1u) * params.source_line;
  }
  var to = panel * params.k * WIDTH;
  for (var k = 0u; k < params.k; k++) {
    for (var l = 0u; l < WIDTH; l++) {
      out[to + l] = a[at[l]];
      at[l] += params.source_k;
    }
    to += WIDTH;
  }
}

// Four columns of one row.
fn store(at: u32, column: u32, sums: vec4f) {
  let step = params.out_col;
  if (step == 1u && params.n >= COLUMNS) {
    out[at] = sums.x;
    out[at + 1u] = sums.y;
    out[at + 2u] = sums.z;
    out[at + 3u] = sums.w;
    return;
  }
  if (column < params.n) { out[at] = sums.x; }
  if (column + 1u < params.n) { out[at + step] = sums.y; }
  if (column + 2u < params.n) { out[at + 2u * step] = sums.z; }
  if (column + 3u < params.n) { out[at + 3u * step] = sums.w; }
}

fn biases(at: u32) -> vec4f {
  let step = params.bias_col;
  return vec4f(bias[at], bias[at + step], bias[at + 2u * step], bias[at + 3u * step]);
}

@compute @workgroup_size(1)
fn multiply(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  var tile = wg.x + wg.y * grid.x;
  let row_tiles = (params.m + ROWS - 1u) / ROWS;
  let column_tiles = (params.n + COLUMNS - 1u) / COLUMNS;
  let blocks = (row_tiles + params.block - 1u) / params.block;
  let column_tile = tile % column_tiles;
  tile /= column_tiles;
  let block = tile % blocks;
  let z_split = tile / blocks;
  if (z_split >= params.batch * params.splits) { return; }
  let split = z_split / params.batch;
  let z = z_split - split * params.batch;
  let column = first_of(column_tile, COLUMNS, params.n);
  let first = split * params.piece;
  let end = min(first + params.piece, params.k);
  let a_start = z * params.a_batch + first * params.a_k;
  let b_start = z * params.b_batch + column * params.b_col + column_tile * params.b_panel + first * params.b_k;

  let last = min((block + 1u) * params.block, row_tiles);
  for (var row_tile = block * params.block; row_tile < last; row_tile++) {
    let row = first_of(row_tile, ROWS, params.m);
    var at: array<u32, ROWS>;
    for (var t = 0u; t < ROWS; t++) {
      at[t] = a_start + row_tile * params.a_panel +
        select(t, min(row + t, params.m - 1u) * params.a_row, params.a_row > 0u);
    }
    var i = 0u;
    var j = b_start;
    var l: array<vec4f, ROWS>;
    var r: array<vec4f, ROWS>;
    for (var k = first; k < end; k++) {
      let b_l = vec4f(b[j], b[j + 1u], b[j + 2u], b[j + 3u]);
      let b_r = vec4f(b[j + 4u], b[j + 5u], b[j + 6u], b[j + 7u]);
      for (var t = 0u; t < ROWS; t++) {
        let factor = vec4f(a[at[t] + i]);
        l[t] = fma(factor, b_l, l[t]);
        r[t] = fma(factor, b_r, r[t]);
      }
      i += params.a_k;
      j += params.b_k;
    }

    if (params.has_bias == 1u && split == 0u) {
      for (var t = 0u; t < ROWS; t++) {
        let of_row = (row + t) * params.bias_row + column * params.bias_col;
        l[t] += biases(of_row);
        r[t] += biases(of_row + 4u * params.bias_col);
      }
    }
    let start = z_split * params.m * params.n + row * params.out_row + column * params.out_col;
    for (var t = 0u; t < ROWS; t++) {
      if (row + t < params.m) {
        store(start + t * params.out_row, column, l[t]);
        store(start + t * params.out_row + 4u * params.out_col, column + 4u, r[t]);
      }
    }
  }
}
