// check_finite: finds the first operation whose output is not finite.
//   found = min(found, id) if any x[i] is NaN or infinite
// The bits are tested, as comparisons with NaN are not reliable on every driver.
// dispatch  one invocation per element
struct Params { n: u32, id: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> found: atomic<u32>;
const WORKGROUP_SIZE = 64u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn check(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i >= params.n) { return; }
  if ((x[i] & 0x7f800000u) == 0x7f800000u) { atomicMin(&found, params.id); }
}
