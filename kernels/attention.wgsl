// attention: y = softmax(scale * q k^T) v and its gradients, without the matrix of weights
// (Dao et al. 2022, FlashAttention, algorithms 1 and 4).
//   forward           y[t] = sum_s p[t, s] v[s]      p[t, s] = exp(scale * q[t] . k[s] - m[t]) / l[t]
//   backward_queries  dq[t] = scale * sum_s ds[t, s] k[s]
//   backward_keys     dk[s] = scale * sum_t ds[t, s] q[t]      dv[s] = sum_t p[t, s] dy[t]
// where ds = p * (dy[t] . v[s] - delta[t]) and delta[t] = dy[t] . y[t]. forward walks the keys once:
// it keeps the largest score m so far and the sum l of exp(score - m), shrinks its sums when m
// grows, and leaves stats = (m, 1 / l), from which the others compute p again. The paper's m + log(l)
// in one number would lose log(l) where scores are huge.
// shapes    q, dq: f32[batch, queries, 4 * WIDTH], k, dk: f32[batch, keys, 4 * WIDTH],
//           v, dv: f32[batch, keys, 4 * VALUE_WIDTH], y, dy: f32[batch, queries, 4 * VALUE_WIDTH],
//           stats: vec2f[batch, queries], delta: f32[batch, queries]; at most 16 columns
// dispatch  one invocation per 4 rows of one side, its own: they and what is summed for them stay in
//           registers. All of a workgroup walk the rows of the other side in step, so that these
//           are read at equal indices; each load serves 4 rows, as loads cost most in software.
struct Params { batch: u32, queries: u32, keys: u32, causal: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> own: array<vec4f>; // q; k in backward_keys
@group(0) @binding(2) var<storage, read> own_value: array<vec4f>; // dy; v in backward_keys
@group(0) @binding(3) var<storage, read> other: array<vec4f>; // k; q in backward_keys
@group(0) @binding(4) var<storage, read> other_value: array<vec4f>; // v; dy in backward_keys
@group(0) @binding(5) var<storage, read> stats: array<vec2f>;
@group(0) @binding(6) var<storage, read> delta: array<f32>;
@group(0) @binding(7) var<storage, read_write> stats_out: array<vec2f>;
@group(0) @binding(8) var<storage, read_write> out: array<vec4f>; // dq; dk in backward_keys
@group(0) @binding(9) var<storage, read_write> out_value: array<vec4f>; // y; dv in backward_keys
const WORKGROUP_SIZE = 32u;
const ROWS = 128u; // 4 per invocation
const WIDEST = 16u; // columns of a Row
override WIDTH: u32; // vec4s in a row of q or k
override VALUE_WIDTH: u32; // and in one of v
const LOWEST = -3.4028234e38; // instead of -inf, which minus itself is not a number

// Named members, as an array would not stay in registers. Those past the width are never touched.
struct Row { a: vec4f, b: vec4f, c: vec4f, d: vec4f }
// Four rows. A matrix holds four of their columns: its j-th vector belongs to row j.
struct Tile { a: mat4x4f, b: mat4x4f, c: mat4x4f, d: mat4x4f }

struct Job {
  z: u32, // of the batch
  first: u32, // row of the workgroup
  row: u32, // first row of the invocation
  at: u32, // the same among the rows of the whole batch
  count: u32, // of its four rows that exist; the others are zeros, and not stored
}

fn job_of(rows: u32, wg: vec3u, grid: vec3u, lane: u32) -> Job {
  let tiles = (rows + ROWS - 1u) / ROWS;
  let tile = wg.x + wg.y * grid.x;
  let z = tile / tiles;
  let first = tile % tiles * ROWS;
  let row = first + 4u * lane;
  var count = 0u;
  if (z < params.batch && row < rows) {
    // No min(): the loops over rows, known to be short, would be unrolled, and take long to compile.
    count = select(rows - row, 4u, rows - row > 4u);
  }
  return Job(z, first, row, z * rows + row, count);
}

fn put(x: mat4x4f, j: u32, row: vec4f) -> mat4x4f {
  return mat4x4f(select(x[0], row, j == 0u), select(x[1], row, j == 1u),
    select(x[2], row, j == 2u), select(x[3], row, j == 3u));
}
fn pick(x: mat4x4f, j: u32) -> vec4f {
  return select(select(x[0], x[1], j == 1u), select(x[2], x[3], j == 3u), j >= 2u);
}

fn own_tile(job: Job) -> Tile {
  var x = Tile();
  for (var j = 0u; j < job.count; j++) {
    let i = (job.at + j) * WIDTH;
    x.a = put(x.a, j, own[i]);
    if (WIDTH > 1u) { x.b = put(x.b, j, own[i + 1u]); }
    if (WIDTH > 2u) { x.c = put(x.c, j, own[i + 2u]); }
    if (WIDTH > 3u) { x.d = put(x.d, j, own[i + 3u]); }
  }
  return x;
}
fn own_value_tile(job: Job) -> Tile {
  var x = Tile();
  for (var j = 0u; j < job.count; j++) {
    let i = (job.at + j) * VALUE_WIDTH;
    x.a = put(x.a, j, own_value[i]);
    if (VALUE_WIDTH > 1u) { x.b = put(x.b, j, own_value[i + 1u]); }
    if (VALUE_WIDTH > 2u) { x.c = put(x.c, j, own_value[i + 2u]); }
    if (VALUE_WIDTH > 3u) { x.d = put(x.d, j, own_value[i + 3u]); }
  }
  return x;
}
fn other_row(row: u32) -> Row {
  let i = row * WIDTH;
  var x = Row();
  x.a = other[i];
  if (WIDTH > 1u) { x.b = other[i + 1u]; }
  if (WIDTH > 2u) { x.c = other[i + 2u]; }
  if (WIDTH > 3u) { x.d = other[i + 3u]; }
  return x;
}
fn other_value_row(row: u32) -> Row {
  let i = row * VALUE_WIDTH;
  var x = Row();
  x.a = other_value[i];
  if (VALUE_WIDTH > 1u) { x.b = other_value[i + 1u]; }
  if (VALUE_WIDTH > 2u) { x.c = other_value[i + 2u]; }
  if (VALUE_WIDTH > 3u) { x.d = other_value[i + 3u]; }
  return x;
}

// factor * x into the job's rows of out, and of out_value.
fn store(job: Job, factor: f32, x: Tile) {
  for (var j = 0u; j < job.count; j++) {
    let i = (job.at + j) * WIDTH;
    out[i] = factor * pick(x.a, j);
    if (WIDTH > 1u) { out[i + 1u] = factor * pick(x.b, j); }
    if (WIDTH > 2u) { out[i + 2u] = factor * pick(x.c, j); }
    if (WIDTH > 3u) { out[i + 3u] = factor * pick(x.d, j); }
  }
}
fn store_value(job: Job, factor: vec4f, x: Tile) {
  for (var j = 0u; j < job.count; j++) {
    let i = (job.at + j) * VALUE_WIDTH;
    out_value[i] = factor[j] * pick(x.a, j);
    if (VALUE_WIDTH > 1u) { out_value[i + 1u] = factor[j] * pick(x.b, j); }
    if (VALUE_WIDTH > 2u) { out_value[i + 2u] = factor[j] * pick(x.c, j); }
    if (VALUE_WIDTH > 3u) { out_value[i + 3u] = factor[j] * pick(x.d, j); }
  }
}

// Products of the four rows with y.
fn dots(x: Tile, y: Row, width: u32) -> vec4f {
  var sum = y.a * x.a;
  if (width > 1u) { sum += y.b * x.b; }
  if (width > 2u) { sum += y.c * x.c; }
  if (width > 3u) { sum += y.d * x.d; }
  return sum;
}

// keep * sum + w * x, with one keep and one w for each of the four rows.
fn add(sum: Tile, keep: vec4f, w: vec4f, x: Row, width: u32) -> Tile {
  var y = sum;
  y.a = add_part(sum.a, keep, w, x.a);
  if (width > 1u) { y.b = add_part(sum.b, keep, w, x.b); }
  if (width > 2u) { y.c = add_part(sum.c, keep, w, x.c); }
  if (width > 3u) { y.d = add_part(sum.d, keep, w, x.d); }
  return y;
}
fn add_part(sum: mat4x4f, keep: vec4f, w: vec4f, x: vec4f) -> mat4x4f {
  return mat4x4f(fma(vec4f(w.x), x, keep.x * sum[0]), fma(vec4f(w.y), x, keep.y * sum[1]),
    fma(vec4f(w.z), x, keep.z * sum[2]), fma(vec4f(w.w), x, keep.w * sum[3]));
}

// One past the last key that a query of the workgroup sees.
fn end_of_keys(job: Job) -> u32 {
  return select(params.keys, min(params.keys, job.first + ROWS), params.causal == 1u);
}
// Which of four queries do not see the key, which come before it.
fn is_hidden(query: vec4u, key: vec4u) -> vec4<bool> {
  return vec4<bool>(params.causal == 1u) & (query < key);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  let job = job_of(params.queries, wg, grid, lane);
  if (job.count == 0u) { return; }
  let t = job.row + vec4u(0u, 1u, 2u, 3u);
  let q = own_tile(job);
  let end = end_of_keys(job);
  var m = vec4f(LOWEST);
  var l = vec4f();
  var y = Tile();
  for (var s = 0u; s < end; s++) {
    let at = job.z * params.keys + s;
    let hidden = is_hidden(t, vec4u(s));
    let score = select(params.scale * dots(q, other_row(at), WIDTH), vec4f(LOWEST), hidden);
    let top = max(m, score);
    let keep = exp(m - top);
    let p = select(exp(score - top), vec4f(), hidden);
    m = top;
    l = fma(l, keep, p);
    y = add(y, keep, p, other_value_row(at), VALUE_WIDTH);
  }
  let r = select(vec4f(), 1.0 / l, l > vec4f()); // without any key, y = 0
  store_value(job, r, y);
  for (var j = 0u; j < job.count; j++) { stats_out[job.at + j] = vec2f(m[j], r[j]); }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn backward_queries(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
                    @builtin(local_invocation_index) lane: u32) {
  let job = job_of(params.queries, wg, grid, lane);
  if (job.count == 0u) { return; }
  let t = job.row + vec4u(0u, 1u, 2u, 3u);
  let q = own_tile(job);
  let dy = own_value_tile(job);
  let i = job.at; // past the last row, these are not its own, but then neither is used
  let m = vec4f(stats[i].x, stats[i + 1u].x, stats[i + 2u].x, stats[i + 3u].x);
  let r = vec4f(stats[i].y, stats[i + 1u].y, stats[i + 2u].y, stats[i + 3u].y);
  let mean = vec4f(delta[i], delta[i + 1u], delta[i + 2u], delta[i + 3u]);
  let end = end_of_keys(job);
  var dq = Tile();
  for (var s = 0u; s < end; s++) {
    let at = job.z * params.keys + s;
    let k = other_row(at);
    let score = params.scale * dots(q, k, WIDTH);
    let p = select(r * exp(score - m), vec4f(), is_hidden(t, vec4u(s)));
    let ds = p * (dots(dy, other_value_row(at), VALUE_WIDTH) - mean);
    dq = add(dq, vec4f(1.0), ds, k, WIDTH);
  }
  store(job, params.scale, dq);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn backward_keys(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
                 @builtin(local_invocation_index) lane: u32) {
  let job = job_of(params.keys, wg, grid, lane);
  if (job.count == 0u) { return; }
  let s = job.row + vec4u(0u, 1u, 2u, 3u);
  let k = own_tile(job);
  let v = own_value_tile(job);
  var dk = Tile();
  var dv = Tile();
  // A causal query does not see the keys after it: the first that counts is the first key's.
  for (var t = select(0u, job.first, params.causal == 1u); t < params.queries; t++) {
    let at = job.z * params.queries + t;
    let q = other_row(at);
    let dy = other_value_row(at);
    let score = params.scale * dots(k, q, WIDTH);
    let p = select(stats[at].y * exp(score - stats[at].x), vec4f(), is_hidden(vec4u(t), s));
    let ds = p * (dots(v, dy, VALUE_WIDTH) - delta[at]);
    dk = add(dk, vec4f(1.0), ds, q, WIDTH);
    dv = add(dv, vec4f(1.0), p, dy, VALUE_WIDTH);
  }
  store(job, params.scale, dk);
  store_value(job, vec4f(1.0), dv);
}
