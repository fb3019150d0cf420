// fours: joined in front of an elementwise kernel, says which elements an invocation takes: FOURS times
// four, of buffers padded to 16 bytes. More per invocation suits the software driver better than more
// workgroups. SIDE_BY_SIDE invocations take neighbours, then the next ones: a cache line of a GPU, a
// vector of a processor.
const FOURS = 4u;
const SIDE_BY_SIDE = 8u;

// The k-th four of an invocation. Past the end of n elements it is the last one, which is then
// written several times, alike: after a branch the software driver would look at every invocation
// before it loads or stores.
fn four_of(wg: vec3u, grid: vec3u, lane: u32, k: u32, n: u32) -> u32 {
  let side = lane % SIDE_BY_SIDE;
  let first = ((wg.x + wg.y * grid.x) * WORKGROUP_SIZE + lane - side) * FOURS + side;
  return min(first + k * SIDE_BY_SIDE, (n - 1u) / 4u);
}
