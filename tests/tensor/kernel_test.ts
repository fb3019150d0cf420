import assert from "node:assert/strict";
import * as d from "../../mod.ts";
import { ceilDiv, empties, Kernel, like } from "../../tensor/kernel.ts";
import { assertClose } from "../_check.ts";

/** One of everything a file may declare. */
const toy = new Kernel(
  "toy",
  `
// struct Params { commented: out }
struct Params {
  n: u32, factor: f32, // a comment: with a colon
  shift: i32,
  pair: vec2i, triple: vec3f, quad: vec4u, last: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(5) var<storage> y: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;
override KIND: u32 = 1u;
const TWICE = 2u;

@compute @workgroup_size(64)
fn all_params(@builtin(global_invocation_id) id: vec3u) {
  if (id.x > 0u) { return; }
  out[0] = f32(params.n); out[1] = params.factor; out[2] = f32(params.shift);
  out[3] = f32(params.pair.x); out[4] = f32(params.pair.y);
  out[5] = params.triple.x; out[6] = params.triple.y; out[7] = params.triple.z;
  out[8] = f32(params.quad.x); out[9] = f32(params.quad.w); out[10] = params.last;
}

@compute @workgroup_size(64)
fn scale(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * 64u;
  if (i >= params.n) { return; }
  out[i] = x[i] * params.factor * f32(KIND);
}

@compute @workgroup_size(1)
fn count(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = wg.x + wg.y * grid.x;
  if (i >= params.n) { return; }
  out[i] = f32(i);
}

@compute @workgroup_size(64)
fn both(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.n) { return; }
  out[id.x] = x[id.x] + y[id.x];
}
`,
);
const PARAMS = {
  n: 3,
  factor: 0.5,
  shift: -7,
  pair: [-1, 2],
  triple: [0.25, 1.5, -3],
  quad: [4, 5, 6, 7],
  last: 9,
};
const once = { workgroups: () => 1 };

Deno.test("Kernel packs parameters as WGSL lays them out", async () => {
  const out = toy.run("all_params", PARAMS, { out: d.zeros([11]) }, once);
  await assertClose(out, [3, 0.5, -7, -1, 2, 0.25, 1.5, -3, 4, 7, 9]);
});

Deno.test("Kernel takes override constants and reads codes", async () => {
  const x = d.tensor([1, 2, 3]);
  assert.equal(toy.code("TWICE"), 2);
  assert.throws(() => toy.code("THRICE"), /toy\.wgsl has no const THRICE/);
  await assertClose(
    toy.run("scale", PARAMS, { x, out: like(x) }, once),
    [0.5, 1, 1.5],
  );
  const constants = { KIND: toy.code("TWICE") };
  await assertClose(
    toy.run("scale", PARAMS, { x, out: like(x) }, { ...once, constants }),
    [1, 2, 3],
  );
});

Deno.test("Kernel says which parameter or binding does not fit", () => {
  const x = d.tensor([1, 2, 3]), out = like(x);
  const { factor: _, ...lacking } = PARAMS;
  assert.throws(
    () => toy.run("scale", lacking, { x, out }, once),
    /toy\.scale\(x f32\[3\], out f32\[3\]\) lacks the parameter factor/,
  );
  assert.throws(
    () => toy.run("scale", PARAMS, { x, result: out }, once),
    /toy\.wgsl has no binding result/,
  );
  assert.throws(
    () => toy.run("scale", PARAMS, { x }, once),
    /toy\.scale\(x f32\[3\]\) writes nothing/,
  );
  assert.throws(
    () => new Kernel("odd", "struct Params { m: mat2x2f }"),
    /Cannot read odd\.wgsl as Params\.m has type mat2x2f/,
  );
});

Deno.test("Kernel refuses to write what it also reads", () => {
  const x = d.tensor([1, 2, 3]);
  for (const out of [x, x.detach()]) {
    assert.throws(
      () => toy.run("scale", PARAMS, { x, out }, once),
      /Cannot run toy\.scale\(.*\) as out, which it writes, and x share memory/,
    );
  }
  const both = { x, y: x, out: like(x) }; // reading twice is fine
  assert.equal(toy.run("both", PARAMS, both, once), both.out);
});

Deno.test("Kernel runs nothing for nothing, and binds empty inputs", async () => {
  const nothing = d.zeros([0]);
  toy.run("scale", { ...PARAMS, n: 0 }, { x: nothing, out: nothing }, once);
  const out = d.zeros([1]);
  toy.run("both", { ...PARAMS, n: 0 }, { x: nothing, y: nothing, out }, once);
  assert.equal(await out.item(), 0);
});

Deno.test("Kernel folds more workgroups than one axis holds", async () => {
  const n = d.deviceInfo().maxWorkgroups + 5;
  const params = { ...PARAMS, n };
  const out = toy.run("count", params, { out: empties([n]) }, {
    workgroups: ({ n }) => Number(n),
  });
  const data = await out.data();
  assert.deepEqual([...data.subarray(0, 3)], [0, 1, 2]);
  assert.deepEqual([...data.subarray(n - 3)], [n - 3, n - 2, n - 1]);
  assert.throws(
    () =>
      toy.run("count", params, { out }, {
        workgroups: () => [1, n, 1] as const,
      }),
    new RegExp(`Cannot run toy\\.count\\(out f32\\[${n}\\]\\) over 1 x ${n}`),
  );
});

/** Large enough to be cut here, small enough for a test: not so on GPUs with large bindings. */
const bindingBytes = d.deviceError()
  ? Infinity
  : d.deviceInfo().maxBindingBytes;
/** So that a binding holds an odd number of rows, while a piece must be a multiple of eight. */
const COLS = 1096;

const pieces = new Kernel(
  "pieces",
  `
struct Params { rows: u32, cols: u32, first: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> offset: array<f32>;
@group(0) @binding(3) var<storage, read> factor: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(64)
fn affine(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * 64u;
  let row = i / params.cols;
  if (row >= params.rows) { return; }
  // offset is cut with x, factor is passed whole: both must lead to the same row.
  out[i] = x[i] * factor[params.first + row] + offset[row];
}
`,
);

Deno.test({
  name: "Kernel cuts a tensor that is larger than one binding",
  ignore: bindingBytes > 2 ** 28,
  async fn() {
    const rows = ceilDiv(bindingBytes, 4 * COLS) + 7;
    const counts = Float32Array.from({ length: rows }, (_, row) => row);
    const sums = d.scope(() => {
      const factor = d.tensor(counts), offset = d.scale(factor, 2);
      const x = d.ones([rows, COLS]);
      const out = pieces.run(
        "affine",
        { rows, cols: COLS, first: 0 },
        { offset, x, factor, out: like(x) },
        {
          workgroups: ({ rows }) => ceilDiv(Number(rows) * COLS, 64),
          splitBy: "rows",
          split: ["offset", "x", "out"],
        },
      );
      return d.mean(out, { axis: 1 });
    });
    await assertClose(sums, counts.map((row) => 3 * row));
    const whole = { workgroups: () => 1 };
    d.scope(() => {
      const x = d.ones([rows, COLS]), out = d.zeros([1]);
      assert.throws(
        () => toy.run("scale", PARAMS, { x, out }, whole),
        /as x does not fit one binding: this device binds at most \d+ bytes/,
      );
    });
    d.trimPool();
  },
});
