// epilogue: what becomes of the sums of a convolution before they are written, instead of further
// passes over the result.
//   y = activation(sum + addend)
// shapes    addend: that of y, or [batch, channels]
// A kernel without epilogue pays nothing: the constants are known when it is compiled.
@group(0) @binding(9) var<storage, read> addend: array<f32>;
override ADDEND: u32 = 0u; // one of:
const NOTHING = 0u;
const PER_CHANNEL = 1u;
const PER_PIXEL = 2u;
override ACTIVATION: u32 = 0u; // one of:
const IDENTITY = 0u;
const RELU = 1u;
const LEAKY_RELU = 2u;
const SILU = 3u;
const SIGMOID = 4u;
const TANH = 5u;
override NEGATIVE_SLOPE: f32 = 0.0; // of LEAKY_RELU

// `at`: where the sums belong in y; `channel`: where their planes stand among all of [batch, channels].
fn finish(sum: vec4f, at: vec4u, channel: vec4u) -> vec4f {
  var z = sum;
  if (ADDEND != NOTHING) {
    let i = select(at, channel, ADDEND == PER_CHANNEL);
    z += vec4f(addend[i.x], addend[i.y], addend[i.z], addend[i.w]);
  }
  switch (ACTIVATION) {
    case RELU: { return max(z, vec4f(0.0)); }
    case LEAKY_RELU: { return select(NEGATIVE_SLOPE * z, z, z > vec4f(0.0)); }
    case SILU: { return z * sigmoid(z); }
    case SIGMOID: { return sigmoid(z); }
    case TANH: { return tanh_(z); }
    default: { return z; }
  }
}
