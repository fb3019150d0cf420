// optimizers: one step of a parameter, in place (PyTorch's formulas).
//   g = scale * dp + l2 * p
//   sgd                p = p - rate * g
//   sgd_momentum       a = keep_a * a + take_a * g;  p = p - rate * a, or g + keep_a * a (Nesterov)
//   adam               a = a + take_a * (g - a);  b = keep_b * b + take_b * g^2;
//                      p = shrink * p - rate * a / (sqrt(b) * norm + eps)
//   adam_amsgrad       as adam, with c = max(c, b) under the root
//   rmsprop...         a = keep_a * a + take_a * g^2;  d = sqrt(a) + eps;  p = p - rate * g / d
//     ..._centered     c = c + take_a * (g - c);  d = sqrt(max(a - c^2, 0)) + eps, as rounding may go below 0
//     ..._momentum     b = keep_b * b + g / d;  p = p - rate * b
// A file that comes after this one stores p, and lets its average follow or not.
// The host computes 1 - beta, bias corrections and powers in doubles.
// shapes    p, dp, a, b, c: [n], four at a time (buffers are padded to 16 bytes); scale: one number
// dispatch  one invocation per four elements
struct Params {
  n: u32, rate: f32, l2: f32, shrink: f32, eps: f32, norm: f32,
  keep_a: f32, take_a: f32, keep_b: f32, take_b: f32,
  take: f32, // of a parameter by its average
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> p: array<vec4f>;
@group(0) @binding(2) var<storage, read> dp: array<vec4f>;
@group(0) @binding(3) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<storage, read_write> a: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> b: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> c: array<vec4f>;
const WORKGROUP_SIZE = 64u;
override NESTEROV: bool = false;

fn gradient(i: u32) -> vec4f { return scale[0] * dp[i] + params.l2 * p[i]; }

fn decay_a(i: u32, value: vec4f) -> vec4f {
  let next = params.keep_a * a[i] + params.take_a * value;
  a[i] = next;
  return next;
}

fn decay_b(i: u32, value: vec4f) -> vec4f {
  let next = params.keep_b * b[i] + params.take_b * value;
  b[i] = next;
  return next;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn sgd(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  store(i, p[i] - params.rate * gradient(i));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn sgd_momentum(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  let g = gradient(i);
  let velocity = decay_a(i, g);
  store(i, p[i] - params.rate * select(velocity, g + params.keep_a * velocity, NESTEROV));
}

fn adam_update(i: u32, mean: vec4f, square: vec4f) {
  store(i, params.shrink * p[i] - params.rate * mean / (sqrt(square) * params.norm + params.eps));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn adam(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  let g = gradient(i);
  a[i] += params.take_a * (g - a[i]);
  adam_update(i, a[i], decay_b(i, g * g));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn adam_amsgrad(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  let g = gradient(i);
  a[i] += params.take_a * (g - a[i]);
  c[i] = max(c[i], decay_b(i, g * g));
  adam_update(i, a[i], c[i]);
}

fn centre(i: u32, g: vec4f) -> vec4f {
  c[i] += params.take_a * (g - c[i]);
  return c[i];
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn rmsprop(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  let g = gradient(i);
  store(i, p[i] - params.rate * g / (sqrt(decay_a(i, g * g)) + params.eps));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn rmsprop_momentum(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  let g = gradient(i);
  store(i, p[i] - params.rate * decay_b(i, g / (sqrt(decay_a(i, g * g)) + params.eps)));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn rmsprop_centered(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  let g = gradient(i);
  let mean = centre(i, g);
  store(i, p[i] - params.rate * g / (sqrt(max(decay_a(i, g * g) - mean * mean, vec4f(0.0))) + params.eps));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn rmsprop_centered_momentum(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  let g = gradient(i);
  let mean = centre(i, g);
  store(i, p[i] - params.rate * decay_b(i, g / (sqrt(max(decay_a(i, g * g) - mean * mean, vec4f(0.0))) + params.eps)));
}
