// peak: what the adapter can do at best, to compare the items with.
//   copy        out = x, four floats at a time
//   multiply    two vectors' independent chains of fused multiply-adds in registers
//   multiply8   those of eight vectors, for machines that run one invocation at a time
// shapes    x, out: f32[16 n] in copy; out: f32[4 n] in multiply and multiply8
// dispatch  n invocations; each copies four vectors, or writes the sum of its chains as one
struct Params { n: u32, turns: u32, factor: f32, summand: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;
const WORKGROUP_SIZE = 64u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn copy(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i >= params.n) { return; }
  for (var part = 0u; part < 4u; part++) { // far apart, so that neighbours read neighbours
    let at = i + part * params.n;
    out[at] = x[at];
  }
}

const FLOPS_PER_TURN = 256u; // of 32 vectors: 128 multiply-adds

@compute @workgroup_size(WORKGROUP_SIZE)
fn multiply(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i >= params.n) { return; }
  let m = vec4f(params.factor);
  let c = vec4f(params.summand);
  var p = vec4f(f32(id.x & 7u));
  var q = p + 0.5;
  for (var turn = 0u; turn < params.turns; turn++) {
    p = fma(p, m, c); q = fma(q, m, c);
    p = fma(p, m, c); q = fma(q, m, c);
    p = fma(p, m, c); q = fma(q, m, c);
    p = fma(p, m, c); q = fma(q, m, c);
    p = fma(p, m, c); q = fma(q, m, c);
    p = fma(p, m, c); q = fma(q, m, c);
    p = fma(p, m, c); q = fma(q, m, c);
    p = fma(p, m, c); q = fma(q, m, c);
    p = fma(p, m, c); q = fma(q, m, c);
    p = fma(p, m, c); q = fma(q, m, c);
    p = fma(p, m, c); q = fma(q, m, c);
    p = fma(p, m, c); q = fma(q, m, c);
    p = fma(p, m, c); q = fma(q, m, c);
    p = fma(p, m, c); q = fma(q, m, c);
    p = fma(p, m, c); q = fma(q, m, c);
    p = fma(p, m, c); q = fma(q, m, c);
  }
  out[i] = p + q;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn multiply8(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * WORKGROUP_SIZE;
  if (i >= params.n) { return; }
  let m = vec4f(params.factor);
  let c = vec4f(params.summand);
  var p = vec4f(f32(id.x & 7u));
  var q = p + 0.5; var r = p + 1.0; var s = p + 1.5;
  var t = p + 2.0; var u = p + 2.5; var v = p + 3.0; var w = p + 3.5;
  for (var turn = 0u; turn < params.turns; turn++) {
    p = fma(p, m, c); q = fma(q, m, c); r = fma(r, m, c); s = fma(s, m, c);
    t = fma(t, m, c); u = fma(u, m, c); v = fma(v, m, c); w = fma(w, m, c);
    p = fma(p, m, c); q = fma(q, m, c); r = fma(r, m, c); s = fma(s, m, c);
    t = fma(t, m, c); u = fma(u, m, c); v = fma(v, m, c); w = fma(w, m, c);
    p = fma(p, m, c); q = fma(q, m, c); r = fma(r, m, c); s = fma(s, m, c);
    t = fma(t, m, c); u = fma(u, m, c); v = fma(v, m, c); w = fma(w, m, c);
    p = fma(p, m, c); q = fma(q, m, c); r = fma(r, m, c); s = fma(s, m, c);
    t = fma(t, m, c); u = fma(u, m, c); v = fma(v, m, c); w = fma(w, m, c);
  }
  out[i] = ((p + q) + (r + s)) + ((t + u) + (v + w));
}
