// conv2d_subgroup: the products of _conv2d.wgsl, 32 x 32 sums per subgroup of 8 (_subgroup.wgsl).
// dispatch  one workgroup per tile of 32 x 32. Past the edges lines are computed again and not stored:
//           a return, as any branch, would cost a mask
// convolve reads weights by four channels, so they are written down in that order first:
//   packed[group, tap, row, c] = weight[group, row, c, tap], with zeros where channels end
// weight_gradient takes dy by four pixels of a line, as one vector where its width allows it.
@group(0) @binding(6) var<storage, read> packed: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> packed_out: array<vec4f>; // pack only
@group(0) @binding(8) var<storage, read> dy_by_four: array<vec4f>;
const PACK_SIZE = 64u;
override BY_FOUR = true; // whether the width of dy is a multiple of four

@compute @workgroup_size(PACK_SIZE)
fn pack(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * PACK_SIZE;
  let fours = (params.channels + 3u) / 4u;
  let row = i / fours % params.rows;
  let group = i / (fours * params.rows);
  if (group >= params.groups) { return; }
  let c = i % fours * 4u + vec4u(0u, 1u, 2u, 3u);
  let valid = c < vec4u(params.channels);
  let start = group * params.weight_group + row * params.weight_row;
  var at = start + select(vec4u(0u), c * params.weight_channel, valid);
  let taps = params.taps.x * params.taps.y;
  var to = (group * taps * params.rows + row) * fours + i % fours;
  for (var tap = 0u; tap < taps; tap++) {
    packed_out[to] = select(vec4f(),
      vec4f(weight[at.x], weight[at.y], weight[at.z], weight[at.w]), valid);
    at += 1u;
    to += params.rows * fours;
  }
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

  let each = vec4u(0u, 1u, 2u, 3u);
  let i = pixels_of(tile * COLUMNS + 4u * lane + each);
  let plane = params.size.x * params.size.y;
  let image = (i.n * params.groups + group) * params.channels * plane;
  let last = params.channels - 1u;
  let fours = (params.channels + 3u) / 4u;
  let rows = min(row + 4u * lane + each, vec4u(params.rows - 1u));
  let taps = params.taps.x * params.taps.y;
  let origin = params.origin + vec2i(phase);
  let phases = vec2i(params.phases);
  for (var tap_y = 0u; tap_y < params.taps.x; tap_y++) {
    let from_y = origin.x + i32(tap_y) * params.spacing.x;
    let y = params.step.x * i.y + u32(from_y / phases.x); // negative ones wrap round to large ones
    for (var tap_x = 0u; tap_x < params.taps.y; tap_x++) {
      let from_x = origin.y + i32(tap_x) * params.spacing.y;
      if (from_y % phases.x != 0 || from_x % phases.y != 0) { continue; }
      let x = params.step.y * i.x + u32(from_x / phases.y);
      let valid = (y < vec4u(params.size.x)) & (x < vec4u(params.size.y));
      let at = select(vec4u(0u), image + y * params.size.y + x, valid);
      let tap = tap_y * params.taps.y + tap_x;
      var w = ((group * taps + tap) * params.rows + rows) * fours;
      for (var c = 0u; c < params.channels; c += 4u) {
        add_terms(packed[w.x], packed[w.y], packed[w.z], packed[w.w], load(at + c * plane, valid),
          load(at + min(c + 1u, last) * plane, valid), load(at + min(c + 2u, last) * plane, valid),
          load(at + min(c + 3u, last) * plane, valid));
        w += 1u;
      }
    }
  }

  var biases = vec4f();
  if (params.has_bias == 1u) {
    let first = group * params.rows + rows;
    biases = vec4f(bias[first.x], bias[first.y], bias[first.z], bias[first.w]);
  }
  store_all(row, place_of(i, phase, group), params.out_size.x * params.out_size.y, biases);
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
  let each = vec4u(0u, 1u, 2u, 3u);
  let column = tile % column_tiles * COLUMNS + 4u * lane + each;
  let split = tile / column_tiles;
  let w = weights_of(column);

  let plane = params.size.x * params.size.y;
  let out_plane = params.out_size.x * params.out_size.y;
  let rows = min(row + 4u * lane + each, vec4u(params.rows - 1u)) * out_plane;
  // A piece is a run of lines of pixels, counted through all images. One loop: sums are blended with
  // a mask wherever a loop ends.
  let lines = params.batch * params.out_size.x;
  let line = split * params.piece;
  let fours = (params.out_size.y + 3u) / 4u;
  let end = (max(min(line + params.piece, lines), line) - line) * fours;
  var n = line / params.out_size.x;
  var p = vec2u(line % params.out_size.x, 0u);
  for (var i = 0u; i < end; i++) {
    let y = params.step.x * p.x + w.y;
    let x = params.step.y * p.y + w.x;
    let inside = y < vec4u(params.size.x);
    let start = ((n * params.groups + group) * params.channels + w.channel) * plane +
      y * params.size.y;
    let d = (n * params.groups + group) * params.rows * out_plane + p.x * params.out_size.y + rows;
    add_terms(gradients_at(d.x, p.y), gradients_at(d.y, p.y), gradients_at(d.z, p.y),
      gradients_at(d.w, p.y), load_line(start, x, inside),
      load_line(start, x + params.step.y, inside), load_line(start, x + 2u * params.step.y, inside),
      load_line(start, x + 3u * params.step.y, inside));
    p.y += 4u;
    let line_ends = p.y >= params.out_size.y;
    p = select(p, vec2u(p.x + 1u, 0u), line_ends);
    let image_ends = p.x == params.out_size.x;
    p = select(p, vec2u(), image_ends);
    n += u32(image_ends);
  }

  let first = (split * params.groups + group) * params.rows * count;
  let place = Place(first + column, vec4u(), w.valid & vec4<bool>(split < params.splits));
  store_all(row, place, count, vec4f());
}

// Four pixels of a line, with zeros past its end.
fn gradients_at(line: u32, x: u32) -> vec4f {
  let at = line + x;
  if (BY_FOUR) { return dy_by_four[at / 4u]; }
  return select(vec4f(), vec4f(dy[at], dy[at + 1u], dy[at + 2u], dy[at + 3u]),
    x + vec4u(0u, 1u, 2u, 3u) < vec4u(params.out_size.y));
}

fn load_line(start: vec4u, x: vec4u, inside: vec4<bool>) -> vec4f {
  let valid = inside & (x < vec4u(params.size.y));
  return load(select(vec4u(0u), start + x, valid), valid);
}

// biases: of rows row + 4 * lane + (0 to 3)
fn store_all(row: u32, place: Place, stride: u32, biases: vec4f) {
  for (var j = 0u; j < 8u; j++) {
    let sums = sums_of(j);
    let shared_biases = subgroupShuffle(biases, j);
    store(row + 4u * j, place, stride, sums[0] + shared_biases.x);
    store(row + 4u * j + 1u, place, stride, sums[1] + shared_biases.y);
    store(row + 4u * j + 2u, place, stride, sums[2] + shared_biases.z);
    store(row + 4u * j + 3u, place, stride, sums[3] + shared_biases.w);
  }
}
