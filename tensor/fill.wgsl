// fill: what the engine itself needs, constant tensors, sums of gradients and copies.
//   fill        out[i] = bits(value)
//   add         sum[i] = sum[i] + x[i], in place
//   copy        out[i] = bits_in[i]
// shapes    x, bits_in, out, sum: [n]; buffers are padded to 16 bytes, so four at a time
// dispatch  one invocation per four elements
struct Params { n: u32, bits: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> sum: array<vec4f>;
@group(0) @binding(4) var<storage, read> bits_in: array<vec4u>;
const WORKGROUP_SIZE = 64u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn fill(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  out[i] = vec4u(params.bits);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn add(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  sum[i] += x[i];
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn copy(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  out[i] = bits_in[i];
}
