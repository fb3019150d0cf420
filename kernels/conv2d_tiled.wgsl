// conv2d_tiled: the products of _conv2d.wgsl by tiles in shared memory (_tile.wgsl), for real GPUs.
// dispatch  one workgroup per TILE x TILE sums. Terms past the edges are zeros in the tiles.
// An invocation always fills the same slot of tile_b, so that it finds its four columns once. In
// tile_a neighbours run along the terms.

@compute @workgroup_size(THREADS, THREADS)
fn convolve_tiled(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
                  @builtin(local_invocation_id) id: vec3u,
                  @builtin(local_invocation_index) lane: u32) {
  var tile = wg.x + wg.y * grid.x;
  let row_tiles = (params.rows + TILE - 1u) / TILE;
  let first_row = tile % row_tiles * TILE;
  tile /= row_tiles;
  let group = tile % params.groups;
  tile /= params.groups;
  let phase = vec2u(tile % params.phases.x, tile / params.phases.x % params.phases.y);
  tile /= params.phases.x * params.phases.y;
  let first_column = tile * TILE;
  let size = pixels_per_phase();
  if (first_column >= params.batch * size.x * size.y) { return; } // the whole workgroup

  let slot = lane % SLOTS;
  let i = pixels_of(first_column + lines_of(slot));
  let plane = params.size.x * params.size.y;
  let image = (i.n * params.groups + group) * params.channels * plane;
  let w_start = group * params.weight_group;
  let origin = params.origin + vec2i(phase);
  let phases = vec2i(params.phases);
  // Taps inside of channels: they read the same pixels and weights, which then stay in a cache.
  for (var first = 0u; first < params.channels; first += DEPTH) {
    for (var tap_y = 0u; tap_y < params.taps.x; tap_y++) {
      let from_y = origin.x + i32(tap_y) * params.spacing.x;
      if (from_y % phases.x != 0) { continue; }
      let y = params.step.x * i.y + u32(from_y / phases.x); // negative ones wrap round
      for (var tap_x = 0u; tap_x < params.taps.y; tap_x++) {
        let from_x = origin.y + i32(tap_x) * params.spacing.y;
        if (from_x % phases.y != 0) { continue; }
        let q_x = params.step.y * i.x + u32(from_x / phases.y);
        let inside = i.valid & (y < vec4u(params.size.x)) & (q_x < vec4u(params.size.y));
        let at = image + y * params.size.y + q_x;
        for (var k = lane / SLOTS; k < DEPTH; k += WORKGROUP / SLOTS) {
          let c = first + k;
          let valid = inside & vec4<bool>(c < params.channels);
          tile_b[k * STRIDE + slot] = load(at + c * plane, valid);
        }
        let k = lane % DEPTH;
        let c = first + k;
        let w = w_start + c * params.weight_channel + tap_y * params.taps.y + tap_x;
        for (var slot = lane / DEPTH; slot < SLOTS; slot += WORKGROUP / DEPTH) {
          let row = first_row + lines_of(slot);
          tile_a[k * STRIDE + slot] = select(vec4f(), weights_at(w + row * params.weight_row),
            (row < vec4u(params.rows)) & vec4<bool>(c < params.channels));
        }
        add_tiles(id);
      }
    }
  }

  let row = first_row + id.y;
  if (params.has_bias == 1u) { add_bias(group * params.rows + row, THREADS); }
  let column = first_column + id.x;
  store_all(row, THREADS, place_of(pixels_of(lines_of(column)), phase, group),
    place_of(pixels_of(lines_of(column + THREADS)), phase, group),
    params.out_size.x * params.out_size.y);
}

@compute @workgroup_size(THREADS, THREADS)
fn weight_gradient_tiled(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
                         @builtin(local_invocation_id) id: vec3u,
                         @builtin(local_invocation_index) lane: u32) {
  var tile = wg.x + wg.y * grid.x;
  let row_tiles = (params.rows + TILE - 1u) / TILE;
  let first_row = tile % row_tiles * TILE;
  tile /= row_tiles;
  let group = tile % params.groups;
  tile /= params.groups;
  let count = params.channels * params.taps.x * params.taps.y;
  let column_tiles = (count + TILE - 1u) / TILE;
  let first_column = tile % column_tiles * TILE;
  let split = tile / column_tiles;
  if (split >= params.splits) { return; } // the whole workgroup, so the barriers stay legal

  let slot = lane % SLOTS;
  let w = weights_of(first_column + lines_of(slot));
  let plane = params.size.x * params.size.y;
  let out_plane = params.out_size.x * params.out_size.y;
  // A piece is a run of lines of pixels, counted through all images.
  let lines = params.batch * params.out_size.x;
  let end = min((split + 1u) * params.piece, lines) * params.out_size.y;
  for (var first = split * params.piece * params.out_size.y; first < end; first += DEPTH) {
    for (var k = lane / SLOTS; k < DEPTH; k += WORKGROUP / SLOTS) {
      let pixel = first + k;
      let line = pixel / params.out_size.y;
      let n = line / params.out_size.x;
      let y = params.step.x * (line % params.out_size.x) + w.y;
      let q_x = params.step.y * (pixel % params.out_size.y) + w.x;
      let valid = w.valid & (y < vec4u(params.size.x)) & (q_x < vec4u(params.size.y)) &
        vec4<bool>(pixel < end);
      let channel = (n * params.groups + group) * params.channels + w.channel;
      tile_b[k * STRIDE + slot] = load(channel * plane + y * params.size.y + q_x, valid);
    }
    let k = lane % DEPTH;
    let pixel = first + k;
    let n = pixel / out_plane;
    let d = (n * params.groups + group) * params.rows * out_plane + pixel % out_plane;
    for (var slot = lane / DEPTH; slot < SLOTS; slot += WORKGROUP / DEPTH) {
      let row = first_row + lines_of(slot);
      tile_a[k * STRIDE + slot] = select(vec4f(), gradients_at(d + row * out_plane),
        (row < vec4u(params.rows)) & vec4<bool>(pixel < end));
    }
    add_tiles(id);
  }

  let start = (split * params.groups + group) * params.rows * count;
  let l = first_column + lines_of(id.x);
  let r = l + THREADS;
  store_all(first_row + id.y, THREADS, Place(start + l, vec4u(), l < vec4u(count)),
    Place(start + r, vec4u(), r < vec4u(count)), count);
}
