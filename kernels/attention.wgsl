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
//           stats: vec2f[batch, queries], delta: f32[batch, queries]; at most 64 columns
// dispatch  one invocation per 4 rows of one side, its own: they and what is summed for them stay in
//           registers. All of a workgroup walk the rows of the other side in step, so that these
//           are read at equal indices; each load serves 4 rows, as loads cost most in software. There
//           the invocations of a subgroup also hold different rows, and hand them round; so even those
//           without rows of their own may be needed
struct Params {
  batch: u32, queries: u32, keys: u32, width: u32, value_width: u32, causal: u32, scale: f32,
}
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
const WIDEST = 64u; // columns of a Row
override WIDTH: u32; // vec4s in a row of q or k; equal to params.width
override VALUE_WIDTH: u32; // and in one of v
const LOWEST = -3.4028234e38; // instead of -inf, which minus itself is not a number

// Named members, as an array would not stay in registers. Those past the width are never touched.
struct Row16 { a: vec4f, b: vec4f, c: vec4f, d: vec4f }
struct Row { a: Row16, b: Row16, c: Row16, d: Row16 }
// Four rows. A matrix holds four of their columns: its j-th vector belongs to row j.
struct Tile16 { a: mat4x4f, b: mat4x4f, c: mat4x4f, d: mat4x4f }
struct Tile { a: Tile16, b: Tile16, c: Tile16, d: Tile16 }

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

// Sixteen columns more, behind those that are there. Loads and stores are in loops over sixteen
// columns, as each takes long to compile, and what they fill moves on by one. How often they go round
// comes as a parameter: for a constant they would be unrolled. What they read past the last column is
// never used.
fn push_tile(x: Tile, y: Tile16, width: u32) -> Tile {
  if (width > 12u) { return Tile(x.b, x.c, x.d, y); }
  if (width > 8u) { return Tile(x.b, x.c, y, y); }
  if (width > 4u) { return Tile(x.b, y, y, y); }
  return Tile(y, y, y, y);
}
fn push_row(x: Row, y: Row16, width: u32) -> Row {
  if (width > 12u) { return Row(x.b, x.c, x.d, y); }
  if (width > 8u) { return Row(x.b, x.c, y, y); }
  if (width > 4u) { return Row(x.b, y, y, y); }
  return Row(y, y, y, y);
}

fn own_tile(job: Job) -> Tile {
  var x = Tile();
  for (var i = 0u; i < params.width; i += 4u) {
    var y = Tile16();
    for (var j = 0u; j < job.count; j++) {
      let at = (job.at + j) * WIDTH + i;
      y.a = put(y.a, j, own[at]);
      if (WIDTH > 1u) { y.b = put(y.b, j, own[at + 1u]); }
      if (WIDTH > 2u) { y.c = put(y.c, j, own[at + 2u]); }
      if (WIDTH > 3u) { y.d = put(y.d, j, own[at + 3u]); }
    }
    x = push_tile(x, y, WIDTH);
  }
  return x;
}
fn own_value_tile(job: Job) -> Tile {
  var x = Tile();
  for (var i = 0u; i < params.value_width; i += 4u) {
    var y = Tile16();
    for (var j = 0u; j < job.count; j++) {
      let at = (job.at + j) * VALUE_WIDTH + i;
      y.a = put(y.a, j, own_value[at]);
      if (VALUE_WIDTH > 1u) { y.b = put(y.b, j, own_value[at + 1u]); }
      if (VALUE_WIDTH > 2u) { y.c = put(y.c, j, own_value[at + 2u]); }
      if (VALUE_WIDTH > 3u) { y.d = put(y.d, j, own_value[at + 3u]); }
    }
    x = push_tile(x, y, VALUE_WIDTH);
  }
  return x;
}
fn other_row(row: u32) -> Row {
  var x = Row();
  for (var i = 0u; i < params.width; i += 4u) {
    let at = row * WIDTH + i;
    var y = Row16();
    y.a = other[at];
    if (WIDTH > 1u) { y.b = other[at + 1u]; }
    if (WIDTH > 2u) { y.c = other[at + 2u]; }
    if (WIDTH > 3u) { y.d = other[at + 3u]; }
    x = push_row(x, y, WIDTH);
  }
  return x;
}
fn other_value_row(row: u32) -> Row {
  var x = Row();
  for (var i = 0u; i < params.value_width; i += 4u) {
    let at = row * VALUE_WIDTH + i;
    var y = Row16();
    y.a = other_value[at];
    if (VALUE_WIDTH > 1u) { y.b = other_value[at + 1u]; }
    if (VALUE_WIDTH > 2u) { y.c = other_value[at + 2u]; }
    if (VALUE_WIDTH > 3u) { y.d = other_value[at + 3u]; }
    x = push_row(x, y, VALUE_WIDTH);
  }
  return x;
}

