// global_norm: Euclidean norm of many tensors together, and scaling them down to a given norm.
//   sum_squares  parts[at + lane] = sum of x^2 over the share of the lane
//   limit        out = x * c,        c = min(1, max_norm / (norm + eps))
//   limit_own    own = own * c, in place
// shapes    x, out, own: f32[n], four at a time; parts: f32[lanes of all tensors]; norm: f32[1]
//           x's last four may hold padding, which is left out of the sum
// dispatch  sum_squares: one invocation per lane, which owns every lanes-th four; else per four
struct Params { n: u32, first: u32, lanes: u32, at: u32, max_norm: f32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<storage, read_write> parts: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> own: array<vec4f>;
const WORKGROUP_SIZE = 64u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn sum_squares(@builtin(global_invocation_id) id: vec3u) {
  let lane = id.x;
  if (lane >= params.lanes) { return; }
  var sums = vec4f(0.0);
  for (var i = lane; i < params.n / 4u; i += params.lanes) { sums = fma(x[i], x[i], sums); }
  let rest = params.n % 4u;
  if (lane == 0u && rest > 0u) {
    let last = select(vec4f(0.0), x[params.n / 4u], vec4u(0u, 1u, 2u, 3u) < vec4u(rest));
    sums = fma(last, last, sums);
  }
  var sum = (sums.x + sums.y) + (sums.z + sums.w);
  if (params.first > 0u) { sum += parts[params.at + lane]; } // a piece after the first of a large x
  parts[params.at + lane] = sum;
}

fn factor() -> f32 { return min(1.0, params.max_norm / (norm[0] + params.eps)); }

@compute @workgroup_size(WORKGROUP_SIZE)
fn limit(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  out[i] = x[i] * factor();
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn limit_own(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  own[i] *= factor();
}
