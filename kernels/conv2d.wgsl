// conv2d: the products of _conv2d.wgsl, 8 x 8 sums per invocation (_tile.wgsl).
// dispatch  as matmul: an invocation computes 8 rows x 8 columns, without barriers; columns are
//           the pixels of the whole batch, in weight_gradient the (channel, tap) pairs
const WORKGROUP_SIZE = 32u;
const ROWS = 8u;
const COLUMNS = 256u; // 8 per invocation

fn weights_at(at: vec4u) -> vec4f {
  return vec4f(weight[at.x], weight[at.y], weight[at.z], weight[at.w]);
}

fn gradients_at(at: vec4u) -> vec4f {
  return vec4f(dy[at.x], dy[at.y], dy[at.z], dy[at.w]);
}

// The sums of rows row + step * (0 to 7).
fn store_all(row: u32, step: u32, l: Place, r: Place, stride: u32) {
  store(row, l, stride, sum0l);
  store(row, r, stride, sum0r);
  store(row + step, l, stride, sum1l);
  store(row + step, r, stride, sum1r);
  store(row + 2u * step, l, stride, sum2l);
  store(row + 2u * step, r, stride, sum2r);
  store(row + 3u * step, l, stride, sum3l);
  store(row + 3u * step, r, stride, sum3r);
  store(row + 4u * step, l, stride, sum4l);
  store(row + 4u * step, r, stride, sum4r);
  store(row + 5u * step, l, stride, sum5l);
  store(row + 5u * step, r, stride, sum5r);
  store(row + 6u * step, l, stride, sum6l);
  store(row + 6u * step, r, stride, sum6r);
  store(row + 7u * step, l, stride, sum7l);
  store(row + 7u * step, r, stride, sum7r);
}

