// discretized_gaussian: log probability of one of 256 values in [-1, 1], under a Gaussian whose mass
// between them goes to the nearest, and its tails to the ends (Ho et al. 2020, eq. 13).
//   forward   out = log max(p, 1e-12)    p = C((x + h - mean) / scale) - C((x - h - mean) / scale)
//             h = 1/255; C(inf) = 1 beyond the last value, C(-inf) = 0 before the first
//   backward  d_mean = dy * d log p / d mean      d_log_scale = dy * d log p / d log scale; 0 on the floor
// C is the normal distribution function, or its approximation by tanh. A difference of both ends would
// lose all digits in the upper tail, and most in a narrow bin: bins are mirrored into the lower tail
// (m <= 0), and narrow ones have a formula of their own.
// shapes    x, mean, log_scale, dy, out, d_mean, d_log_scale: f32[n]
// dispatch  one invocation per element; wg.x + wg.y * grid.x, as one axis ends at 65535
struct Params { n: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> log_scale: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>; // backward only
@group(0) @binding(5) var<storage, read_write> out: array<f32>; // forward only
@group(0) @binding(6) var<storage, read_write> d_mean: array<f32>; // backward only
@group(0) @binding(7) var<storage, read_write> d_log_scale: array<f32>; // backward only
override CDF: u32; // one of:
const TANH = 0u;
const ERF = 1u;
const WORKGROUP_SIZE = 64u;
const FLOOR = 1e-12;
const HALF_BIN = 1.0 / 255.0;
const EDGE = 0.999; // what is beyond is the first or last value

// The approximation 1/2 (1 + tanh(sqrt(2/pi) (z + CUBE z^3))) = sigmoid(a(z)).
const SLOPE = 1.5957691216057308; // 2 sqrt(2/pi)
const CUBE = 0.044715;

fn logistic(v: f32) -> f32 { return 1.0 / (1.0 + exp(min(-v, 80.0))); }
fn a(z: f32) -> f32 { return SLOPE * z * (1.0 + CUBE * z * z); }
fn da(z: f32) -> f32 { return SLOPE * (1.0 + 3.0 * CUBE * z * z); }

// exp(v) - 1 of v > 0
fn exp_less_1(v: f32) -> f32 {
  let series = v * (1.0 + v / 2.0 * (1.0 + v / 3.0 * (1.0 + v / 4.0 * (1.0 + v / 5.0 * (1.0 + v / 6.0)))));
  return select(exp(min(v, 80.0)) - 1.0, series, v < 0.25);
}

fn density(z: f32) -> f32 { return 0.3989422804014327 * exp(max(-0.5 * z * z, -80.0)); }

// The normal distribution function, of relative precision in the lower tail: Numerical Recipes' erfcc.
fn normal_cdf(z: f32) -> f32 {
  let u = min(abs(z), 12.0) * 0.7071067811865476;
  let t = 1.0 / (1.0 + 0.5 * u);
  let poly = -1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 +
    t * (-0.18628806 + t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 +
    t * (-0.82215223 + t * 0.17087277))))))));
  let tail = 0.5 * t * exp(max(-u * u + poly, -80.0));
  return select(tail, 1.0 - tail, z > 0.0);
}

// (p, d log p / dz) of all below z
fn below(z: f32) -> vec2f {
  if (CDF == TANH) { return vec2f(logistic(a(z)), logistic(-a(z)) * da(z)); }
  let p = normal_cdf(z);
  return vec2f(p, density(z) / max(p, FLOOR));
}

// (p, d log p / dm, d log p / dw) of what lies between m - w/2 and m + w/2, for m <= 0
fn between(m: f32, w: f32) -> vec3f {
  let upper = m + 0.5 * w;
  let lower = m - 0.5 * w;
  if (CDF == TANH) {
    let d = SLOPE * w * (1.0 + CUBE * (3.0 * m * m + 0.25 * w * w)); // a(upper) - a(lower)
    let low = logistic(a(lower));
    let over = logistic(-a(upper));
    let p = select(logistic(a(upper)) - low, over * low * exp_less_1(d), d < 1.0);
    let inverse = 1.0 / exp_less_1(d);
    return vec3f(p,
      over * da(upper) - low * da(lower) + inverse * 6.0 * SLOPE * CUBE * m * w,
      0.5 * (over * da(upper) + low * da(lower) + inverse * (da(upper) + da(lower))));
  }
  if (w > 0.25) {
    let p = normal_cdf(upper) - normal_cdf(lower);
    let ends = vec2f(density(upper), density(lower)) / max(p, FLOOR);
    return vec3f(p, ends.x - ends.y, 0.5 * (ends.x + ends.y));
  }
  // The integral of the density's Taylor series about m; farther out p is below the floor.
  let c = max(m, -12.0);
  let c2 = c * c;
  let w2 = w * w;
  let s4 = w2 * ((c2 - 6.0) * c2 + 3.0) / 80.0;
  let s6 = w2 * w2 * (((c2 - 15.0) * c2 + 45.0) * c2 - 15.0) / 13440.0;
  let sum = 1.0 + w2 / 24.0 * (c2 - 1.0 + s4 + s6);
  let d_m = w2 / 12.0 * c * (1.0 + w2 / 40.0 * (c2 - 3.0) + w2 * w2 / 4480.0 * ((c2 - 10.0) * c2 + 15.0));
  let d_w = w / 12.0 * (c2 - 1.0 + 2.0 * s4 + 3.0 * s6);
  return vec3f(w * density(c) * sum, d_m / sum - c, 1.0 / w + d_w / sum);
}

// (p, d log p / d mean, d log p / d log scale)
fn log_prob(i: u32) -> vec3f {
  let inverse = exp(-log_scale[i]);
  let distance = x[i] - mean[i];
  if (abs(x[i]) > EDGE) { // one end is open; the last value is the first, mirrored
    let side = select(1.0, -1.0, x[i] > 0.0);
    let z = (side * distance + HALF_BIN) * inverse;
    let found = below(z);
    return vec3f(found.x, -side * inverse * found.y, -z * found.y);
  }
  let m = -abs(distance) * inverse;
  let w = 2.0 * HALF_BIN * inverse;
  let found = between(m, w);
  return vec3f(found.x, sign(distance) * inverse * found.y, -m * found.y - w * found.z);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  let i = (wg.x + wg.y * grid.x) * WORKGROUP_SIZE + lane;
  if (i >= params.n) { return; }
  out[i] = log(max(log_prob(i).x, FLOOR));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn backward(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
            @builtin(local_invocation_index) lane: u32) {
  let i = (wg.x + wg.y * grid.x) * WORKGROUP_SIZE + lane;
  if (i >= params.n) { return; }
  let found = log_prob(i);
  let arriving = select(0.0, dy[i], found.x > FLOOR);
  d_mean[i] = select(0.0, arriving * found.y, arriving != 0.0); // far out the factors are infinite
  d_log_scale[i] = select(0.0, arriving * found.z, arriving != 0.0);
}
