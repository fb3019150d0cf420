// batch_norm: follows the statistics of the batches, in place.
//   running = running + momentum * (factor * batch - running)
// shapes    running: [n]; stats: [n], mean and variance; factor makes a variance unbiased
// dispatch  one invocation per element
struct Params { n: u32, momentum: f32, factor: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> stats: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> running: array<f32>;
const WORKGROUP_SIZE = 64u;
override WHICH: u32; // one of:
const MEAN = 0u;
const VARIANCE = 1u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn follow(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i >= params.n) { return; }
  running[i] += params.momentum * (params.factor * stats[i][WHICH] - running[i]);
}
