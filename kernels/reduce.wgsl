// reduce: folds axes into one value.
//   rows     elements[o, p, k, l] = fold of x[o, j, k, i] over j in chunk p / across of its axis and
//                                   i = l, l + lanes, ... in stretch p % across of its own
//   columns  out[o, p, k]         = fold of x[o, j, k] over j in chunk p of its axis
//   arg_max  index[o, k]          = the first j with the largest x[o, j, k]
// shapes    x: [outer, n, kept, m], as packs of WIDTH elements (in columns along kept, m being 1;
//           arg_max: single elements); elements: [outer, pieces, kept, lanes]; out: [outer, pieces, kept].
//           Where pieces or lanes are several, what comes out is folded again
// dispatch  one invocation per output: neighbours read neighbours, and no barrier is needed
// `factor` multiplies what comes out, so that a mean is one pass. Where x is too large for one
// binding and outer is 1, it comes in pieces of n, or of m; carries = 1 then adds each to those before.
struct Params {
  outer: u32, n: u32, kept: u32, m: u32, lanes: u32, pieces: u32, across: u32, chunk: u32,
  stretch: u32, factor: f32, first: u32, carries: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Pack>;
@group(0) @binding(2) var<storage, read_write> out: array<Pack>;
@group(0) @binding(3) var<storage, read_write> elements: array<f32>;
@group(0) @binding(4) var<storage, read_write> index: array<i32>;
const WORKGROUP_SIZE = 64u;
override KIND: u32; // one of:
const SUM = 0u;
const MAX = 1u;
const MIN = 2u;
const SUM_SQUARES = 3u;

fn fold2(a: Pack, b: Pack) -> Pack {
  switch (KIND) {
    case MAX: { return max(a, b); }
    case MIN: { return min(a, b); }
    case SUM_SQUARES: { return fma(b, b, a); }
    default: { return a + b; }
  }
}

// Joins what was folded already: squares are sums by now.
fn join2(a: Pack, b: Pack) -> Pack {
  if (KIND == SUM_SQUARES) { return a + b; }
  return fold2(a, b);
}

fn join_pack(v: Pack) -> f32 {
  switch (KIND) {
    case MAX: { return largest(v); }
    case MIN: { return smallest(v); }
    default: { return total(v); }
  }
}

// What folding starts from: nothing, or for extremes any element that belongs.
fn start(at: u32) -> Pack {
  if (KIND == MAX || KIND == MIN) { return x[at]; }
  return Pack(0.0);
}

fn carries() -> bool { return params.carries == 1u && params.first > 0u; }

@compute @workgroup_size(WORKGROUP_SIZE)
fn rows(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  let step = params.lanes;
  if (at >= params.outer * params.pieces * params.kept * step) { return; }
  let lane = at % step;
  let k = at / step % params.kept;
  let p = at / (step * params.kept);
  let o = p / params.pieces;
  let row = params.kept * params.m;
  let base = o * params.n * row + k * params.m;
  let piece = p - o * params.pieces;
  let begin = piece / params.across * params.chunk;
  let end = min(begin + params.chunk, params.n);
  let left = piece % params.across * params.stretch;
  let right = min(left + params.stretch, params.m);
  // Four at a time, as each needs the one before otherwise.
  var v0 = start(base + min(begin, params.n - 1u) * row + min(left + lane, params.m - 1u));
  var v1 = v0; var v2 = v0; var v3 = v0;
  for (var j = begin; j < end; j++) {
    var i = base + j * row + left + lane;
    let last = base + j * row + right;
    for (; i + 3u * step < last; i += 4u * step) {
      v0 = fold2(v0, x[i]);
      v1 = fold2(v1, x[i + step]);
      v2 = fold2(v2, x[i + 2u * step]);
      v3 = fold2(v3, x[i + 3u * step]);
    }
    for (; i < last; i += step) { v0 = fold2(v0, x[i]); }
  }
  var value = join_pack(join2(join2(v0, v1), join2(v2, v3))) * params.factor;
  if (carries()) {
    if (KIND == MAX) { value = max(value, elements[at]); }
    else if (KIND == MIN) { value = min(value, elements[at]); }
    else { value += elements[at]; }
  }
  elements[at] = value;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn columns(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  let step = params.kept;
  if (at >= params.outer * params.pieces * step) { return; }
  let p = at / step;
  let o = p / params.pieces;
  let base = o * params.n * step + at % step;
  let begin = (p - o * params.pieces) * params.chunk;
  let end = base + min(begin + params.chunk, params.n) * step;
  var v0 = start(base + min(begin, params.n - 1u) * step);
  var v1 = v0; var v2 = v0; var v3 = v0;
  var i = base + begin * step;
  for (; i + 3u * step < end; i += 4u * step) {
    v0 = fold2(v0, x[i]);
    v1 = fold2(v1, x[i + step]);
    v2 = fold2(v2, x[i + 2u * step]);
    v3 = fold2(v3, x[i + 3u * step]);
  }
  for (; i < end; i += step) { v0 = fold2(v0, x[i]); }
  var value = join2(join2(v0, v1), join2(v2, v3)) * params.factor;
  if (carries()) { value = join2(value, out[at]); }
  out[at] = value;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn arg_max(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (at >= params.outer * params.kept) { return; }
  let base = at / params.kept * params.n * params.kept + at % params.kept;
  var best = 0u;
  var greatest = total(x[base]);
  for (var k = 1u; k < params.n; k++) {
    let value = total(x[base + k * params.kept]);
    if (value > greatest) { greatest = value; best = k; }
  }
  index[at] = i32(best);
}
