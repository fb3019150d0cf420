// addcmul: a sum and a product in one pass.
//   forward   out = x + factor * a * b
// shapes    x, a, b, out: f32[n]; buffers are padded to 16 bytes, so four at a time
// dispatch  one invocation per FOURS times four elements, as _fours.wgsl has it
struct Params { n: u32, factor: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> a: array<vec4f>;
@group(0) @binding(3) var<storage, read> b: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
const WORKGROUP_SIZE = 64u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  for (var k = 0u; k < FOURS; k++) {
    let i = four_of(wg, grid, lane, k, params.n);
    out[i] = fma(params.factor * a[i], b[i], x[i]);
  }
}
