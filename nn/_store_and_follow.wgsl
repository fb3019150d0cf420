// The same where an average follows the parameter, as `follow` in ema.wgsl: comes after optimizers.wgsl.
//   average = average + take * (p - average)
@group(0) @binding(7) var<storage, read_write> average: array<vec4f>;

fn store(i: u32, next: vec4f) {
  p[i] = next;
  average[i] += params.take * (next - average[i]);
}
