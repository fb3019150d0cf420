// reduce: folds an axis into one value.
//   fold     out[o, s, i] = fold over k of x[o, k, i], for k in piece s of the axis
//   arg_max  out[o, i] = the first k with the largest x[o, k, i]
// shapes    x: [outer, n, inner]; out: [outer, splits, columns]; index: [outer, inner]
//           columns is inner, or 64 for a long contiguous row (inner = 1), whose element e goes to
//           column e % 64, to be folded again
// dispatch  one invocation per output: neighbours read neighbours, and no barrier is needed
// `factor` multiplies what comes out, so that a mean is one pass. Where x is too large for one
// binding and outer is 1, it comes in pieces of n; carries = 1 then adds each to those before.
struct Params {
  outer: u32, n: u32, inner: u32, columns: u32, splits: u32, chunk: u32, factor: f32,
  first: u32, carries: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> index: array<i32>; // arg_max only
const WORKGROUP_SIZE = 64u;
override KIND: u32; // one of:
const SUM = 0u;
const MAX = 1u;
const MIN = 2u;
const SUM_SQUARES = 3u;

fn fold2(a: f32, b: f32) -> f32 {
  switch (KIND) {
    case MAX: { return max(a, b); }
    case MIN: { return min(a, b); }
    case SUM_SQUARES: { return fma(b, b, a); }
    default: { return a + b; }
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn fold(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  let step = params.columns;
  if (at >= params.outer * params.splits * step) { return; }
  let row = params.n * params.inner;
  let i = at % step;
  let s = (at / step) % params.splits;
  let base = at / (step * params.splits) * row;
  var e = s * params.chunk * step + i;
  let end = min((s + 1u) * params.chunk * step, row);
  var value = 0.0;
  if (KIND == MAX || KIND == MIN) { value = x[base + min(i, row - 1u)]; } // of the row, if not of the piece
  // Four at a time, as each needs the one before otherwise.
  var v1 = value; var v2 = value; var v3 = value;
  for (; e + 3u * step < end; e += 4u * step) {
    value = fold2(value, x[base + e]);
    v1 = fold2(v1, x[base + e + step]);
    v2 = fold2(v2, x[base + e + 2u * step]);
    v3 = fold2(v3, x[base + e + 3u * step]);
  }
  for (; e < end; e += step) { value = fold2(value, x[base + e]); }
  if (KIND == MAX) { value = max(max(value, v1), max(v2, v3)); }
  else if (KIND == MIN) { value = min(min(value, v1), min(v2, v3)); }
  else { value = (value + v1) + (v2 + v3); }
  value *= params.factor;
  if (params.carries == 1u && params.first > 0u) {
    if (KIND == MAX) { value = max(value, out[at]); }
    else if (KIND == MIN) { value = min(value, out[at]); }
    else { value += out[at]; }
  }
  out[at] = value;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn arg_max(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (at >= params.outer * params.inner) { return; }
  let base = at / params.inner * params.n * params.inner + at % params.inner;
  var best = 0u;
  var largest = x[base];
  for (var k = 1u; k < params.n; k++) {
    let value = x[base + k * params.inner];
    if (value > largest) { largest = value; best = k; }
  }
  index[at] = i32(best);
}