// factor * x into the job's rows of out, and of out_value.
fn store(job: Job, factor: f32, x: Tile) {
  var y = x;
  for (var i = 0u; i < params.width; i += 4u) {
    let part = y.a;
    for (var j = 0u; j < job.count; j++) {
      let at = (job.at + j) * WIDTH + i;
      out[at] = factor * pick(part.a, j);
      if (i + 1u < WIDTH) { out[at + 1u] = factor * pick(part.b, j); }
      if (i + 2u < WIDTH) { out[at + 2u] = factor * pick(part.c, j); }
      if (i + 3u < WIDTH) { out[at + 3u] = factor * pick(part.d, j); }
    }
    y = Tile(y.b, y.c, y.d, y.a);
  }
}
fn store_value(job: Job, factor: vec4f, x: Tile) {
  var y = x;
  for (var i = 0u; i < params.value_width; i += 4u) {
    let part = y.a;
    for (var j = 0u; j < job.count; j++) {
      let at = (job.at + j) * VALUE_WIDTH + i;
      out_value[at] = factor[j] * pick(part.a, j);
      if (i + 1u < VALUE_WIDTH) { out_value[at + 1u] = factor[j] * pick(part.b, j); }
      if (i + 2u < VALUE_WIDTH) { out_value[at + 2u] = factor[j] * pick(part.c, j); }
      if (i + 3u < VALUE_WIDTH) { out_value[at + 3u] = factor[j] * pick(part.d, j); }
    }
    y = Tile(y.b, y.c, y.d, y.a);
  }
}

// Products of the four rows with row j of those held.
fn dots16(x: Tile16, held: Row16, j: u32, width: u32) -> vec4f {
  var y = held_by(held.a, j);
  var sum = y * x.a;
  if (width > 1u) { y = held_by(held.b, j); sum += y * x.b; }
  if (width > 2u) { y = held_by(held.c, j); sum += y * x.c; }
  if (width > 3u) { y = held_by(held.d, j); sum += y * x.d; }
  return sum;
}
fn dots(x: Tile, held: Row, j: u32, width: u32) -> vec4f {
  var sum = dots16(x.a, held.a, j, width);
  if (width > 4u) { sum += dots16(x.b, held.b, j, width - 4u); }
  if (width > 8u) { sum += dots16(x.c, held.c, j, width - 8u); }
  if (width > 12u) { sum += dots16(x.d, held.d, j, width - 12u); }
  return sum;
}

