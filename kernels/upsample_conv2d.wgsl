// upsample_conv2d: the window of a convolution over repeated pixels, as that of a transposed
// convolution over the pixels themselves, which is as far-reaching and has fewer products to sum.
//   fold      folded[c, o, i] = sum over m < scale of window[o, c, m + last - i], 0 where there is none
// along each axis, last = K - 1. The gradient has the same form: with K + scale - 1 values to a window
// instead of K, and K of the result, the index is always one that there is.
// shapes    window: f32[rows, columns, taps]; folded: f32[columns, rows, folded_taps]
// dispatch  one invocation per row and column
struct Params { rows: u32, columns: u32, scale: u32, taps: vec2u, folded_taps: vec2u, last: vec2u }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> window: array<f32>;
@group(0) @binding(2) var<storage, read_write> folded: array<f32>;
const WORKGROUP_SIZE = 64u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn fold(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (at >= params.rows * params.columns) { return; }
  let column = at / params.rows;
  let row = at - column * params.rows;
  let first = (row * params.columns + column) * params.taps.x * params.taps.y;
  var out = at * params.folded_taps.x * params.folded_taps.y;
  for (var y = 0u; y < params.folded_taps.x; y++) {
    for (var x = 0u; x < params.folded_taps.y; x++) {
      var total = 0.0;
      let first_tap = params.last - vec2u(y, x); // below 0 it wraps, to far above the last tap
      for (var m = 0u; m < params.scale; m++) {
        let i = first_tap.x + m;
        if (i >= params.taps.x) { continue; }
        for (var n = 0u; n < params.scale; n++) {
          let j = first_tap.y + n;
          if (j < params.taps.y) { total += window[first + i * params.taps.y + j]; }
        }
      }
      folded[out] = total;
      out++;
    }
  }
}
