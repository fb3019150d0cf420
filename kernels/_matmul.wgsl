// matmul: out[z] = a[z] b[z] for a batch of matrices, plus a bias. This is what all forms share.
//   out[s, z, i, j] = sum over k in piece s of a[z, i, k] b[z, k, j], + bias[j] in piece 0
// shapes    a: [batch, m, k], b: [batch, k, n], each with any strides, so that a transposed operand
//           is not copied; out: [splits, batch, m, n] or, by its strides, [splits, batch, n, m]
// Few tiles and a long k are cut into `splits` pieces of k, whose sums are then folded.
struct Params {
  batch: u32, m: u32, n: u32, k: u32, splits: u32, piece: u32, // piece: terms of the sum per split
  a_batch: u32, a_row: u32, a_k: u32, // strides
  b_batch: u32, b_k: u32, b_col: u32,
  out_row: u32, out_col: u32,
  has_bias: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
