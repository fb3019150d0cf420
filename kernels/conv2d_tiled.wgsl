// conv2d_tiled: the products of conv2d.wgsl by tiles in shared memory (_tile.wgsl), for real GPUs.
// dispatch  one workgroup per TILE x TILE sums. Terms past the edges are zeros in the tiles.
// An invocation always fills the same slot of tile_b, so that it finds its four columns once. In
// tile_a neighbours run along the terms.

fn store_row(row: u32, l: Place, r: Place, stride: u32, sum_l: vec4f, sum_r: vec4f) {
  store(row, l, stride, sum_l);
  store(row, r, stride, sum_r);
}

fn store_all(row: u32, l: Place, r: Place, stride: u32) {
  store_row(row, l, r, stride, sum0l, sum0r);
  store_row(row + THREADS, l, r, stride, sum1l, sum1r);
  store_row(row + 2u * THREADS, l, r, stride, sum2l, sum2r);
  store_row(row + 3u * THREADS, l, r, stride, sum3l, sum3r);
  store_row(row + 4u * THREADS, l, r, stride, sum4l, sum4r);
  store_row(row + 5u * THREADS, l, r, stride, sum5l, sum5r);
  store_row(row + 6u * THREADS, l, r, stride, sum6l, sum6r);
  store_row(row + 7u * THREADS, l, r, stride, sum7l, sum7r);
}

fn add_bias(group: u32, row: u32) {
  let first = group * params.rows + row;
  sum0l += bias[first]; sum0r += bias[first];
  sum1l += bias[first + THREADS]; sum1r += bias[first + THREADS];
  sum2l += bias[first + 2u * THREADS]; sum2r += bias[first + 2u * THREADS];
  sum3l += bias[first + 3u * THREADS]; sum3r += bias[first + 3u * THREADS];
  sum4l += bias[first + 4u * THREADS]; sum4r += bias[first + 4u * THREADS];
  sum5l += bias[first + 5u * THREADS]; sum5r += bias[first + 5u * THREADS];
  sum6l += bias[first + 6u * THREADS]; sum6r += bias[first + 6u * THREADS];
  sum7l += bias[first + 7u * THREADS]; sum7r += bias[first + 7u * THREADS];
}

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
          let j = w + row * params.weight_row;
          tile_a[k * STRIDE + slot] = select(vec4f(),
            vec4f(weight[j.x], weight[j.y], weight[j.z], weight[j.w]),
            (row < vec4u(params.rows)) & vec4<bool>(c < params.channels));
        }
        add_tiles(id);
      }
    }
  }

  let row = first_row + id.y;
  if (params.has_bias == 1u) { add_bias(group, row); }
  let column = first_column + id.x;
  store_all(row, place_of(pixels_of(lines_of(column)), phase, group),
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
      let j = d + row * out_plane;
      tile_a[k * STRIDE + slot] = select(vec4f(), vec4f(dy[j.x], dy[j.y], dy[j.z], dy[j.w]),
        (row < vec4u(params.rows)) & vec4<bool>(pixel < end));
    }
    add_tiles(id);
  }

  let start = (split * params.groups + group) * params.rows * count;
  let l = first_column + lines_of(id.x);
  let r = l + THREADS;
  store_all(first_row + id.y, Place(start + l, l < vec4u(count)),
    Place(start + r, r < vec4u(count)), count);
}
