import assert from "node:assert/strict";
import {
  imageResizer,
  RESIZE_DIALECTS,
  type ResizeDialect,
  resizeMatrix,
  tensor,
  zeros,
} from "../../mod.ts";
import { assertClose } from "../_check.ts";

const IMAGE = [
  [10, 200, 30, 90, 255],
  [0, 60, 128, 7, 33],
  [250, 3, 77, 140, 201],
];

/** `R_h x R_wᵀ` in float64. */
function resized(
  dialect: ResizeDialect,
  height: number,
  width: number,
): number[] {
  const rows = resizeMatrix(dialect, 3, height);
  const columns = resizeMatrix(dialect, 5, width);
  return Array.from({ length: height * width }, (_, at) => {
    const y = Math.floor(at / width), x = at % width;
    let sum = 0;
    IMAGE.forEach((line, i) =>
      line.forEach((value, j) =>
        sum += rows[y * 3 + i]! * value * columns[x * 5 + j]!
      )
    );
    return sum;
  });
}

Deno.test("resizeMatrix() places pixels as each tool does", () => {
  const halves = [1, 0, 0.75, 0.25, 0.25, 0.75, 0, 1];
  assert.deepEqual([...resizeMatrix("pytorch-fid", 2, 4)], halves);
  const corners = [1, 0, 0.5, 0.5, 0, 1, 0, 1];
  assert.deepEqual([...resizeMatrix("torch-fidelity", 2, 4)], corners);
  // Neither looks at more than two pixels where an image shrinks.
  assert.deepEqual(
    [...resizeMatrix("pytorch-fid", 6, 2)],
    [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
  );
  assert.deepEqual(
    [...resizeMatrix("torch-fidelity", 6, 2)],
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
  );
});

Deno.test("resizeMatrix() leaves a constant image as it is, and any of the same size", () => {
  for (const dialect of RESIZE_DIALECTS) {
    for (const [from, to] of [[32, 299], [28, 299], [512, 299], [1, 7]]) {
      const matrix = resizeMatrix(dialect, from!, to!);
      for (let at = 0; at < to!; at++) {
        const row = matrix.subarray(at * from!, (at + 1) * from!);
        const sum = row.reduce((a, b) => a + b);
        assert.ok(Math.abs(sum - 1) < 1e-12, `${dialect} ${from} ${at} ${sum}`);
      }
    }
    const same = resizeMatrix(dialect, 5, 5);
    assert.ok(same.every((weight, i) => weight === Number(i % 6 === 0)));
  }
});

Deno.test("resizeMatrix() resizes as Pillow 12.3.0 does, bicubic in mode F", async () => {
  const tolerance = { rtol: 2e-6, atol: 1e-4 }; // Pillow keeps float32 between the passes
  await assertClose(resized("clean-fid", 2, 2), [
    74.65603637695312,
    102.78504180908203,
    85.5786361694336,
    102.81177520751953,
  ], tolerance);
  await assertClose(
    resized("clean-fid", 7, 4),
    // deno-fmt-ignore
    [
      59.17324447631836, 140.82821655273438, 51.10474395751953, 246.7232208251953,
      48.65650939941406, 133.54173278808594, 51.60929489135742, 206.2489013671875,
      15.683448791503906, 118.5733413696289, 50.53221893310547, 100.81786346435547,
      7.785625457763672, 95.26542663574219, 56.93196105957031, 21.812213897705078,
      89.13853454589844, 59.37418746948242, 84.17176055908203, 83.46678161621094,
      181.1165008544922, 26.78915023803711, 112.27075958251953, 174.96006774902344,
      218.0094451904297, 12.818440437316895, 123.84547424316406, 209.20396423339844,
    ],
    tolerance,
  );
});

Deno.test("imageResizer() resizes both axes and gives the network's range", async () => {
  const x = tensor(new Float32Array(IMAGE.flat()), [1, 1, 3, 5]);
  const ranges: Record<ResizeDialect, (v: number) => number> = {
    "pytorch-fid": (v) => 2 * v / 255 - 1,
    "torch-fidelity": (v) => (v - 128) / 128,
    "clean-fid": (v) => (Math.min(Math.max(v, 0), 255) - 128) / 128,
  };
  for (const dialect of RESIZE_DIALECTS) {
    const y = imageResizer(3, 5, 9, dialect)(x);
    assert.deepEqual(y.shape, [1, 1, 9, 9]);
    const want = resized(dialect, 9, 9).map(ranges[dialect]);
    await assertClose(y, want, { atol: 2e-6 });
  }
});

Deno.test("imageResizer() cuts off what clean-fid's cubic overshoots", async () => {
  const edge = tensor(new Float32Array([0, 0, 255, 255]), [1, 1, 2, 2]);
  const y = await imageResizer(2, 2, 16, "clean-fid")(edge).data();
  assert.equal(Math.min(...y), -1);
  assert.equal(Math.max(...y), 127 / 128);
});

Deno.test("imageResizer() refuses what it does not know", () => {
  assert.throws(
    () => imageResizer(3, 3, 9, "clean_fid" as ResizeDialect),
    /^RangeError: Cannot resize as "clean_fid": did you mean "clean-fid"\?/,
  );
  assert.throws(
    () => resizeMatrix("clean-fid", 0, 9),
    /^RangeError: .*above 0: they are 0 and 9$/,
  );
  assert.throws(
    () => imageResizer(3, 3, 9)(zeros([1, 3, 4, 3])),
    /^TypeError: .*images must be \[N, C, 3, 3\]/,
  );
});
