// normalize: what group, layer and batch norm share, y = xhat * weight + bias, xhat = (x - mean) * rstd.
// x is a matrix whose rows each belong to one set of common statistics:
//               row          col      set            weight, bias
//   group norm  (n, c)       pixel    (n, group)     of c = row % channels
//   batch norm  (n, c)       pixel    c              of c = row % channels
//   layer norm  (n, t, ...)  feature  row            of col
//   squares      out   = sum of (x - mean)^2 over the cols of one lane
//   forward      out   = y
//   dots         pairs = sums of (g, g * xhat) over the cols of one lane; g is dy, in layer norm dy * weight
//   column_dots  pairs = sums of (dy, dy * xhat) over `chunk` rows, for layer norm's weight and bias
//   backward     out   = dx = rstd * (dy * weight - t.x - xhat * t.y), t = terms[set] * factor, the means
//                        over the set of dy * weight and dy * weight * xhat (factor 0: constant statistics)
// shapes    x, dy: [rows, cols]; mean, rstd, terms: [sets]; squares, dots: [rows, lanes];
//           column_dots: [rows / chunk, cols]; `first` is the row where a piece of a large x begins
// dispatch  `lanes` invocations per row, each of which takes every lanes-th col: neighbours read
//           neighbours, no barrier is needed, and the division of the index serves many elements.
//           column_dots: one invocation per output
struct Params {
  rows: u32, cols: u32, lanes: u32, first: u32,
  set_rows: u32, sets: u32, channels: u32, chunk: u32, factor: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read> rstd: array<f32>;
@group(0) @binding(5) var<storage, read> weight: array<f32>;
@group(0) @binding(6) var<storage, read> bias: array<f32>;
@group(0) @binding(7) var<storage, read> terms: array<vec2f>;
@group(0) @binding(8) var<storage, read_write> out: array<f32>;
@group(0) @binding(9) var<storage, read_write> pairs: array<vec2f>;
const WORKGROUP_SIZE = 64u;
override BY_COLUMN: bool; // weight and bias belong to cols: layer norm

fn set_of(row: u32) -> u32 { return (params.first + row) / params.set_rows % params.sets; }
fn channel_of(row: u32) -> u32 { return (params.first + row) % params.channels; }

@compute @workgroup_size(WORKGROUP_SIZE)
fn squares(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  let row = at / params.lanes;
  if (row >= params.rows) { return; }
  let m = mean[set_of(row)];
  let end = (row + 1u) * params.cols;
  var total = 0.0;
  for (var i = row * params.cols + at % params.lanes; i < end; i += params.lanes) {
    let d = x[i] - m;
    total += d * d;
  }
  out[at] = total;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  let row = at / params.lanes;
  if (row >= params.rows) { return; }
  let s = set_of(row);
  let m = mean[s];
  let r = rstd[s];
  let begin = row * params.cols;
  if (BY_COLUMN) {
    for (var col = at % params.lanes; col < params.cols; col += params.lanes) {
      out[begin + col] = (x[begin + col] - m) * r * weight[col] + bias[col];
    }
  } else {
    let w = r * weight[channel_of(row)];
    let b = bias[channel_of(row)];
    for (var col = at % params.lanes; col < params.cols; col += params.lanes) {
      out[begin + col] = (x[begin + col] - m) * w + b;
    }
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn dots(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  let row = at / params.lanes;
  if (row >= params.rows) { return; }
  let s = set_of(row);
  let m = mean[s];
  let begin = row * params.cols;
  var total = vec2f(0.0);
  for (var col = at % params.lanes; col < params.cols; col += params.lanes) {
    var g = dy[begin + col];
    if (BY_COLUMN) { g *= weight[col]; }
    total += vec2f(g, g * (x[begin + col] - m));
  }
  pairs[at] = total * vec2f(1.0, rstd[s]);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn column_dots(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  let col = at % params.cols;
  let start = at / params.cols * params.chunk;
  if (start >= params.rows) { return; }
  let end = min(start + params.chunk, params.rows);
  var total = vec2f(0.0);
  for (var row = start; row < end; row++) {
    let g = dy[row * params.cols + col];
    total += vec2f(g, g * (x[row * params.cols + col] - mean[row]) * rstd[row]);
  }
  pairs[at] = total;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  let row = at / params.lanes;
  if (row >= params.rows) { return; }
  let s = set_of(row);
  let m = mean[s];
  let r = rstd[s];
  let t = terms[s] * params.factor * r;
  let slope = t.y * r;
  let begin = row * params.cols;
  if (BY_COLUMN) {
    for (var col = at % params.lanes; col < params.cols; col += params.lanes) {
      out[begin + col] = r * weight[col] * dy[begin + col] - t.x - (x[begin + col] - m) * slope;
    }
  } else {
    let w = r * weight[channel_of(row)];
    for (var col = at % params.lanes; col < params.cols; col += params.lanes) {
      out[begin + col] = w * dy[begin + col] - t.x - (x[begin + col] - m) * slope;
    }
  }
}
