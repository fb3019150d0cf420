// capture: into a captured step and out of it.
//   take    inner[i] = ring[at + i]       an input, from the slot that the host has filled
//   put     ring[at + i] = inner[i]       an output, to the row that the host will read
// shapes    inner: [n], of any type as words; ring: [rows, n]
// dispatch  one invocation per element
struct Params { n: u32, at: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> inner: array<u32>;
@group(0) @binding(2) var<storage, read_write> ring: array<u32>;
const WORKGROUP_SIZE = 64u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn take(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i >= params.n) { return; }
  inner[i] = ring[params.at + i];
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn put(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i >= params.n) { return; }
  ring[params.at + i] = inner[i];
}
