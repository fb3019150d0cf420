// q_sample: noises a batch by noise that it draws itself (Ho et al. 2020, eq. 4).
//   draw      noise = z, the standard normals that Rng.normal draws
//             out = signal[t] * x0 + spread[t] * noise
// shapes    x0, noise, out: f32[examples, row], four at a time; t: i32[examples], clamped to the tables;
//           signal, spread: f32[timesteps]; `first` is where a piece begins, a multiple of 4
// dispatch  one invocation per block of four
struct Params { n: u32, first: u32, seed: u32, stream: u32, call: u32, row: u32, timesteps: i32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x0: array<vec4f>;
@group(0) @binding(2) var<storage, read> t: array<i32>;
@group(0) @binding(3) var<storage, read> signal: array<f32>;
@group(0) @binding(4) var<storage, read> spread: array<f32>;
@group(0) @binding(5) var<storage, read_write> noise: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> out: array<vec4f>;
const WORKGROUP_SIZE = 64u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn draw(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  let counter = vec4u(params.first / 4u + i, 0u, params.call, 0u);
  let z = normals(philox(counter, vec2u(params.seed, params.stream)));
  noise[i] = z;
  let e = params.first + i * 4u;
  let example = e / params.row;
  let left = params.row - (e - example * params.row); // of the example, this element included
  if (left >= 4u) {
    let step = clamp(t[example], 0, params.timesteps - 1);
    out[i] = signal[step] * x0[i] + spread[step] * z;
    return;
  }
  // The block reaches into the next example, or holds several.
  let each = (vec4u(e) + vec4u(0u, 1u, 2u, 3u)) / params.row;
  let step = clamp(vec4i(t[each.x], t[each.y], t[each.z], t[each.w]), vec4i(0), vec4i(params.timesteps - 1));
  out[i] = vec4f(signal[step.x], signal[step.y], signal[step.z], signal[step.w]) * x0[i] +
    vec4f(spread[step.x], spread[step.y], spread[step.z], spread[step.w]) * z;
}
