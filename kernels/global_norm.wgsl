// global_norm: Euclidean norm of many tensors together, and scaling them down to a given norm.
//   sum_squares             parts[at + lane] = sum of x^2 over SHARE elements, the lane's own
//   sum_squares_of_shares   the same for tensors side by side in x: the lane owns shares[lane]
//   measure                 norm = sqrt(total),  scale = min(1, max_norm / (norm + eps))
//   limit                   own = own * factor, in place
// shapes    x, own: f32[n], four at a time; parts: f32[lanes of all tensors]; total, norm, scale, factor: f32[1];
//           shares: [n] of first four and number of elements. Padding is left out of sums.
// dispatch  sums: one invocation per lane; measure: one; limit: one per four elements
struct Params { n: u32, first: u32, at: u32, max_norm: f32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> shares: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> parts: array<f32>;
@group(0) @binding(4) var<storage, read> total: array<f32>;
@group(0) @binding(5) var<storage, read_write> norm: array<f32>;
@group(0) @binding(6) var<storage, read_write> scale: array<f32>;
@group(0) @binding(7) var<storage, read> factor: array<f32>;
@group(0) @binding(8) var<storage, read_write> own: array<vec4f>;
const WORKGROUP_SIZE = 64u;
const SHARE = 256u;

fn sum_of_share(first: u32, count: u32) -> f32 {
  var sums = vec4f(0.0);
  for (var i = 0u; i < count / 4u; i++) { sums = fma(x[first + i], x[first + i], sums); }
  let rest = count % 4u;
  if (rest > 0u) {
    let last = select(vec4f(0.0), x[first + count / 4u], vec4u(0u, 1u, 2u, 3u) < vec4u(rest));
    sums = fma(last, last, sums);
  }
  return (sums.x + sums.y) + (sums.z + sums.w);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn sum_squares(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let lane = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (lane * SHARE >= params.n) { return; }
  parts[params.at + params.first / SHARE + lane] =
    sum_of_share(lane * (SHARE / 4u), min(SHARE, params.n - lane * SHARE));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn sum_squares_of_shares(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let lane = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (lane >= params.n) { return; }
  parts[lane] = sum_of_share(shares[lane].x, shares[lane].y);
}

@compute @workgroup_size(1)
fn measure() {
  let length = sqrt(total[0]);
  norm[0] = length;
  // Compared first, so that an infinite max_norm divides nothing that counts.
  scale[0] = select(params.max_norm / (length + params.eps), 1.0, length + params.eps <= params.max_norm);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn limit(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  own[i] *= factor[0];
}