fn add_bias(first: u32, step: u32) {
  sum0l += bias[first];
  sum0r += bias[first];
  sum1l += bias[first + step];
  sum1r += bias[first + step];
  sum2l += bias[first + 2u * step];
  sum2r += bias[first + 2u * step];
  sum3l += bias[first + 3u * step];
  sum3r += bias[first + 3u * step];
  sum4l += bias[first + 4u * step];
  sum4r += bias[first + 4u * step];
  sum5l += bias[first + 5u * step];
  sum5r += bias[first + 5u * step];
  sum6l += bias[first + 6u * step];
  sum6r += bias[first + 6u * step];
  sum7l += bias[first + 7u * step];
  sum7r += bias[first + 7u * step];
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn convolve(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
            @builtin(local_invocation_index) lane: u32) {
  // The workgroup's rows, group, phase and columns, the fastest first: they share pixels of x.
  var tile = wg.x + wg.y * grid.x;
  let row_tiles = (params.rows + ROWS - 1u) / ROWS;
  let row = tile % row_tiles * ROWS;
  tile /= row_tiles;
  let group = tile % params.groups;
  tile /= params.groups;
  let phase = vec2u(tile % params.phases.x, tile / params.phases.x % params.phases.y);
  tile /= params.phases.x * params.phases.y;

  let column = vec4u(tile * COLUMNS + 8u * lane) + vec4u(0u, 1u, 2u, 3u);
  let l = pixels_of(column);
  let r = pixels_of(column + 4u);
  if (!l.valid.x) { return; }

  let last = vec4u(params.rows - 1u);
  let w_start = group * params.weight_group;
  let even = w_start + min(row + vec4u(0u, 2u, 4u, 6u), last) * params.weight_row;
  let odd = w_start + min(row + vec4u(1u, 3u, 5u, 7u), last) * params.weight_row;
  let plane = params.size.x * params.size.y;
  let l_image = (l.n * params.groups + group) * params.channels * plane;
  let r_image = (r.n * params.groups + group) * params.channels * plane;
  let origin = params.origin + vec2i(phase);
  let phases = vec2i(params.phases);
  for (var tap_y = 0u; tap_y < params.taps.x; tap_y++) {
    let from_y = origin.x + i32(tap_y) * params.spacing.x;
    if (from_y % phases.x != 0) { continue; }
    let start_y = u32(from_y / phases.x); // negative ones wrap round to large ones
    let l_y = params.step.x * l.y + start_y;
    let r_y = params.step.x * r.y + start_y;
    for (var tap_x = 0u; tap_x < params.taps.y; tap_x++) {
      let from_x = origin.y + i32(tap_x) * params.spacing.y;
      if (from_x % phases.y != 0) { continue; }
      let start_x = u32(from_x / phases.y);
      let l_x = params.step.y * l.x + start_x;
      let r_x = params.step.y * r.x + start_x;
      let l_valid = (l_y < vec4u(params.size.x)) & (l_x < vec4u(params.size.y));
      let r_valid = (r_y < vec4u(params.size.x)) & (r_x < vec4u(params.size.y));
      var l_at = select(vec4u(0u), l_image + l_y * params.size.y + l_x, l_valid);
      var r_at = select(vec4u(0u), r_image + r_y * params.size.y + r_x, r_valid);
      var w = tap_y * params.taps.y + tap_x;
      for (var c = 0u; c < params.channels; c++) {
        add_term(weights_at(even + w), weights_at(odd + w), load(l_at, l_valid),
          load(r_at, r_valid));
        l_at += plane;
        r_at += plane;
        w += params.weight_channel;
      }
    }
  }

  if (params.has_bias == 1u) { add_bias(group * params.rows + row, 1u); }
  store_all(row, 1u, place_of(l, phase, group), place_of(r, phase, group),
    params.out_size.x * params.out_size.y);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn weight_gradient(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
                   @builtin(local_invocation_index) lane: u32) {
  var tile = wg.x + wg.y * grid.x;
  let row_tiles = (params.rows + ROWS - 1u) / ROWS;
  let row = tile % row_tiles * ROWS;
  tile /= row_tiles;
  let group = tile % params.groups;
  tile /= params.groups;
  let count = params.channels * params.taps.x * params.taps.y;
  let column_tiles = (count + COLUMNS - 1u) / COLUMNS;
  let column = vec4u(tile % column_tiles * COLUMNS + 8u * lane) + vec4u(0u, 1u, 2u, 3u);
  let split = tile / column_tiles;
  let l = weights_of(column);
  let r = weights_of(column + 4u);
  if (split >= params.splits || !l.valid.x) { return; }

  let plane = params.size.x * params.size.y;
  let out_plane = params.out_size.x * params.out_size.y;
  let last = vec4u(params.rows - 1u);
  let even = min(row + vec4u(0u, 2u, 4u, 6u), last) * out_plane;
  let odd = min(row + vec4u(1u, 3u, 5u, 7u), last) * out_plane;
  // A piece is a run of lines of pixels, counted through all images.
  let lines = params.batch * params.out_size.x;
  let end = min((split + 1u) * params.piece, lines);
  for (var line = split * params.piece; line < end; line++) {
    let n = line / params.out_size.x;
    let p_y = line % params.out_size.x;
    let l_y = params.step.x * p_y + l.y;
    let r_y = params.step.x * p_y + r.y;
    let image = (n * params.groups + group) * params.channels;
    let l_start = (image + l.channel) * plane + l_y * params.size.y;
    let r_start = (image + r.channel) * plane + r_y * params.size.y;
    var d = (n * params.groups + group) * params.rows * out_plane + p_y * params.out_size.y;
    var l_x = l.x;
    var r_x = r.x;
    for (var p_x = 0u; p_x < params.out_size.y; p_x++) {
      let l_valid = (l_y < vec4u(params.size.x)) & (l_x < vec4u(params.size.y));
      let r_valid = (r_y < vec4u(params.size.x)) & (r_x < vec4u(params.size.y));
      add_term(gradients_at(even + d), gradients_at(odd + d),
        load(select(vec4u(0u), l_start + l_x, l_valid), l_valid),
        load(select(vec4u(0u), r_start + r_x, r_valid), r_valid));
      l_x += params.step.y;
      r_x += params.step.y;
      d++;
    }
  }

  let first = (split * params.groups + group) * params.rows * count;
  store_all(row, 1u, Place(first + column, vec4u(), l.valid),
    Place(first + column + 4u, vec4u(), r.valid), count);
}
