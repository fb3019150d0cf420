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

// ln(1 - d): the built-in logarithm loses digits near 1, where the series takes over.
fn philox_log1m(d: f32) -> f32 {
  if (d > 0.02) { return log(1.0 - d); }
  return -d * (1.0 + d * (0.5 + d * (1.0 / 3.0 + d * (0.25 + d * 0.2))));
}

// (cos, sin) of 2 pi u, 0 <= u < 1: reduced to a quarter turn exactly, then the Taylor series, so
// that no built-in's precision matters.
fn philox_turn(u: f32) -> vec2f {
  let quarter = floor(u * 4.0 + 0.5);
  let a = (u - quarter * 0.25) * 6.283185307179586;
  let a2 = a * a;
  let s = a * (1.0 + a2 * (-1.0 / 6.0 + a2 * (1.0 / 120.0 + a2 * (-1.0 / 5040.0 + a2 / 362880.0))));
  let c = 1.0 + a2 * (-0.5 + a2 * (1.0 / 24.0 + a2 * (-1.0 / 720.0 + a2 / 40320.0)));
  switch (u32(quarter) & 3u) {
    case 1u: { return vec2f(-s, c); }
    case 2u: { return vec2f(-c, -s); }
    case 3u: { return vec2f(s, -c); }
    default: { return vec2f(c, s); }
  }
}

// Four standard normals by Box-Muller; u1 = (top 24 bits + 1) / 2^24 lies in (0, 1].
fn philox_normal(words: vec4u) -> vec4f {
  let d0 = f32(16777215u - (words.x >> 8u)) * (1.0 / 16777216.0);
  let d1 = f32(16777215u - (words.z >> 8u)) * (1.0 / 16777216.0);
  let r = sqrt(vec2f(-2.0 * philox_log1m(d0), -2.0 * philox_log1m(d1)));
  let unit = philox_unit(words);
  return vec4f(r.x * philox_turn(unit.y), r.y * philox_turn(unit.w));
}
