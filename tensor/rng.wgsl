// rng: random tensors.
//   words     out = philox words                      (u32)
//   uniform   out = a + (b - a) u,  u in [0, 1)
//   normal    out = a + b z,        z standard normal
//   integers  out = floor(a + (b - a) u)              (i32)
// shapes    out: [n]; `first` is where a piece of a large tensor begins, a multiple of 4
// dispatch  one invocation per block of four
struct Params { n: u32, first: u32, seed: u32, stream: u32, call: u32, a: f32, b: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> out: array<vec4u>;
const WORKGROUP_SIZE = 64u;
override KIND: u32; // one of:
const WORDS = 0u;
const UNIFORM = 1u;
const NORMAL = 2u;
const INTEGERS = 3u;

// ln(1 - d): the built-in logarithm loses digits near 1, where the series takes over.
fn log_one_minus(d: f32) -> f32 {
  if (d > 0.02) { return log(1.0 - d); }
  return -d * (1.0 + d * (0.5 + d * (1.0 / 3.0 + d * (0.25 + d * 0.2))));
}

// Four standard normals by Box-Muller; u1 = (top 24 bits + 1) / 2^24 lies in (0, 1].
fn normals(words: vec4u) -> vec4f {
  let d0 = f32(16777215u - (words.x >> 8u)) * (1.0 / 16777216.0);
  let d1 = f32(16777215u - (words.z >> 8u)) * (1.0 / 16777216.0);
  let r = sqrt(vec2f(-2.0 * log_one_minus(d0), -2.0 * log_one_minus(d1)));
  let unit = philox_unit(words);
  return vec4f(r.x * turn(unit.y), r.y * turn(unit.w));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn fill(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  let words = philox(vec4u(params.first / 4u + i, 0u, params.call, 0u), vec2u(params.seed, params.stream));
  let range = params.b - params.a;
  switch (KIND) {
    case UNIFORM: { out[i] = bitcast<vec4u>(params.a + range * philox_unit(words)); }
    case NORMAL: { out[i] = bitcast<vec4u>(params.a + params.b * normals(words)); }
    case INTEGERS: {
      let drawn = floor(params.a + range * philox_unit(words));
      out[i] = bitcast<vec4u>(vec4i(min(drawn, vec4f(params.b - 1.0)))); // rounding may reach b
    }
    default: { out[i] = words; }
  }
}
