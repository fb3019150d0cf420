// rng: random tensors.
//   words     out = philox words                      (u32)
//   uniform   out = a + (b - a) u,  u in [0, 1)
//   normal    out = a + b z,        z standard normal
//   integers  out = floor(a + (b - a) u)              (i32)
// shapes    out: [n]; `first` is where a piece of a large tensor begins, a multiple of 4
//           the draw begins `skipped` elements after block `block` does, 0 to 3
// dispatch  one invocation per four elements, by `fill` if they are one block, else by `fill_across`
struct Params {
  n: u32, first: u32, block: u32, skipped: u32, seed: u32, stream: u32, call: u32, a: f32, b: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> out: array<vec4u>;
const WORKGROUP_SIZE = 64u;
override KIND: u32; // one of:
const WORDS = 0u;
const UNIFORM = 1u;
const NORMAL = 2u;
const INTEGERS = 3u;

fn drawn(block: u32) -> vec4u {
  let words = philox(vec4u(block, 0u, params.call, 0u), vec2u(params.seed, params.stream));
  let range = params.b - params.a;
  switch (KIND) {
    case UNIFORM: { return bitcast<vec4u>(params.a + range * philox_unit(words)); }
    case NORMAL: { return bitcast<vec4u>(params.a + params.b * normals(words)); }
    case INTEGERS: {
      let real = floor(params.a + range * philox_unit(words));
      return bitcast<vec4u>(vec4i(min(real, vec4f(params.b - 1.0)))); // rounding may reach b
    }
    default: { return words; }
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn fill(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  out[i] = drawn(params.block + params.first / 4u + i);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn fill_across(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i * 4u >= params.n) { return; }
  let block = params.block + params.first / 4u + i;
  let a = drawn(block);
  let b = drawn(block + 1u);
  switch (params.skipped) {
    case 1u: { out[i] = vec4u(a.yzw, b.x); }
    case 2u: { out[i] = vec4u(a.zw, b.xy); }
    default: { out[i] = vec4u(a.w, b.xyz); }
  }
}
