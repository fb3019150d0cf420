// matmul_subgroup: the product of _matmul.wgsl, 32 x 32 sums per subgroup of 8 (_subgroup.wgsl).
// shapes    a and b are contiguous along one of their last two axes, out along n; n, k, piece and the
//           length of contiguous axes are multiples of four, bound as vectors of four
// dispatch  one workgroup per tile of 32 x 32. Past the edges lines are computed again and not stored:
//           a return, as any branch, would cost a mask
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;

// Four lines (rows of a, columns of b) and four terms, as vectors that each are one line (along) or
// one term.
struct Block { at: vec4u, step: u32, along: bool } // step: to the next four terms

fn block_of(start: u32, first: u32, lines: u32, line: u32, k: u32) -> Block {
  let each = vec4u(0u, 1u, 2u, 3u);
  if (k == 1u) { return Block((start + min(first + each, vec4u(lines - 1u)) * line) / 4u, 1u, true); }
  return Block((start + min(first, lines - 4u) + each * k) / 4u, k, false);
}

fn store(rows: u32, at: u32, row: u32, group: u32, sum: vec4f) {
  if (row < rows && group < params.n / 4u) { out[at + row * (params.n / 4u) + group] = sum; }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn multiply(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
            @builtin(local_invocation_index) lane: u32) {
  let tile = wg.x + wg.y * grid.x;
  let row_tiles = (params.m + ROWS - 1u) / ROWS;
  let column_tiles = (params.n + COLUMNS - 1u) / COLUMNS;
  let row = tile % row_tiles * ROWS;
  let column = tile / row_tiles % column_tiles * COLUMNS + 4u * lane;
  let z_split = tile / (row_tiles * column_tiles);
  let split = z_split / params.batch;
  let z = z_split % params.batch;

  let start = split * params.piece;
  let end = min(start + params.piece, params.k);
  let p = block_of(z * params.a_batch + start * params.a_k, row + 4u * lane, params.m, params.a_row,
    params.a_k);
  let q = block_of(z * params.b_batch + start * params.b_k, column, params.n, params.b_col,
    params.b_k);
  var i = p.at;
  var j = q.at;
  for (var k = start; k < end; k += 4u) {
    let lines = mat4x4f(a[i.x], a[i.y], a[i.z], a[i.w]);
    let terms = mat4x4f(b[j.x], b[j.y], b[j.z], b[j.w]);
    let l = transpose(lines);
    let t = transpose(terms);
    add_terms(select(l[0], lines[0], p.along), select(l[1], lines[1], p.along),
      select(l[2], lines[2], p.along), select(l[3], lines[3], p.along),
      select(terms[0], t[0], q.along), select(terms[1], t[1], q.along),
      select(terms[2], t[2], q.along), select(terms[3], t[3], q.along));
    i += p.step;
    j += q.step;
  }

  let group = column / 4u;
  var bias_of_group = vec4f();
  if (params.has_bias == 1u && split == 0u) { bias_of_group = bias[group]; }
  let rows = select(0u, params.m, z_split < params.batch * params.splits);
  let at = z_split * params.m * (params.n / 4u);
  for (var j = 0u; j < 8u; j++) {
    let sums = sums_of(j);
    store(rows, at, row + 4u * j, group, sums[0] + bias_of_group);
    store(rows, at, row + 4u * j + 1u, group, sums[1] + bias_of_group);
    store(rows, at, row + 4u * j + 2u, group, sums[2] + bias_of_group);
    store(rows, at, row + 4u * j + 3u, group, sums[3] + bias_of_group);
  }
}
