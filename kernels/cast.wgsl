// cast: converts element types; between i32 and u32 the bits are kept, so that needs no kernel.
//   out[i] = x[i] as f32; or towards zero as i32 or u32, limited to the range of that type
// shapes    x, out: [n]
// dispatch  one invocation per element
struct Params { n: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
const WORKGROUP_SIZE = 64u;
override KIND: u32; // one of:
const F32_TO_I32 = 0u;
const F32_TO_U32 = 1u;
const I32_TO_F32 = 2u;
const U32_TO_F32 = 3u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn convert(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i >= params.n) { return; }
  let bits = x[i];
  switch (KIND) { // the limits are the outermost f32 values inside the integers' ranges
    case F32_TO_I32: { out[i] = bitcast<u32>(i32(clamp(bitcast<f32>(bits), -2147483648.0, 2147483520.0))); }
    case F32_TO_U32: { out[i] = u32(clamp(bitcast<f32>(bits), 0.0, 4294967040.0)); }
    case I32_TO_F32: { out[i] = bitcast<u32>(f32(bitcast<i32>(bits))); }
    default: { out[i] = bitcast<u32>(f32(bits)); } // U32_TO_F32
  }
}
