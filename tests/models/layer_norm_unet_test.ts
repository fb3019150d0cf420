import assert from "node:assert/strict";
import { LayerNormUNet, Rng, scope, silu, tensor } from "../../mod.ts";
import { assertClose } from "../_check.ts";
import { answers, assertExplains, assertLearns, Zeros } from "./_denoisers.ts";
import {
  type Image,
  image,
  joined,
  Plain,
  plus,
  relu,
  silu as plainSilu,
  vector,
} from "./_plain.ts";

Deno.test("LayerNormUNet has 506,852 parameters, named as in the original", () => {
  scope(() => {
    const net = new LayerNormUNet({ inChannels: 1 }, new Zeros());
    assert.equal(net.parameterCount, 506_852);
    const names = Object.keys(net.namedParameters());
    for (
      const name of [
        "te1.0.weight",
        "te_mid.2.bias",
        "b1.0.ln.weight",
        "b1.2.conv2.bias",
        "down2.weight",
        "down3.0.weight",
        "b_mid.1.conv1.weight",
        "up1.2.weight",
        "b5.0.ln.bias",
        "te_out.0.weight",
        "b_out.2.ln.weight",
        "conv_out.bias",
      ]
    ) assert.ok(names.includes(name), name);
  });
});

const TINY = { inChannels: 1, size: 12, channels: 4, timeDim: 8 };
/** The original has it, and does not use it. */
const UNUSED = ["b_out.2.ln.weight", "b_out.2.ln.bias"];

Deno.test("LayerNormUNet keeps the size of images, and may predict twice their channels", async () => {
  const rng = new Rng(1);
  for (const size of [12, 20, 28]) {
    const net = new LayerNormUNet({ ...TINY, size, outChannels: 2 }, rng);
    const y = net.forward(rng.normal([2, 1, size, size]), tensor([0, 299]));
    assert.deepEqual(y.shape, [2, 2, size, size]);
    assert.ok((await y.data()).every(Number.isFinite));
  }
});

/** The network on one image in plain loops. */
function plainForward(
  p: Plain,
  x: Image,
  t: number,
  y: number,
  activation: (x: Image) => Image,
): Image {
  const code = vector(Array.from({ length: 8 }, (_, j) => {
    const angle = t * 10000 ** (-2 * (j - j % 2) / 8);
    return j % 2 === 0 ? Math.sin(angle) : Math.cos(angle);
  }));
  const e = plus(code, p.row("label_emb.weight", y));
  const half = { stride: 2, padding: 1 }, same = { padding: 1 };
  const stage = (name: string, te: string, x: Image) => {
    let shift = p.linear(e, `${te}.0.weight`, `${te}.0.bias`);
    shift = p.linear(plainSilu(shift), `${te}.2.weight`, `${te}.2.bias`);
    let h = plus(x, shift);
    for (let i = 0; i < 3; i++) {
      const block = `${name}.${i}`;
      if (block !== "b_out.2") h = p.norm(h, `${block}.ln`, "element");
      h = activation(p.conv(h, `${block}.conv1`, same));
      h = activation(p.conv(h, `${block}.conv2`, same));
    }
    return h;
  };
  const h1 = stage("b1", "te1", x);
  const h2 = stage("b2", "te2", p.conv(h1, "down1", half));
  const h3 = stage("b3", "te3", p.conv(h2, "down2", half));
  let h = p.conv(plainSilu(p.conv(h3, "down3.0")), "down3.2", half);
  h = stage("b_mid", "te_mid", h);
  h = plainSilu(p.convTransposed(h, "up1.0", half));
  h = stage("b4", "te4", joined(h3, p.convTransposed(h, "up1.2")));
  h = stage("b5", "te5", joined(h2, p.convTransposed(h, "up2", half)));
  h = stage("b_out", "te_out", joined(h1, p.convTransposed(h, "up3", half)));
  return p.conv(h, "conv_out", same);
}

for (const activation of ["relu", "silu"]) {
  Deno.test(`LayerNormUNet computes what plain loops compute, ${activation}`, async () => {
    const rng = new Rng(2);
    const net = new LayerNormUNet({
      ...TINY,
      numClasses: 3,
      ...(activation === "silu" ? { activation: silu } : {}),
    }, rng);
    // Gains and offsets start as ones and zeros, which would hide mistakes.
    for (const [name, { shape }] of Object.entries(net.stateDict())) {
      if (!name.includes(".ln.")) continue;
      const moved = rng.normal(shape, name.endsWith("weight") ? 1 : 0, 0.3);
      net.loadStateDict({ [name]: moved }, { strict: false });
    }
    const x = rng.normal([2, 1, 12, 12]), times = [3, 299], classes = [2, 0];
    const out = net.forward(x, tensor(times), {
      y: tensor(classes, [2], "i32"),
    });
    const [plain, pixels] = [await Plain.of(net), await x.data()];
    const want = times.flatMap((t, n) => {
      const one = image(
        [1, 12, 12],
        (_, i, j) => pixels[(n * 12 + i) * 12 + j]!,
      );
      const act = activation === "silu" ? plainSilu : relu;
      return [...plainForward(plain, one, t, classes[n]!, act).data];
    });
    await assertClose(out, want, { atol: 1e-6 });
  });
}

Deno.test("LayerNormUNet learns with all its parameters", async () => {
  const net = new LayerNormUNet(TINY, new Rng(3));
  await assertLearns(net, [2, 1, 12, 12], { unused: UNUSED });
});

Deno.test("LayerNormUNet with classes depends on them", async () => {
  const net = new LayerNormUNet({ ...TINY, numClasses: 3 }, new Rng(4));
  const [a, b, again] = await answers(net, [1, 12, 12], [0, 2, 0]);
  assert.deepEqual(a, again);
  assert.notDeepEqual(a, b);
});

Deno.test("LayerNormUNet explains what does not fit", () => {
  const rng = new Rng(5);
  const net = new LayerNormUNet(TINY, rng);
  assertExplains(
    net,
    new LayerNormUNet({ ...TINY, numClasses: 2 }, rng),
    [1, 12, 12],
  );
  assert.throws(
    () => net.forward(rng.normal([1, 1, 28, 28]), tensor([0])),
    /sides of 12, its size: x is \[1, 1, 28, 28\]/,
  );
  for (const size of [4, 30, 32]) {
    assert.throws(
      () => new LayerNormUNet({ ...TINY, size }, rng),
      /the size must be 4 times an odd number from 3, such as 28: it is/,
    );
  }
});
