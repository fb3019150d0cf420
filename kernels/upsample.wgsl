// upsample: images of another size. Output i reads the input at the rational position
//   p(i) = max(0, i * step + base) / den
//   nearest        step = in,      base = 0,         den = out
//   pixel areas    step = 2 in,    base = in - out,  den = 2 out     (PyTorch's align_corners = false)
//   corners        step = in - 1,  base = 0,         den = out - 1
// NEAREST takes the pixel floor(p); otherwise the pixels floor(p) and the next are mixed by p's
// fraction, along each axis. Positions are whole numbers over `den`, so both directions agree exactly.
//   forward   out[o] = sum over i of weight(o, i) x[i]
//   backward  out[i] = sum over o of weight(o, i) dy[o], over the outputs in reach: a gather
//   repeat, sum_repeats    the same for nearest by whole factors, count = factor * size: every input
//             pixel has a block of outputs of its own
// shapes    x and its gradient: [planes, size.y, size.x]; the other side: [planes, count.y, count.x]
// dispatch  `lanes` invocations per row of `out` (repeat: of x), each of which takes every lanes-th pixel
struct Params { planes: u32, lanes: i32, size: vec2i, count: vec2i, step: vec2i, base: vec2i, den: vec2i }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
const WORKGROUP_SIZE = 64u;
override NEAREST: bool;

// floor(a / b) for a < 2^30 and a quotient below 2^20: a float division, then exact again. Integer
// division is many times slower where no hardware does it.
fn divide(a: i32, b: i32) -> i32 {
  let q = i32(f32(a) / f32(b));
  let rest = a - q * b;
  return q + select(0, 1, rest >= b) - select(0, 1, rest < 0);
}

fn numerator(o: i32, step: i32, base: i32) -> i32 { return max(o * step + base, 0); }

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = i32(id.x + id.y * grid.x * WORKGROUP_SIZE);
  let row = at / params.lanes;
  let plane = row / params.count.y;
  if (plane >= i32(params.planes)) { return; }
  let position_y = numerator(row - plane * params.count.y, params.step.y, params.base.y);
  let pixel_y = divide(position_y, params.den.y);
  let part_y = f32(position_y - pixel_y * params.den.y) / f32(params.den.y);
  let last = params.size - 1;
  let top = (plane * params.size.y + pixel_y) * params.size.x;
  let bottom = (plane * params.size.y + min(pixel_y + 1, last.y)) * params.size.x;
  let begin = row * params.count.x;
  for (var o = at - row * params.lanes; o < params.count.x; o += params.lanes) {
    let position = numerator(o, params.step.x, params.base.x);
    let pixel = divide(position, params.den.x);
    if (NEAREST) {
      out[begin + o] = x[top + pixel];
    } else {
      let part = f32(position - pixel * params.den.x) / f32(params.den.x);
      let next = min(pixel + 1, last.x);
      out[begin + o] = mix(mix(x[top + pixel], x[top + next], part), mix(x[bottom + pixel], x[bottom + next], part), part_y);
    }
  }
}

// How much of input i is in an output at this position, along one axis of `last + 1` inputs.
fn weight(position: i32, i: i32, last: i32, den: i32) -> f32 {
  let pixel = divide(position, den);
  if (NEAREST) { return select(0.0, 1.0, pixel == i); }
  let part = f32(position - pixel * den) / f32(den);
  return select(0.0, 1.0 - part, pixel == i) + select(0.0, part, min(pixel + 1, last) == i);
}

// Outputs of which i can be part lie from .x to .y along one axis: those with p(o) > i - 1 (nearest:
// p(o) >= i) and p(o) < i + 1. What lies before the first input or behind the last counts as theirs.
fn reach(i: i32, last: i32, count: i32, step: i32, base: i32, den: i32) -> vec2i {
  let each = max(step, 1);
  let lowest = max(select((i - 1) * den + 1, i * den, NEAREST) - base, 0);
  let highest = max((i + 1) * den - 1 - base, 0);
  let first = select(divide(lowest + each - 1, each), 0, i == 0);
  let end = select(divide(highest, each), count - 1, i == last);
  return vec2i(first, min(end, count - 1));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = i32(id.x + id.y * grid.x * WORKGROUP_SIZE);
  let row = at / params.lanes;
  let plane = row / params.size.y;
  if (plane >= i32(params.planes)) { return; }
  let i_y = row - plane * params.size.y;
  let last = params.size - 1;
  let rows = reach(i_y, last.y, params.count.y, params.step.y, params.base.y, params.den.y);
  for (var i = at - row * params.lanes; i < params.size.x; i += params.lanes) {
    let columns = reach(i, last.x, params.count.x, params.step.x, params.base.x, params.den.x);
    var total = 0.0;
    for (var o_y = rows.x; o_y <= rows.y; o_y++) {
      let begin = (plane * params.count.y + o_y) * params.count.x;
      var line = 0.0;
      for (var o = columns.x; o <= columns.y; o++) {
        line += dy[begin + o] * weight(numerator(o, params.step.x, params.base.x), i, last.x, params.den.x);
      }
      total += line * weight(numerator(o_y, params.step.y, params.base.y), i_y, last.y, params.den.y);
    }
    out[row * params.size.x + i] = total;
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn repeat(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = i32(id.x + id.y * grid.x * WORKGROUP_SIZE);
  let row = at / params.lanes;
  if (row >= i32(params.planes) * params.size.y) { return; }
  let factor = vec2i(params.count.x / params.size.x, params.count.y / params.size.y);
  for (var i = at - row * params.lanes; i < params.size.x; i += params.lanes) {
    let value = x[row * params.size.x + i];
    for (var k = 0; k < factor.y; k++) {
      let begin = (row * factor.y + k) * params.count.x + i * factor.x;
      for (var o = begin; o < begin + factor.x; o++) { out[o] = value; }
    }
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn sum_repeats(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = i32(id.x + id.y * grid.x * WORKGROUP_SIZE);
  let row = at / params.lanes;
  if (row >= i32(params.planes) * params.size.y) { return; }
  let factor = vec2i(params.count.x / params.size.x, params.count.y / params.size.y);
  for (var i = at - row * params.lanes; i < params.size.x; i += params.lanes) {
    var total = 0.0;
    for (var k = 0; k < factor.y; k++) {
      let begin = (row * factor.y + k) * params.count.x + i * factor.x;
      for (var o = begin; o < begin + factor.x; o++) { total += dy[o]; }
    }
    out[row * params.size.x + i] = total;
  }
}
