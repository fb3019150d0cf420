// ema: exponential moving average, in place.
//   average = average + take * (p - average)        take = 1 - decay
// shapes    p, average: [n], four at a time (buffers are padded to 16 bytes)
// dispatch  one invocation per four elements
struct Params { n: u32, take: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> p: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> average: array<vec4f>;
const WORKGROUP_SIZE = 64u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn follow(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  average[i] += params.take * (p[i] - average[i]);
}
