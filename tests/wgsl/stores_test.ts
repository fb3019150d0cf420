import { equal } from "node:assert/strict";
import { run } from "./_run.ts";

const SOURCE = `
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<storage, read> at: array<u32>;
fn put(i: u32, v: vec4f) {
  out[i] = v.x;
  out[i + 1u] = v.y;
  out[i + 2u] = v.z;
  out[i + 3u] = v.w;
}
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) wg: vec3u) {
  put(at[wg.x], vec4f(1.0, 2.0, 3.0, 4.0));
}
@compute @workgroup_size(1)
fn shift() {
  out[4] = out[3];
  out[5] = out[4];
  out[6] = out[5];
  out[7] = out[6];
}`;

Deno.test("four words side by side are written where each of them belongs, in range or not", () => {
  for (const first of [0, 1, 4, 5, 6, 7, 8, 100, 2 ** 32 - 1, 2 ** 32 - 3]) {
    const want = new Float32Array(8);
    for (let i = 0; i < 4; i++) {
      want[Math.min((first + i) % 2 ** 32, 7)] = i + 1;
    }
    const { out } = run(SOURCE, {
      buffers: { out: new Float32Array(8), at: new Uint32Array([first]) },
    });
    equal(out.join(), want.join(), `from ${first} on`);
  }
});

Deno.test("a word that a later store reads is written before it", () => {
  const out = Float32Array.of(0, 1, 2, 3, 4, 5, 6, 7);
  const got = run(SOURCE, { buffers: { out } }, { entryPoint: "shift" }).out;
  equal(got.join(), "0,1,2,3,3,3,3,3");
});
