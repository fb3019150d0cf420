// cast: converts element types; between i32 and u32 the bits are kept, so that needs no kernel.
//   convert      out[i] = x[i] as f32; or towards zero as i32 or u32, limited to the range of that type
//   to_halves    out_halves = x as f16, rounded to the nearest; two in a word, the first in its low bits
//   from_halves  out_floats = x_halves as f32, exactly
// shapes    x, out: [n]; halves by four at a time, as buffers are padded to 16 bytes
// dispatch  convert: one invocation per element; the others: one per FOURS times four elements, as
//           _fours.wgsl has it
struct Params { n: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
@group(0) @binding(3) var<storage, read> floats: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out_halves: array<vec2u>;
@group(0) @binding(5) var<storage, read> halves: array<vec2u>;
@group(0) @binding(6) var<storage, read_write> out_floats: array<vec4f>;
const WORKGROUP_SIZE = 64u;
override KIND: u32 = 0u; // convert: one of
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

@compute @workgroup_size(WORKGROUP_SIZE)
fn to_halves(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
             @builtin(local_invocation_index) lane: u32) {
  for (var k = 0u; k < FOURS; k++) {
    let i = four_of(wg, grid, lane, k, params.n);
    let v = floats[i];
    out_halves[i] = vec2u(pack2x16float(v.xy), pack2x16float(v.zw));
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn from_halves(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
               @builtin(local_invocation_index) lane: u32) {
  for (var k = 0u; k < FOURS; k++) {
    let i = four_of(wg, grid, lane, k, params.n);
    let pair = halves[i];
    out_floats[i] = vec4f(unpack2x16float(pair.x), unpack2x16float(pair.y));
  }
}
