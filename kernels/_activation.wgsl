// activation: functions that an elementwise kernel and the end of a product share.

// exp overflows above 88, and some drivers make NaN of what follows: the argument is kept in range.
fn sigmoid(v: vec4f) -> vec4f { return 1.0 / (1.0 + exp(min(-v, vec4f(80.0)))); }

// tanh by exp of a negative number, which cannot overflow; near zero by its series, where
// 1 - exp(-2x) would cancel.
fn tanh_(v: vec4f) -> vec4f {
  let u = abs(v);
  let e = exp(-2.0 * min(u, vec4f(20.0)));
  let v2 = u * u;
  let series = u * (1.0 - v2 * (1.0 / 3.0 - v2 * (2.0 / 15.0 - v2 * (17.0 / 315.0))));
  return sign(v) * select((1.0 - e) / (1.0 + e), series, u < vec4f(0.15));
}
