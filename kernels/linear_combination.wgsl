// linear_combination: a weighted sum in one pass.
//   of_two    out = a x + b y
//   of_three  out = a x + b y + c z
//   of_four   out = a x + b y + c z + d w
// shapes    x, y, z, w, out: f32[n]; buffers are padded to 16 bytes, so four at a time
// dispatch  one invocation per FOURS times four elements, as _fours.wgsl has it
struct Params { n: u32, a: f32, b: f32, c: f32, d: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> y: array<vec4f>;
@group(0) @binding(3) var<storage, read> z: array<vec4f>;
@group(0) @binding(4) var<storage, read> w: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;
const WORKGROUP_SIZE = 64u;

fn first_two(i: u32) -> vec4f { return fma(vec4f(params.b), y[i], params.a * x[i]); }
fn first_three(i: u32) -> vec4f { return fma(vec4f(params.c), z[i], first_two(i)); }

@compute @workgroup_size(WORKGROUP_SIZE)
fn of_two(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
          @builtin(local_invocation_index) lane: u32) {
  for (var k = 0u; k < FOURS; k++) {
    let i = four_of(wg, grid, lane, k, params.n);
    out[i] = first_two(i);
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn of_three(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
            @builtin(local_invocation_index) lane: u32) {
  for (var k = 0u; k < FOURS; k++) {
    let i = four_of(wg, grid, lane, k, params.n);
    out[i] = first_three(i);
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn of_four(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  for (var k = 0u; k < FOURS; k++) {
    let i = four_of(wg, grid, lane, k, params.n);
    out[i] = fma(vec4f(params.d), w[i], first_three(i));
  }
}
