// advance: the parameters of a captured step that differ from run to run.
//   advance   block[targets[i]] = table[run % rows][i]
//   tick      run = run + 1
// shapes    state: [run, fields, rows, targets...]; table: [rows, fields]; block: the uniform blocks
//           of all kernels of the step, as words
// dispatch  advance: one invocation per field; tick: one
@group(0) @binding(1) var<storage, read_write> state: array<u32>;
@group(0) @binding(2) var<storage, read_write> table: array<u32>;
@group(0) @binding(3) var<storage, read_write> block: array<u32>;
const WORKGROUP_SIZE = 64u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn advance(@builtin(global_invocation_id) id: vec3u) {
  let fields = state[1];
  if (id.x >= fields) { return; }
  block[state[3u + id.x]] = table[(state[0] % state[2]) * fields + id.x];
}

@compute @workgroup_size(1)
fn tick() {
  state[0] = state[0] + 1u;
}
