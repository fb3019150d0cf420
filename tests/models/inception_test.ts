import assert from "node:assert/strict";
import {
  countFlops,
  InceptionV3,
  noGrad,
  Rng,
  scope,
  type Tensor,
  zeros,
} from "../../mod.ts";
import { assertClose } from "../_check.ts";

/** With batch normalisation that does something. */
function network(): InceptionV3 {
  const made = new InceptionV3(new Rng(3));
  const rng = new Rng(4);
  const state: Record<string, Tensor> = {};
  scope(() => {
    for (const [name, { shape }] of Object.entries(made.stateDict())) {
      if (!name.includes(".bn.")) continue;
      const isGain = /weight|running_var/.test(name);
      state[name] = isGain
        ? rng.uniform(shape, 0.5, 1.5)
        : rng.uniform(shape, -0.1, 0.1);
    }
    made.loadStateDict(state, { strict: false });
  });
  return made;
}

const made = network();

Deno.test("InceptionV3 has the state of the published file", () => {
  const state = made.stateDict();
  const names = Object.keys(state);
  assert.equal(names.length, 472);
  assert.equal(
    names.filter((name) => name.endsWith(".conv.weight")).length,
    94,
  );
  const numbers = Object.values(state).reduce((sum, { size }) => sum + size, 0);
  assert.equal(numbers, 23_885_392);
  assert.equal(made.parameterCount, 23_850_960);
  const shapes = {
    "Conv2d_1a_3x3.conv.weight": [32, 3, 3, 3],
    "Conv2d_3b_1x1.bn.running_var": [80],
    "Mixed_5b.branch_pool.conv.weight": [32, 192, 1, 1],
    "Mixed_5d.branch5x5_2.conv.weight": [64, 48, 5, 5],
    "Mixed_6a.branch3x3dbl_3.conv.weight": [96, 96, 3, 3],
    "Mixed_6c.branch7x7dbl_4.conv.weight": [160, 160, 7, 1],
    "Mixed_6e.branch7x7_2.conv.weight": [192, 192, 1, 7],
    "Mixed_7a.branch7x7x3_4.conv.weight": [192, 192, 3, 3],
    "Mixed_7b.branch3x3dbl_3b.conv.weight": [384, 384, 3, 1],
    "Mixed_7c.branch_pool.conv.weight": [192, 2048, 1, 1],
    "fc.weight": [1008, 2048],
    "fc.bias": [1008],
  };
  for (const [name, shape] of Object.entries(shapes)) {
    assert.deepEqual(state[name]?.shape, shape, name);
  }
});

Deno.test("InceptionV3 gives maps of the published sizes at 11.4 GFLOP", () => {
  scope(() =>
    noGrad(() => {
      const shapes: Record<string, number[]> = {};
      // Nothing is computed: the work is only counted.
      const flops = countFlops(() => {
        const maps = made.maps(zeros([1, 3, 299, 299]));
        for (const [name, { shape }] of Object.entries<Tensor>({ ...maps })) {
          shapes[name] = [...shape];
        }
        return maps.mixed7c;
      });
      assert.deepEqual(shapes, {
        block0: [1, 64, 73, 73],
        block1: [1, 192, 35, 35],
        mixed6d: [1, 768, 17, 17],
        block2: [1, 768, 17, 17],
        mixed7c: [1, 2048, 8, 8],
      });
      assert.ok(Math.abs(flops / 1e9 - 11.42) < 0.01, String(flops));
    })
  );
});

Deno.test("InceptionV3.folded() computes the same", async () => {
  const folded = made.folded();
  assert.ok(!Object.keys(folded.stateDict()).some((name) => /bn/.test(name)));
  const x = new Rng(5).uniform([1, 3, 75, 75], -1, 1); // the smallest
  const run = (net: InceptionV3) => noGrad(() => net.forward(x));
  await assertClose(run(folded), run(made), { atol: 1e-4, rtol: 1e-4 });
  folded.dispose();
});

Deno.test("InceptionV3 names what a state lacks, and refuses grey images", () => {
  const { "fc.bias": _, ...rest } = made.stateDict();
  assert.throws(
    () => made.loadStateDict({ ...rest, "AuxLogits.fc.bias": zeros([1000]) }),
    /missing \(1\): fc\.bias.*unexpected \(1\): AuxLogits\.fc\.bias/,
  );
  assert.throws(
    () => made.maps(zeros([1, 1, 299, 299])),
    /^TypeError: .*images must be \[N, 3, H, W\]/,
  );
});
