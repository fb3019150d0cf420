// normalize: what group, layer and batch norm share, y = act(z), z = xhat * weight + bias,
// xhat = (x - mean) / sqrt(variance + eps). x is a matrix whose rows each belong to one set of common
// statistics, and the rows of a set lie together in `outer` runs:
//               row          col      set            run            weight, bias
//   group norm  (n, c)       pixel    (n, group)     all of the set of c = row % channels
//   batch norm  (n, c)       pixel    c              row (n, c)     of c = row % channels
//   layer norm  (n, t, ...)  feature  row            all of the set of col
//   statistics   pairs = (mean, variance) of a set; of one lane's share of a run if there are several
//   join         pairs = (mean, variance) of a set, from those of its shares
//   forward      out   = y
//   dots         pairs = sums of (g, g * xhat) over the cols of one lane; g is dy * act'(z), in layer
//                        norm dy * weight
//   column_dots  pairs = sums of (dy, dy * xhat) over `chunk` rows, for layer norm's weight and bias
//   sums         terms = means over a set of (g * weight, g * weight * xhat), in layer norm of (g, g * xhat);
//                d_bias, d_weight = sums over a channel of g, g * xhat
//   backward     out   = dx = (g * weight - terms.x - xhat * terms.y) / sqrt(variance + eps); `factor` is
//                        that of the means, or 0 where statistics are constant
// shapes    x, dy, out: [rows, cols], as packs of WIDTH elements; stats, terms: [sets];
//           statistics: [outer, sets, lanes]; dots: [rows, lanes]; column_dots: [rows / chunk, cols];
//           `first` is the row where a piece of a large x begins. column_dots takes single elements
// dispatch  `lanes` invocations per row, or per run in statistics, each of which takes every lanes-th
//           pack: neighbours read neighbours, no barrier is needed, and the division of the index
//           serves many elements. join, column_dots, sums: one invocation per output
struct Params {
  rows: u32, cols: u32, lanes: u32, first: u32, outer: u32, sets: u32, set_rows: u32, runs: u32,
  channels: u32, chunk: u32, factor: f32, eps: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Pack>;
@group(0) @binding(2) var<storage, read> dy: array<Pack>;
@group(0) @binding(3) var<storage, read> stats: array<vec2f>; // mean, variance
@group(0) @binding(4) var<storage, read> weight: array<f32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read> partials: array<vec2f>; // what `pairs` was one step earlier
@group(0) @binding(7) var<storage, read_write> out: array<Pack>;
@group(0) @binding(8) var<storage, read_write> pairs: array<vec2f>;
@group(0) @binding(9) var<storage, read> terms: array<vec2f>;
@group(0) @binding(10) var<storage, read_write> terms_out: array<vec2f>;
@group(0) @binding(11) var<storage, read_write> d_weight: array<f32>;
@group(0) @binding(12) var<storage, read_write> d_bias: array<f32>;
@group(0) @binding(13) var<storage, read> weight_packs: array<Pack>; // BY_COLUMN: as x is read
@group(0) @binding(14) var<storage, read> bias_packs: array<Pack>;
const WORKGROUP_SIZE = 64u;
override BY_COLUMN: bool; // weight and bias belong to cols: layer norm
override SILU: bool; // act(z) = z * sigmoid(z); else z

// exp overflows above 88, and some drivers make NaN of what follows: the argument is kept in range.
fn sigmoid(z: Pack) -> Pack { return Pack(1.0) / (Pack(1.0) + exp(min(-z, Pack(80.0)))); }

fn act(z: Pack) -> Pack {
  if (SILU) { return z * sigmoid(z); }
  return z;
}

fn d_act(z: Pack) -> Pack {
  if (!SILU) { return Pack(1.0); }
  let s = sigmoid(z);
  return s * (Pack(1.0) + z * (Pack(1.0) - s));
}

// What the elements of one lane of a row have in common.
struct Lane {
  row: u32,
  begin: u32, // packs begin, begin + lanes, ... before end
  end: u32,
  of_set: u32,
  mean: f32,
  r: f32, // 1 / standard deviation
  weight: f32, // unless BY_COLUMN
  bias: f32,
}

fn lane_of(at: u32) -> Lane {
  let row = at / params.lanes;
  let global = params.first + row;
  let of_set = global / params.set_rows % params.sets;
  let s = stats[of_set];
  let r = 1.0 / sqrt(s.y + params.eps);
  let begin = row * params.cols;
  let lane = begin + at % params.lanes;
  if (BY_COLUMN) { return Lane(row, lane, begin + params.cols, of_set, s.x, r, 1.0, 0.0); }
  let c = global % params.channels;
  return Lane(row, lane, begin + params.cols, of_set, s.x, r, weight[c], bias[c]);
}

fn median(a: Pack, b: Pack, c: Pack) -> Pack { return max(min(a, b), min(max(a, b), c)); }

@compute @workgroup_size(WORKGROUP_SIZE)
fn statistics(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (at >= params.runs * params.lanes) { return; }
  let length = params.set_rows * params.cols;
  let end = (at / params.lanes + 1u) * length;
  let begin = end - length + at % params.lanes;
  let count = (end - begin + params.lanes - 1u) / params.lanes;
  // Sums of x - shift, so that a large mean does no harm, and one pass is enough. The shift is the
  // median of three elements: one stray element must not become it.
  let shift = median(x[begin], x[begin + count / 2u * params.lanes], x[begin + (count - 1u) * params.lanes]);
  var s = Pack(0.0);
  var q = Pack(0.0);
  for (var i = begin; i < end; i += params.lanes) {
    let d = x[i] - shift;
    s += d;
    q += d * d;
  }
  let n = f32(count);
  let means = shift + s / n;
  let mean = total(means) / f32(WIDTH);
  let off = means - mean;
  let squares = total(max(q - s * (s / n), Pack(0.0)) + n * off * off);
  pairs[at] = vec2f(mean, squares / (n * f32(WIDTH)));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn join(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let of_set = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (of_set >= params.sets) { return; }
  // Chan et al. 1979, with the share of each lane in the set as its weight.
  let length = params.set_rows * params.cols;
  let all = f32(params.outer * length);
  var mean = 0.0;
  for (var lane = 0u; lane < params.lanes; lane++) {
    let share = f32((length - lane + params.lanes - 1u) / params.lanes) / all;
    for (var o = 0u; o < params.outer; o++) {
      mean += share * partials[(o * params.sets + of_set) * params.lanes + lane].x;
    }
  }
  var variance = 0.0;
  for (var lane = 0u; lane < params.lanes; lane++) {
    let share = f32((length - lane + params.lanes - 1u) / params.lanes) / all;
    for (var o = 0u; o < params.outer; o++) {
      let part = partials[(o * params.sets + of_set) * params.lanes + lane];
      variance += share * (part.y + (part.x - mean) * (part.x - mean));
    }
  }
  pairs[of_set] = vec2f(mean, variance);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (at / params.lanes >= params.rows) { return; }
  let lane = lane_of(at);
  if (BY_COLUMN) {
    for (var i = lane.begin; i < lane.end; i += params.lanes) {
      let col = i - lane.row * params.cols;
      out[i] = act((x[i] - lane.mean) * lane.r * weight_packs[col] + bias_packs[col]);
    }
    return;
  }
  let slope = lane.r * lane.weight;
  for (var i = lane.begin; i < lane.end; i += params.lanes) {
    out[i] = act((x[i] - lane.mean) * slope + lane.bias);
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn dots(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (at / params.lanes >= params.rows) { return; }
  let lane = lane_of(at);
  let slope = lane.r * lane.weight;
  var g_sum = Pack(0.0);
  var dot_sum = Pack(0.0);
  for (var i = lane.begin; i < lane.end; i += params.lanes) {
    let centred = x[i] - lane.mean;
    var g = dy[i];
    if (BY_COLUMN) { g *= weight_packs[i - lane.row * params.cols]; }
    else { g *= d_act(centred * slope + lane.bias); }
    g_sum += g;
    dot_sum += g * centred;
  }
  pairs[at] = vec2f(total(g_sum), total(dot_sum) * lane.r);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn column_dots(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  let col = at % params.cols;
  let start = at / params.cols * params.chunk;
  if (start >= params.rows) { return; }
  let end = min(start + params.chunk, params.rows);
  var sum = vec2f(0.0);
  for (var row = start; row < end; row++) {
    let g = total(dy[row * params.cols + col]);
    let s = stats[row];
    sum += vec2f(g, g * (total(x[row * params.cols + col]) - s.x) / sqrt(s.y + params.eps));
  }
  pairs[at] = sum;
}

fn sum_of_lanes(row: u32) -> vec2f {
  var sum = vec2f(0.0);
  for (var lane = 0u; lane < params.lanes; lane++) { sum += partials[row * params.lanes + lane]; }
  return sum;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn sums(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  var sum = vec2f(0.0);
  if (at < params.sets) {
    for (var o = 0u; o < params.outer; o++) {
      let begin = (o * params.sets + at) * params.set_rows;
      for (var row = begin; row < begin + params.set_rows; row++) {
        if (BY_COLUMN) { sum += sum_of_lanes(row); }
        else { sum += sum_of_lanes(row) * weight[row % params.channels]; }
      }
    }
    terms_out[at] = sum * params.factor;
  } else if (at - params.sets < params.channels) {
    let channel = at - params.sets;
    for (var row = channel; row < params.rows; row += params.channels) { sum += sum_of_lanes(row); }
    d_bias[channel] = sum.x;
    d_weight[channel] = sum.y;
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (at / params.lanes >= params.rows) { return; }
  let lane = lane_of(at);
  let t = terms[lane.of_set] * lane.r;
  let slope = lane.r * lane.weight;
  for (var i = lane.begin; i < lane.end; i += params.lanes) {
    let centred = x[i] - lane.mean;
    var g = dy[i] * slope;
    if (BY_COLUMN) { g *= weight_packs[i - lane.row * params.cols]; }
    else { g *= d_act(centred * slope + lane.bias); }
    out[i] = g - t.x - centred * (t.y * lane.r);
  }
}
