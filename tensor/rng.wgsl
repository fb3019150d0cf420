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
