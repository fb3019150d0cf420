// softmax: turns scores along one axis into probabilities, or their logarithms.
//   stats     partial[o, l, i] = (m, s), m = max, s = sum of exp(z - m) over the k of lane l, in one
//             pass: where m grows, s shrinks (Milakov & Gimelshein 2018, algorithm 3)
//   forward   y = exp(z - m) / s, or z - m - log(s)   with m, s joined over the lanes
//   dots      partial[o, l, i] = (sum of dy * y, -), or of dy, over the k of lane l
//   backward  dx = scale * y * (dy - sum(dy * y)), or scale * (dy - exp(y) * sum(dy))
//   whole, whole_backward   both stages of a row at once, with one exp per element
// where z = scale * x. The maximum is subtracted so that exp cannot overflow.
// shapes    x, y, dy, out: f32[outer, n, inner], as packs of WIDTH elements along n where inner is 1;
//           partial: vec2f[outer, lanes, inner]
//           causal: outer counts [..., queries], and query t sees the keys k <= t only; WIDTH is 1
// dispatch  one invocation per partial, in all entries. Lane l owns k = l, l + lanes, ..., so that
//           neighbours read neighbours; two dispatches stand for the barrier of a tree. Of whole rows
//           one each, where inner is 1.
struct Params { outer: u32, n: u32, inner: u32, lanes: u32, first: u32, queries: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Pack>;
@group(0) @binding(2) var<storage, read> y: array<Pack>;
@group(0) @binding(3) var<storage, read> dy: array<Pack>;
@group(0) @binding(4) var<storage, read> partial: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> partial_out: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> out: array<Pack>;
const WORKGROUP_SIZE = 64u;
override KIND: u32; // one of:
const SOFTMAX = 0u;
const LOG_SOFTMAX = 1u;
const LOWEST = -3.4028234e38; // instead of -inf, which minus itself is not a number

struct Lane {
  at: u32, // of the partial; past the end there is nothing to do
  first: u32, // of x
  step: u32,
  seen: u32, // one past the last element that counts
  end: u32,
  partials: u32, // the lanes of the same row: this one and every inner-th after it
}

fn lane_of(id: vec3u, grid: vec3u) -> Lane {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  let i = at % params.inner;
  let l = at / params.inner % params.lanes;
  let o = at / (params.inner * params.lanes);
  let base = o * params.n * params.inner;
  var seen = params.n;
  if (params.queries > 0u) { seen = min(seen, (params.first + o) % params.queries + 1u); }
  return Lane(at, base + l * params.inner + i, params.lanes * params.inner, base + seen * params.inner,
    base + params.n * params.inner, o * params.lanes * params.inner + i);
}

fn is_outside(lane: Lane) -> bool { return lane.at >= params.outer * params.lanes * params.inner; }

@compute @workgroup_size(WORKGROUP_SIZE)
fn stats(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let lane = lane_of(id, grid);
  if (is_outside(lane)) { return; }
  var m = Pack(LOWEST);
  var s = Pack(0.0);
  for (var e = lane.first; e < lane.seen; e += lane.step) {
    let above = params.scale * x[e] - m;
    let less = exp(-abs(above)); // of what is smaller, z or m, where the larger has 1
    s = select(s + less, fma(s, less, Pack(1.0)), above > Pack(0.0));
    m = max(m, params.scale * x[e]);
  }
  let top = largest(m);
  partial_out[lane.at] = vec2f(top, total(s * exp(m - top)));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let lane = lane_of(id, grid);
  if (is_outside(lane)) { return; }
  var m = LOWEST;
  for (var l = 0u; l < params.lanes; l++) { m = max(m, partial[lane.partials + l * params.inner].x); }
  var s = 0.0;
  for (var l = 0u; l < params.lanes; l++) {
    let other = partial[lane.partials + l * params.inner];
    s += other.y * exp(other.x - m);
  }
  if (KIND == LOG_SOFTMAX) {
    let log_s = log(s);
    for (var e = lane.first; e < lane.end; e += lane.step) { out[e] = (params.scale * x[e] - m) - log_s; }
    return;
  }
  let r = 1.0 / s;
  var e = lane.first;
  for (; e < lane.seen; e += lane.step) { out[e] = exp(params.scale * x[e] - m) * r; }
  for (; e < lane.end; e += lane.step) { out[e] = Pack(0.0); }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn dots(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let lane = lane_of(id, grid);
  if (is_outside(lane)) { return; }
  var dot = Pack(0.0);
  for (var e = lane.first; e < lane.end; e += lane.step) {
    if (KIND == LOG_SOFTMAX) { dot += dy[e]; } else { dot += dy[e] * y[e]; }
  }
  partial_out[lane.at] = vec2f(total(dot), 0.0);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let lane = lane_of(id, grid);
  if (is_outside(lane)) { return; }
  var dot = 0.0;
  for (var l = 0u; l < params.lanes; l++) { dot += partial[lane.partials + l * params.inner].x; }
  for (var e = lane.first; e < lane.end; e += lane.step) {
    if (KIND == LOG_SOFTMAX) { out[e] = params.scale * (dy[e] - exp(y[e]) * dot); }
    else { out[e] = params.scale * y[e] * (dy[e] - dot); }
  }
}

@compute @workgroup_size(1)
fn whole(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let row = wg.x + wg.y * grid.x;
  if (row >= params.outer) { return; }
  let first = row * params.n;
  let end = first + params.n;
  var seen = end;
  if (params.queries > 0u) { seen = min(end, first + (params.first + row) % params.queries + 1u); }
  var highest = Pack(LOWEST);
  for (var e = first; e < seen; e++) { highest = max(highest, params.scale * x[e]); }
  let m = largest(highest);
  var sum = Pack(0.0);
  for (var e = first; e < seen; e++) {
    let z = params.scale * x[e] - m;
    let p = exp(z);
    sum += p;
    if (KIND == SOFTMAX) { out[e] = p; } else { out[e] = z; }
  }
  let s = total(sum);
  if (KIND == LOG_SOFTMAX) {
    let log_s = log(s);
    for (var e = first; e < end; e++) { out[e] -= log_s; }
    return;
  }
  let r = 1.0 / s;
  for (var e = first; e < seen; e++) { out[e] *= r; }
  for (var e = seen; e < end; e++) { out[e] = Pack(0.0); }
}

@compute @workgroup_size(1)
fn whole_backward(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let row = wg.x + wg.y * grid.x;
  if (row >= params.outer) { return; }
  let first = row * params.n;
  let end = first + params.n;
  var sum = Pack(0.0);
  for (var e = first; e < end; e++) {
    if (KIND == LOG_SOFTMAX) { sum += dy[e]; } else { sum += dy[e] * y[e]; }
  }
  let dot = total(sum);
  for (var e = first; e < end; e++) {
    if (KIND == LOG_SOFTMAX) { out[e] = params.scale * (dy[e] - exp(y[e]) * dot); }
    else { out[e] = params.scale * y[e] * (dy[e] - dot); }
  }
}
