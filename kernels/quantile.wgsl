// quantile: an order statistic of every row, and the next one, joined linearly. No gradient.
//   of_rows   out[row] = a + weight * (b - a),  a and b the elements of ranks rank and rank + 1 in the row;
//             not a number if an element is none
// Bit by bit from the highest, a is the largest number that at most `rank` elements are below: exact, and
// nothing is sorted. Floats compare as their keys do, unsigned numbers.
// shapes    x: bits of f32[rows, cols]; out: bits of f32[rows]
// dispatch  one workgroup per row; row = wg.x + wg.y * grid.x, as one axis ends at 65535
struct Params { rows: u32, cols: u32, rank: u32, weight: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
const WORKGROUP_SIZE = 64u;
const SIGN = 0x80000000u;
const INFINITE = 0x7f800000u;
const NAN = 0x7fc00000u;

// All start as 0, as workgroup memory does.
var<workgroup> below: array<atomic<u32>, 32>; // elements below the number tried for each bit
var<workgroup> up_to: atomic<u32>; // elements not above a
var<workgroup> above: atomic<u32>; // ~key of the least element above a
var<workgroup> not_numbers: atomic<u32>;

fn key_of(bits: u32) -> u32 { return select(bits | SIGN, ~bits, bits >= SIGN); }
fn bits_of(key: u32) -> u32 { return select(~key, key & ~SIGN, key >= SIGN); }

@compute @workgroup_size(WORKGROUP_SIZE)
fn of_rows(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  let row = wg.x + wg.y * grid.x;
  if (row >= params.rows) { return; } // uniform in the workgroup, so the barriers stay legal
  let first = row * params.cols + lane;
  let end = (row + 1u) * params.cols;
  var found = 0u;
  for (var bit = 0u; bit < 32u; bit++) {
    let tried = found | (SIGN >> bit);
    var count = 0u;
    for (var i = first; i < end; i += WORKGROUP_SIZE) { count += select(0u, 1u, key_of(x[i]) < tried); }
    atomicAdd(&below[bit], count);
    workgroupBarrier();
    if (atomicLoad(&below[bit]) <= params.rank) { found = tried; }
  }
  var count = 0u;
  var rest = 0u;
  for (var i = first; i < end; i += WORKGROUP_SIZE) {
    let key = key_of(x[i]);
    count += select(0u, 1u, key <= found);
    rest = max(rest, select(0u, ~key, key > found));
    if ((x[i] & ~SIGN) > INFINITE) { atomicStore(&not_numbers, 1u); }
  }
  atomicAdd(&up_to, count);
  atomicMax(&above, rest);
  workgroupBarrier();
  if (lane > 0u) { return; }
  let next = select(~atomicLoad(&above), found, params.weight == 0.0 || atomicLoad(&up_to) > params.rank + 1u);
  let a = bitcast<f32>(bits_of(found));
  let b = bitcast<f32>(bits_of(next));
  out[row] = select(bitcast<u32>(a + params.weight * (b - a)), bits_of(found), next == found);
  if (atomicLoad(&not_numbers) > 0u) { out[row] = NAN; }
}
