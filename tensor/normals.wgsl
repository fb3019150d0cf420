// normals: four standard normals from four Philox words. Comes after philox.wgsl and turn.wgsl.
// ln(1 - d): the built-in logarithm loses digits near 1, where the series takes over.
fn log_one_minus(d: f32) -> f32 {
  if (d > 0.02) { return log(1.0 - d); }
  return -d * (1.0 + d * (0.5 + d * (1.0 / 3.0 + d * (0.25 + d * 0.2))));
}

// Four standard normals by Box-Muller; u1 = (top 24 bits + 1) / 2^24 lies in (0, 1].
fn normals(words: vec4u) -> vec4f {
  let d0 = f32(16777215u - (words.x >> 8u)) * (1.0 / 16777216.0);
  let d1 = f32(16777215u - (words.z >> 8u)) * (1.0 / 16777216.0);
  let r = sqrt(vec2f(-2.0 * log_one_minus(d0), -2.0 * log_one_minus(d1)));
  let unit = philox_unit(words);
  return vec4f(r.x * turn(unit.y), r.y * turn(unit.w));
}
