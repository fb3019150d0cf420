// conv2d: convolution over two axes, as products of matrices whose columns are never written down.
// This is what all forms of them share.
//   convolve         out[n, r, p]   = sum over c, tap of weight[r, c, tap] x[n, c, q(p, tap)] + bias[r],
//                                   and then what _epilogue.wgsl makes of it
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

// Where a column of convolve is written in the first row of its group, and which of all channels of
// the batch that row is.
struct Place { at: vec4u, channel: vec4u, valid: vec4<bool> }

fn place_of(i: Pixels, phase: vec2u, group: u32) -> Place {
  let y = i.y * params.phases.x + phase.x;
  let x = i.x * params.phases.y + phase.y;
  let channel = (i.n * params.groups + group) * params.rows;
  let line = channel * params.out_size.x + y;
  return Place(line * params.out_size.y + x, channel,
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
  let y = finish(sum, at, place.channel + row);
  if (place.valid.x) { out[at.x] = y.x; }
  if (place.valid.y) { out[at.y] = y.y; }
  if (place.valid.z) { out[at.z] = y.z; }
  if (place.valid.w) { out[at.w] = y.w; }
}