// keep * sum + w * x, with one keep and one w for each of the four rows; x is row j of those held.
fn add_part(sum: mat4x4f, keep: vec4f, w: vec4f, x: vec4f) -> mat4x4f {
  return mat4x4f(fma(vec4f(w.x), x, keep.x * sum[0]), fma(vec4f(w.y), x, keep.y * sum[1]),
    fma(vec4f(w.z), x, keep.z * sum[2]), fma(vec4f(w.w), x, keep.w * sum[3]));
}
fn add16(sum: Tile16, keep: vec4f, w: vec4f, held: Row16, j: u32, width: u32) -> Tile16 {
  var y = sum;
  y.a = add_part(sum.a, keep, w, held_by(held.a, j));
  if (width > 1u) { y.b = add_part(sum.b, keep, w, held_by(held.b, j)); }
  if (width > 2u) { y.c = add_part(sum.c, keep, w, held_by(held.c, j)); }
  if (width > 3u) { y.d = add_part(sum.d, keep, w, held_by(held.d, j)); }
  return y;
}
fn add(sum: Tile, keep: vec4f, w: vec4f, held: Row, j: u32, width: u32) -> Tile {
  var y = sum;
  y.a = add16(sum.a, keep, w, held.a, j, width);
  if (width > 4u) { y.b = add16(sum.b, keep, w, held.b, j, width - 4u); }
  if (width > 8u) { y.c = add16(sum.c, keep, w, held.c, j, width - 8u); }
  if (width > 12u) { y.d = add16(sum.d, keep, w, held.d, j, width - 12u); }
  return y;
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
  if (!is_needed(job.count > 0u)) { return; }
  let t = job.row + vec4u(0u, 1u, 2u, 3u);
  let q = own_tile(job);
  let end = end_of_keys(job);
  let keys = held_count();
  var m = vec4f(LOWEST);
  var l = vec4f();
  var y = Tile();
  for (var first = 0u; first < end; first += keys) {
    let at = job.z * params.keys + min(first + holder(), end - 1u);
    let k = other_row(at);
    let v = other_value_row(at);
    for (var j = 0u; j < keys && first + j < end; j++) {
      let hidden = is_hidden(t, vec4u(first + j));
      let score = select(params.scale * dots(q, k, j, WIDTH), vec4f(LOWEST), hidden);
      let less = exp(-abs(score - m)); // of the smaller of both, where the larger has 1
      let keep = select(vec4f(1.0), less, score > m);
      let p = select(select(less, vec4f(1.0), score > m), vec4f(), hidden);
      m = max(m, score);
      l = fma(l, keep, p);
      y = add(y, keep, p, v, j, VALUE_WIDTH);
    }
  }
  let r = select(vec4f(), 1.0 / l, l > vec4f()); // without any key, y = 0
  store_value(job, r, y);
  for (var j = 0u; j < job.count; j++) { stats_out[job.at + j] = vec2f(m[j], r[j]); }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn backward_queries(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
                    @builtin(local_invocation_index) lane: u32) {
  let job = job_of(params.queries, wg, grid, lane);
  if (!is_needed(job.count > 0u)) { return; }
  let t = job.row + vec4u(0u, 1u, 2u, 3u);
  let q = own_tile(job);
  let dy = own_value_tile(job);
  let i = job.at; // past the last row, these are not its own, but then neither is used
  let m = vec4f(stats[i].x, stats[i + 1u].x, stats[i + 2u].x, stats[i + 3u].x);
  let r = vec4f(stats[i].y, stats[i + 1u].y, stats[i + 2u].y, stats[i + 3u].y);
  let mean = vec4f(delta[i], delta[i + 1u], delta[i + 2u], delta[i + 3u]);
  let end = end_of_keys(job);
  let keys = held_count();
  var dq = Tile();
  for (var first = 0u; first < end; first += keys) {
    let at = job.z * params.keys + min(first + holder(), end - 1u);
    let k = other_row(at);
    let v = other_value_row(at);
    for (var j = 0u; j < keys && first + j < end; j++) {
      let score = params.scale * dots(q, k, j, WIDTH);
      let p = select(r * exp(score - m), vec4f(), is_hidden(t, vec4u(first + j)));
      let ds = p * (dots(dy, v, j, VALUE_WIDTH) - mean);
      dq = add(dq, vec4f(1.0), ds, k, j, WIDTH);
    }
  }
  store(job, params.scale, dq);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn backward_keys(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
                 @builtin(local_invocation_index) lane: u32) {
  let job = job_of(params.keys, wg, grid, lane);
  if (!is_needed(job.count > 0u)) { return; }
  let s = job.row + vec4u(0u, 1u, 2u, 3u);
  let k = own_tile(job);
  let v = own_value_tile(job);
  let queries = held_count();
  var dk = Tile();
  var dv = Tile();
  // A causal query does not see the keys after it: the first that counts is the first key's.
  let begin = select(0u, job.first, params.causal == 1u);
  for (var first = begin; first < params.queries; first += queries) {
    let at = job.z * params.queries + min(first + holder(), params.queries - 1u);
    let q = other_row(at);
    let dy = other_value_row(at);
    let of_row = vec4f(stats[at], delta[at], 0.0);
    for (var j = 0u; j < queries && first + j < params.queries; j++) {
      let row = held_by(of_row, j);
      let score = params.scale * dots(k, q, j, WIDTH);
      let p = select(row.y * exp(score - row.x), vec4f(), is_hidden(vec4u(first + j), s));
      let ds = p * (dots(v, dy, j, VALUE_WIDTH) - row.z);
      dk = add(dk, vec4f(1.0), ds, q, j, WIDTH);
      dv = add(dv, vec4f(1.0), p, dy, j, VALUE_WIDTH);
    }
  }
  store(job, params.scale, dk);
  store_value(job, vec4f(1.0), dv);
}
