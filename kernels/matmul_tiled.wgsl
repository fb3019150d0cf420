// matmul_tiled: the product of _matmul.wgsl by tiles in shared memory (_tile.wgsl), for real GPUs.
// dispatch  one workgroup per TILE x TILE sums. Terms past the edges are zeros in the tiles.

// Slot and term that an invocation fills: neighbours run along the axis that is contiguous.
fn slot_and_term(i: u32, along_k: bool) -> vec2u {
  return select(vec2u(i % SLOTS, i / SLOTS), vec2u(i / DEPTH, i % DEPTH), along_k);
}

@compute @workgroup_size(THREADS, THREADS)
fn multiply_tiled(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
                  @builtin(local_invocation_id) id: vec3u,
                  @builtin(local_invocation_index) lane: u32) {
  let tile = wg.x + wg.y * grid.x;
  let row_tiles = (params.m + TILE - 1u) / TILE;
  let column_tiles = (params.n + TILE - 1u) / TILE;
  let first_row = tile % row_tiles * TILE;
  let first_column = tile / row_tiles % column_tiles * TILE;
  let z_split = tile / (row_tiles * column_tiles);
  let split = z_split / params.batch;
  if (split >= params.splits) { return; } // the whole workgroup, so the barriers stay legal
  let z = z_split % params.batch;

  let a_start = z * params.a_batch;
  let b_start = z * params.b_batch;
  let end = min((split + 1u) * params.piece, params.k);
  for (var first = split * params.piece; first < end; first += DEPTH) {
    for (var i = lane; i < SLOTS * DEPTH; i += WORKGROUP) {
      let to = slot_and_term(i, params.a_k == 1u);
      let row = first_row + lines_of(to.x);
      let k = first + to.y;
      let j = a_start + row * params.a_row + k * params.a_k;
      tile_a[to.y * STRIDE + to.x] = select(vec4f(), vec4f(a[j.x], a[j.y], a[j.z], a[j.w]),
        (row < vec4u(params.m)) & vec4<bool>(k < end));
    }
    for (var i = lane; i < SLOTS * DEPTH; i += WORKGROUP) {
      let to = slot_and_term(i, params.b_k == 1u);
      let column = first_column + lines_of(to.x);
      let k = first + to.y;
      let j = b_start + column * params.b_col + k * params.b_k;
      tile_b[to.y * STRIDE + to.x] = select(vec4f(), vec4f(b[j.x], b[j.y], b[j.z], b[j.w]),
        (column < vec4u(params.n)) & vec4<bool>(k < end));
    }
    add_tiles(id);
  }

  let column = first_column + id.x;
  store_all(z_split * params.m * params.n, first_row + id.y, THREADS, lines_of(column),
    lines_of(column + THREADS), split);
}
