// turn: sine and cosine of an angle counted in turns, to the last digits of f32 on every driver.
// (cos, sin) of 2 pi u, 0 <= u < 1: reduced to a quarter turn exactly, then the Taylor series, so
// that no built-in's precision matters.
fn turn(u: f32) -> vec2f {
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
