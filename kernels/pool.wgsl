// pool: one value per window of the pixels of each plane (n, c).
//   max_forward   out[o] = max over window(o) of x;  index[o] = its first pixel with that value
//   max_backward  out[i] = sum of dy[o] over the windows o with index[o] = i
//   avg_forward   out[o] = sum over window(o) of x / divisor(o)
//   avg_backward  out[i] = sum of dy[o] / divisor(o) over the windows o that contain i
// window(o) along an axis, cut to the image:
//   plain     o * stride - padding, `window` pixels long
//   ADAPTIVE  floor(o * size / count) to ceil((o + 1) * size / count) - 1
// shapes    x and its gradient: [planes, size.y, size.x]; the other side: [planes, count.y, count.x]
// dispatch  one invocation per element of `out`; the backward entries gather, so no two write one place
struct Params {
  planes: u32, count_padding: u32, size: vec2i, count: vec2i, window: vec2i, stride: vec2i, padding: vec2i,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read> index: array<i32>; // pixel in its plane
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<storage, read_write> index_out: array<i32>;
const WORKGROUP_SIZE = 64u;
override ADAPTIVE: bool;

fn ceil_div(a: vec2i, b: vec2i) -> vec2i { return (a + b - 1) / b; } // a >= 0

fn first_pixel(o: vec2i) -> vec2i {
  if (ADAPTIVE) { return o * params.size / params.count; }
  return max(o * params.stride - params.padding, vec2i(0));
}

fn end_pixel(o: vec2i) -> vec2i {
  if (ADAPTIVE) { return ceil_div((o + 1) * params.size, params.count); }
  return min(o * params.stride - params.padding + params.window, params.size);
}

// The windows that contain pixel i.
fn first_window(i: vec2i) -> vec2i {
  if (ADAPTIVE) { return i * params.count / params.size; }
  return ceil_div(max(i + params.padding - params.window + 1, vec2i(0)), params.stride);
}

fn end_window(i: vec2i) -> vec2i {
  if (ADAPTIVE) { return ceil_div((i + 1) * params.count, params.size); }
  return min((i + params.padding) / params.stride + 1, params.count);
}

fn weight(o: vec2i) -> f32 { // 1 / divisor
  if (params.count_padding == 1u) { return 1.0 / f32(params.window.x * params.window.y); }
  let pixels = end_pixel(o) - first_pixel(o);
  return 1.0 / f32(pixels.x * pixels.y);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn max_forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = i32(id.x + id.y * grid.x * WORKGROUP_SIZE);
  let row = at / params.count.x;
  let plane = row / params.count.y;
  if (plane >= i32(params.planes)) { return; }
  let o = vec2i(at - row * params.count.x, row - plane * params.count.y);
  let begin = plane * params.size.x * params.size.y;
  let first = first_pixel(o);
  let end = end_pixel(o);
  var best = first.y * params.size.x + first.x;
  var largest = x[begin + best];
  for (var y = first.y; y < end.y; y++) {
    for (var i = y * params.size.x + first.x; i < y * params.size.x + end.x; i++) {
      let value = x[begin + i];
      if (value > largest) { largest = value; best = i; }
    }
  }
  out[at] = largest;
  index_out[at] = best;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn max_backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = i32(id.x + id.y * grid.x * WORKGROUP_SIZE);
  let row = at / params.size.x;
  let plane = row / params.size.y;
  if (plane >= i32(params.planes)) { return; }
  let i = vec2i(at - row * params.size.x, row - plane * params.size.y);
  let pixel = i.y * params.size.x + i.x;
  let first = first_window(i);
  let end = end_window(i);
  var total = 0.0;
  for (var y = first.y; y < end.y; y++) {
    let begin = (plane * params.count.y + y) * params.count.x;
    for (var o = begin + first.x; o < begin + end.x; o++) {
      if (index[o] == pixel) { total += dy[o]; }
    }
  }
  out[at] = total;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn avg_forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = i32(id.x + id.y * grid.x * WORKGROUP_SIZE);
  let row = at / params.count.x;
  let plane = row / params.count.y;
  if (plane >= i32(params.planes)) { return; }
  let o = vec2i(at - row * params.count.x, row - plane * params.count.y);
  let first = first_pixel(o);
  let end = end_pixel(o);
  var total = 0.0;
  for (var y = first.y; y < end.y; y++) {
    let begin = (plane * params.size.y + y) * params.size.x;
    for (var i = begin + first.x; i < begin + end.x; i++) { total += x[i]; }
  }
  out[at] = total * weight(o);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn avg_backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = i32(id.x + id.y * grid.x * WORKGROUP_SIZE);
  let row = at / params.size.x;
  let plane = row / params.size.y;
  if (plane >= i32(params.planes)) { return; }
  let i = vec2i(at - row * params.size.x, row - plane * params.size.y);
  let first = first_window(i);
  let end = end_window(i);
  var total = 0.0;
  for (var y = first.y; y < end.y; y++) {
    let begin = (plane * params.count.y + y) * params.count.x;
    for (var o = first.x; o < end.x; o++) { total += dy[begin + o] * weight(vec2i(o, y)); }
  }
  out[at] = total;
}
