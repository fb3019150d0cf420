// dropout: zeroes a random share p of the elements and scales the others by 1 / (1 - p).
//   out = x * scale where u >= p, else 0     u: Philox uniforms, so that backward, which is the
//                                            same function of dy, draws the same mask again
// shapes    x, out: f32[n], four at a time; `first` is where a piece begins, a multiple of 4
// dispatch  one invocation per block of four
struct Params { n: u32, first: u32, seed: u32, stream: u32, call: u32, p: f32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;
const WORKGROUP_SIZE = 64u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn mask(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  let counter = vec4u(params.first / 4u + i, 0u, params.call, 0u);
  let u = philox_unit(philox(counter, vec2u(params.seed, params.stream)));
  out[i] = select(vec4f(0.0), x[i] * params.scale, u >= vec4f(params.p));
}
