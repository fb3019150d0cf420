// What an optimizer does with the new value of a parameter: comes after optimizers.wgsl.
fn store(i: u32, next: vec4f) { p[i] = next; }
