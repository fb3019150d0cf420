// tile: 8 x 8 sums of an invocation, and tiles in shared memory that feed them.
//   sum[row, column] += over k of a[k, row] * b[k, column]
// Sums are named, as indexed ones would leave the registers: sum3r belongs to row 3 of the
// invocation and to the second four of its columns.
// memory    a tile has TILE lines (rows of a, columns of b) and DEPTH terms of each. One vec4 holds
//           the lines slot + SLOTS * (0, 1, 2, 3): neighbouring invocations then touch neighbours
//           in buffers, at any alignment. A vec4 of padding after the slots of a term keeps
//           neighbouring terms in different banks
// dispatch  with tiles: THREADS x THREADS invocations, with rows y + THREADS * (0 to 7), columns
//           x + SLOTS * (0 to 3), and four columns THREADS further
var<private> sum0l: vec4f; var<private> sum0r: vec4f;
var<private> sum1l: vec4f; var<private> sum1r: vec4f;
var<private> sum2l: vec4f; var<private> sum2r: vec4f;
var<private> sum3l: vec4f; var<private> sum3r: vec4f;
var<private> sum4l: vec4f; var<private> sum4r: vec4f;
var<private> sum5l: vec4f; var<private> sum5r: vec4f;
var<private> sum6l: vec4f; var<private> sum6r: vec4f;
var<private> sum7l: vec4f; var<private> sum7r: vec4f;

// Adds the products of one term: `even` are its rows 0, 2, 4, 6 of a, `odd` 1, 3, 5, 7.
fn add_term(even: vec4f, odd: vec4f, l: vec4f, r: vec4f) {
  sum0l = fma(vec4f(even.x), l, sum0l); sum0r = fma(vec4f(even.x), r, sum0r);
  sum1l = fma(vec4f(odd.x), l, sum1l); sum1r = fma(vec4f(odd.x), r, sum1r);
  sum2l = fma(vec4f(even.y), l, sum2l); sum2r = fma(vec4f(even.y), r, sum2r);
  sum3l = fma(vec4f(odd.y), l, sum3l); sum3r = fma(vec4f(odd.y), r, sum3r);
  sum4l = fma(vec4f(even.z), l, sum4l); sum4r = fma(vec4f(even.z), r, sum4r);
  sum5l = fma(vec4f(odd.z), l, sum5l); sum5r = fma(vec4f(odd.z), r, sum5r);
  sum6l = fma(vec4f(even.w), l, sum6l); sum6r = fma(vec4f(even.w), r, sum6r);
  sum7l = fma(vec4f(odd.w), l, sum7l); sum7r = fma(vec4f(odd.w), r, sum7r);
}

override THREADS = 8u;
override DEPTH = 16u; // a multiple of 4 that divides the number of invocations
override WORKGROUP = THREADS * THREADS;
override TILE = 8u * THREADS;
override SLOTS = 2u * THREADS;
override STRIDE = SLOTS + 1u;
var<workgroup> tile_a: array<vec4f, STRIDE * DEPTH>;
var<workgroup> tile_b: array<vec4f, STRIDE * DEPTH>;

// The four lines that a slot holds.
fn lines_of(slot: u32) -> vec4u {
  return slot + SLOTS * vec4u(0u, 1u, 2u, 3u);
}

fn add_slots(a: u32, b: u32) {
  add_term(tile_a[a], tile_a[a + THREADS], tile_b[b], tile_b[b + THREADS]);
}

// Adds the product of the tiles once both are complete; afterwards they may be overwritten.
fn add_tiles(id: vec3u) {
  workgroupBarrier();
  for (var k = 0u; k < DEPTH; k += 4u) {
    let a = k * STRIDE + id.y;
    let b = k * STRIDE + id.x;
    add_slots(a, b);
    add_slots(a + STRIDE, b + STRIDE);
    add_slots(a + 2u * STRIDE, b + 2u * STRIDE);
    add_slots(a + 3u * STRIDE, b + 3u * STRIDE);
  }
  workgroupBarrier();
}
