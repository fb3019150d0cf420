// time_embedding: sinusoids of the timestep (Vaswani et al. 2017; Ho et al. 2020 for diffusion).
//   out[n, sin_at + step j] = sin(t[n] f_j),  out[n, cos_at + step j] = cos(t[n] f_j)
// Angles reach 1000 rad, where a built-in sine has few digits left: frequencies come in turns, cut
// into three parts of 12 bits, so that whole turns are taken off exactly.
// shapes    t: [n]; frequencies: [3, half]; out: [n, 2 half]
// dispatch  one invocation per (n, j)
struct Params { n: u32, half_dim: u32, sin_at: u32, cos_at: u32, step: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> t: array<f32>;
@group(0) @binding(2) var<storage, read> frequencies: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
const WORKGROUP_SIZE = 64u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn embed(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i >= params.n * params.half_dim) { return; }
  let row = i / params.half_dim;
  let j = i % params.half_dim;
  let time = t[row];
  let high = fract(time * frequencies[j]);
  let middle = fract(time * frequencies[params.half_dim + j]);
  let turns = fract(high + middle + time * frequencies[2u * params.half_dim + j]);
  let wave = turn(turns);
  let column = row * 2u * params.half_dim + params.step * j;
  out[column + params.sin_at] = wave.y;
  out[column + params.cos_at] = wave.x;
}
