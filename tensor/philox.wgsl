// philox4x32_10: four random words from a counter and a key (Salmon et al. 2011), the same bits as
// philox.ts makes on the host. Element i of a draw is lane i & 3 of the block with counter
// (i >> 2, 0, call, 0); the key is (seed, stream).
fn philox_mul_high(a: u32, b: u32) -> u32 {
  let a_low = a & 0xffffu;
  let a_high = a >> 16u;
  let b_low = b & 0xffffu;
  let b_high = b >> 16u;
  let middle = a_high * b_low + ((a_low * b_low) >> 16u); // at most (2^16-1)^2 + 2^16-1: no overflow
  let carry = a_low * b_high + (middle & 0xffffu);
  return a_high * b_high + (middle >> 16u) + (carry >> 16u);
}

fn philox(first: vec4u, first_key: vec2u) -> vec4u {
  var c = first;
  var key = first_key;
  for (var round = 0u; round < 10u; round++) {
    let high0 = philox_mul_high(0xd2511f53u, c.x);
    let high1 = philox_mul_high(0xcd9e8d57u, c.z);
    c = vec4u(high1 ^ c.y ^ key.x, 0xcd9e8d57u * c.z, high0 ^ c.w ^ key.y, 0xd2511f53u * c.x);
    key += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}

// Words as floats in [0, 1): the top 24 bits, exact.
fn philox_unit(words: vec4u) -> vec4f { return vec4f(words >> vec4u(8u)) * (1.0 / 16777216.0); }
