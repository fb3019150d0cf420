// conv2d: convolution over two axes, as products of matrices whose columns are never written down.
//   convolve         out[n, r, p]   = sum over c, tap of weight[r, c, tap] x[n, c, q(p, tap)] + bias[r]
//   weight_gradient  dw[s, r, c, tap] = sum over n, p in piece s of dy[n, r, p] x[n, c, q(p, tap)]
// convolve is the forward pass, and, with other params and weight strides, its transpose (the
// gradient of x, and transposed convolution). Along each axis, with p = phases * i + phase:
//   forward    q = stride * i - padding + dilation * tap                  phases = 1, step = stride
//   transpose  q = i + (phase + padding - dilation * tap) / stride        phases = stride, step = 1
//   both       q = step * i + (origin + phase + spacing * tap) / phases
// A tap contributes to a phase only where the division leaves nothing, so that a stride costs the
// transpose no idle work: a workgroup stays in one phase. Outside of x there are zeros.
// shapes    x: [batch, groups * channels, size], out: [batch, groups * rows, out_size],
//           dy: [batch, groups * rows, out_size], weight and dw: with strides, or row-major
// dispatch  as matmul: an invocation computes 8 rows x 4 columns, without barriers; columns are
//           the pixels of the whole batch, in weight_gradient the (channel, tap) pairs
struct Params {
  batch: u32, groups: u32, rows: u32, channels: u32, // rows and channels: of one group
  weight_group: u32, weight_row: u32, weight_channel: u32, // strides
  has_bias: u32,
  splits: u32, piece: u32, // weight_gradient: lines of pixels per split
  taps: vec2u, size: vec2u, out_size: vec2u, // height, width
  origin: vec2i, spacing: vec2i, phases: vec2u, step: vec2u,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
const WORKGROUP_SIZE = 32u;
const ROWS = 8u;
const COLUMNS = 128u; // 4 per invocation

// A column of convolve: pixel i of image n. Some lie outside if phases do not divide the size.
struct Pixels { n: vec4u, y: vec4u, x: vec4u, valid: vec4<bool> }

fn pixels_per_phase() -> vec2u {
  return (params.out_size + params.phases - 1u) / params.phases;
}

fn pixels_of(column: vec4u) -> Pixels {
  let size = pixels_per_phase();
  let count = params.batch * size.x * size.y;
  let inside = min(column, vec4u(count - 1u));
  let line = inside / size.y;
  let n = line / size.x;
  return Pixels(n, line - n * size.x, inside - line * size.y, column < vec4u(count));
}

// Where a column of convolve is written in the first row of its group.
struct Place { at: vec4u, valid: vec4<bool> }

fn place_of(i: Pixels, phase: vec2u, group: u32) -> Place {
  let y = i.y * params.phases.x + phase.x;
  let x = i.x * params.phases.y + phase.y;
  let line = (i.n * params.groups + group) * params.rows * params.out_size.x + y;
  return Place(line * params.out_size.y + x,
    i.valid & (y < vec4u(params.out_size.x)) & (x < vec4u(params.out_size.y)));
}

// A column of weight_gradient: a channel, and where its tap begins in x; negative ones wrap round.
struct Weights { channel: vec4u, y: vec4u, x: vec4u, valid: vec4<bool> }

fn weights_of(column: vec4u) -> Weights {
  let taps = params.taps.x * params.taps.y;
  let count = params.channels * taps;
  let inside = min(column, vec4u(count - 1u));
  let channel = inside / taps;
  let tap = inside - channel * taps;
  let tap_y = tap / params.taps.y;
  return Weights(channel, u32(params.origin.x) + u32(params.spacing.x) * tap_y,
    u32(params.origin.y) + u32(params.spacing.y) * (tap - tap_y * params.taps.y),
    column < vec4u(count));
}

fn load(at: vec4u, valid: vec4<bool>) -> vec4f {
  return select(vec4f(), vec4f(x[at.x], x[at.y], x[at.z], x[at.w]), valid);
}

fn store(row: u32, place: Place, stride: u32, sum: vec4f) {
  if (row >= params.rows) { return; }
  let at = place.at + row * stride;
  if (place.valid.x) { out[at.x] = sum.x; }
  if (place.valid.y) { out[at.y] = sum.y; }
  if (place.valid.z) { out[at.z] = sum.z; }
  if (place.valid.w) { out[at.w] = sum.w; }
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

  let i = pixels_of(vec4u(tile * COLUMNS + 4u * lane) + vec4u(0u, 1u, 2u, 3u));
  if (!i.valid.x) { return; }

  let last = params.rows - 1u;
  let w_start = group * params.weight_group;
  let w0 = w_start + row * params.weight_row;
  let w1 = w_start + min(row + 1u, last) * params.weight_row;
  let w2 = w_start + min(row + 2u, last) * params.weight_row;
  let w3 = w_start + min(row + 3u, last) * params.weight_row;
  let w4 = w_start + min(row + 4u, last) * params.weight_row;
  let w5 = w_start + min(row + 5u, last) * params.weight_row;
  let w6 = w_start + min(row + 6u, last) * params.weight_row;
  let w7 = w_start + min(row + 7u, last) * params.weight_row;
  var sum0 = vec4f(); var sum1 = vec4f(); var sum2 = vec4f(); var sum3 = vec4f();
  var sum4 = vec4f(); var sum5 = vec4f(); var sum6 = vec4f(); var sum7 = vec4f();
  let plane = params.size.x * params.size.y;
  let image = (i.n * params.groups + group) * params.channels * plane;
  let origin = params.origin + vec2i(phase);
  let phases = vec2i(params.phases);
  for (var tap_y = 0u; tap_y < params.taps.x; tap_y++) {
    let from_y = origin.x + i32(tap_y) * params.spacing.x;
    if (from_y % phases.x != 0) { continue; }
    let y = params.step.x * i.y + u32(from_y / phases.x); // negative ones wrap round to large ones
    for (var tap_x = 0u; tap_x < params.taps.y; tap_x++) {
      let from_x = origin.y + i32(tap_x) * params.spacing.y;
      if (from_x % phases.y != 0) { continue; }
      let q_x = params.step.y * i.x + u32(from_x / phases.y);
      let valid = (y < vec4u(params.size.x)) & (q_x < vec4u(params.size.y));
      var at = select(vec4u(0u), image + y * params.size.y + q_x, valid);
      var w = tap_y * params.taps.y + tap_x;
      for (var c = 0u; c < params.channels; c++) {
        let v = load(at, valid);
        sum0 = fma(vec4f(weight[w0 + w]), v, sum0);
        sum1 = fma(vec4f(weight[w1 + w]), v, sum1);
        sum2 = fma(vec4f(weight[w2 + w]), v, sum2);
        sum3 = fma(vec4f(weight[w3 + w]), v, sum3);
        sum4 = fma(vec4f(weight[w4 + w]), v, sum4);
        sum5 = fma(vec4f(weight[w5 + w]), v, sum5);
        sum6 = fma(vec4f(weight[w6 + w]), v, sum6);
        sum7 = fma(vec4f(weight[w7 + w]), v, sum7);
        at += plane;
        w += params.weight_channel;
      }
    }
  }

  let out_plane = params.out_size.x * params.out_size.y;
  let first = group * params.rows + row;
  if (params.has_bias == 1u) {
    sum0 += bias[first];
    sum1 += bias[first + 1u];
    sum2 += bias[first + 2u];
    sum3 += bias[first + 3u];
    sum4 += bias[first + 4u];
    sum5 += bias[first + 5u];
    sum6 += bias[first + 6u];
    sum7 += bias[first + 7u];
  }
  let place = place_of(i, phase, group);
  store(row, place, out_plane, sum0);
  store(row + 1u, place, out_plane, sum1);
  store(row + 2u, place, out_plane, sum2);
  store(row + 3u, place, out_plane, sum3);
  store(row + 4u, place, out_plane, sum4);
  store(row + 5u, place, out_plane, sum5);
  store(row + 6u, place, out_plane, sum6);
  store(row + 7u, place, out_plane, sum7);
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
  let column = vec4u(tile % column_tiles * COLUMNS + 4u * lane) + vec4u(0u, 1u, 2u, 3u);
  let split = tile / column_tiles;
  let w = weights_of(column);
  if (split >= params.splits || !w.valid.x) { return; }

  let plane = params.size.x * params.size.y;
  let out_plane = params.out_size.x * params.out_size.y;
  let last = params.rows - 1u;
  let d0 = row * out_plane;
  let d1 = min(row + 1u, last) * out_plane;
  let d2 = min(row + 2u, last) * out_plane;
  let d3 = min(row + 3u, last) * out_plane;
  let d4 = min(row + 4u, last) * out_plane;
  let d5 = min(row + 5u, last) * out_plane;
  let d6 = min(row + 6u, last) * out_plane;
  let d7 = min(row + 7u, last) * out_plane;
  var sum0 = vec4f(); var sum1 = vec4f(); var sum2 = vec4f(); var sum3 = vec4f();
  var sum4 = vec4f(); var sum5 = vec4f(); var sum6 = vec4f(); var sum7 = vec4f();
  // A piece is a run of lines of pixels, counted through all images.
  let lines = params.batch * params.out_size.x;
  let end = min((split + 1u) * params.piece, lines);
  for (var line = split * params.piece; line < end; line++) {
    let n = line / params.out_size.x;
    let p_y = line % params.out_size.x;
    let y = params.step.x * p_y + w.y;
    let valid_y = y < vec4u(params.size.x);
    let start = ((n * params.groups + group) * params.channels + w.channel) * plane + y * params.size.y;
    var d = (n * params.groups + group) * params.rows * out_plane + p_y * params.out_size.y;
    var q_x = w.x;
    for (var p_x = 0u; p_x < params.out_size.y; p_x++) {
      let valid = valid_y & (q_x < vec4u(params.size.y));
      let at = select(vec4u(0u), start + q_x, valid);
      let v = load(at, valid);
      sum0 = fma(vec4f(dy[d0 + d]), v, sum0);
      sum1 = fma(vec4f(dy[d1 + d]), v, sum1);
      sum2 = fma(vec4f(dy[d2 + d]), v, sum2);
      sum3 = fma(vec4f(dy[d3 + d]), v, sum3);
      sum4 = fma(vec4f(dy[d4 + d]), v, sum4);
      sum5 = fma(vec4f(dy[d5 + d]), v, sum5);
      sum6 = fma(vec4f(dy[d6 + d]), v, sum6);
      sum7 = fma(vec4f(dy[d7 + d]), v, sum7);
      q_x += params.step.y;
      d++;
    }
  }

  let first = (split * params.groups + group) * params.rows;
  let place = Place(first * count + column, w.valid);
  store(row, place, count, sum0);
  store(row + 1u, place, count, sum1);
  store(row + 2u, place, count, sum2);
  store(row + 3u, place, count, sum3);
  store(row + 4u, place, count, sum4);
  store(row + 5u, place, count, sum5);
  store(row + 6u, place, count, sum6);
  store(row + 7u, place, count, sum7);
}
