/**
 * Diffusion models as configured: every kind trains, continues as if never stopped, and is sampled.
 *
 * @module
 */
import { deepEqual, equal, notDeepEqual, ok } from "node:assert/strict";
import { Batches, loadDigits, parseSafetensors } from "../../mod.ts";
import { resolveConfig } from "../../tasks/_config.ts";
import { DdpmModel, type Drawing, loadDdpm } from "../../tasks/_ddpm.ts";
import { DDPM_EXCLUSIVE, ddpmSchema } from "../../tasks/_ddpm_config.ts";
import { shapeOf, Trainer } from "../../tasks/_trainer.ts";

const dataset = loadDigits();

async function modelOf(...sets: string[]): Promise<DdpmModel> {
  const config = await resolveConfig({
    schema: ddpmSchema,
    preset: "ddpm-digits",
    exclusive: DDPM_EXCLUSIVE,
    sets: [
      "unet.channels=4",
      "unet.groups=2",
      "diffusion.timesteps=12",
      "batchSize=4",
      "samples.count=3",
      "samples.steps=3",
      "optimizer.warmupSteps=0",
      ...sets,
    ],
  });
  return new DdpmModel(config, shapeOf(dataset));
}

async function train(trainer: Trainer, until: number): Promise<void> {
  const { batchSize, seed } = trainer.model.config;
  const batches = new Batches(dataset, { batchSize, seed });
  while (trainer.step < until) await trainer.train(batches.batch(trainer.step));
}

async function stateOf(trainer: Trainer) {
  const { tensors, metadata } = parseSafetensors(
    await trainer.checkpoint() as Uint8Array<ArrayBuffer>,
  );
  return { tensors, metadata };
}

const KINDS: Record<string, string[]> = {
  "predictions of v to pure noise, weighted": [
    "diffusion.prediction=v",
    "diffusion.schedule=jsd",
    "loss.weighting=min-snr-gamma",
  ],
  "a learned variance, its bound sampled by importance": [
    "diffusion.variance=learned_range",
    "loss.type=vlb",
    "loss.timesteps=importance",
    "diffusion.timesteps=4", // few, so that each has its history before the end
    "samples.sampler=ddpm",
  ],
  "the hybrid loss": [
    "diffusion.variance=learned_range",
    "loss.type=hybrid",
    "samples.threshold=dynamic",
  ],
  "EDM": ["loss.type=edm", "samples.sampler=heun", "samples.churn=2"],
  "self-conditioning": ["selfConditioning=true", "samples.sampler=dpmpp"],
  "classes that are dropped, guided": [
    "conditional=true",
    "labelDropout=0.5",
    "samples.guidance=2",
    "samples.guidanceInterval=[0.1, 3]",
    "samples.sampler=euler-ancestral",
  ],
};

for (const [kind, sets] of Object.entries(KINDS)) {
  Deno.test(`${kind}: a resumed run equals one that never stopped, and draws`, async () => {
    const straight = new Trainer(await modelOf(...sets));
    // With importance, the first losses only fill the history: go beyond it.
    await train(straight, 40);
    const { loss } = await straight.takeLosses();
    ok(Number.isFinite(loss), String(loss));

    const first = new Trainer(await modelOf(...sets));
    await train(first, 35);
    const bytes = await first.checkpoint();
    const resumed = new Trainer(await modelOf(...sets));
    resumed.restore(bytes as Uint8Array<ArrayBuffer>, "a checkpoint");
    equal(resumed.step, 35);
    await train(resumed, 40);
    equal((await resumed.takeLosses()).loss, loss);
    deepEqual(await stateOf(resumed), await stateOf(straight));

    const picture = await straight.picture(() => false);
    deepEqual([picture!.count, picture!.bytes.length], [3, 3 * 64]);
    deepEqual((await resumed.picture(() => false))!.bytes, picture!.bytes);
    equal(await straight.picture(() => true), undefined);
    const { model, step } = loadDdpm(
      await straight.checkpoint() as Uint8Array<ArrayBuffer>,
      "a checkpoint",
      true,
    );
    equal(step, 40);
    deepEqual((await model.picture(() => false))!.bytes, picture!.bytes);
  });
}

/** Draws of one model, by all samplers. */
const DRAWINGS: Drawing[] = [
  { sampler: "ddpm" },
  { sampler: "ddim", eta: 0.5, steps: 5 },
  { sampler: "dpmpp", steps: 5 },
  { sampler: "heun", steps: 5, churn: 3 },
  { sampler: "euler-ancestral", steps: 5 },
];

for (const drawing of DRAWINGS) {
  Deno.test(`image 66 of ${drawing.sampler} is the same in any batch`, async () => {
    const model = await modelOf("seed=3");
    // The first weights predict almost nothing: make the network matter.
    const trainer = new Trainer(model);
    await train(trainer, 5);
    const all = await model.sample({ ...drawing, count: 68, seed: 7 });
    const some = await model.sample({
      ...drawing,
      count: 3,
      seed: 7,
      first: 65,
    });
    const expected = all!.subarray(65 * 64);
    equal(some!.length, expected.length);
    // Kernels may sum in another order for another number of images.
    ok(some!.every((byte, i) => Math.abs(byte - expected[i]!) <= 1));
    const other = await model.sample({ ...drawing, count: 3, seed: 7 });
    notDeepEqual(other, some);
  });
}

Deno.test("interpolation begins and ends at images of their own, row by row", async () => {
  const model = await modelOf();
  await train(new Trainer(model), 5);
  const common = { sampler: "ddim", eta: 0, steps: 4, seed: 2 } as const;
  const rows = await model.sample({ ...common, count: 10, interpolate: 5 });
  const ends = await model.sample({ ...common, count: 4 });
  const image = (bytes: Uint8Array, i: number) =>
    bytes.subarray(i * 64, i * 64 + 64);
  for (const [at, end] of [[0, 0], [4, 1], [5, 2], [9, 3]] as const) {
    const [a, b] = [image(rows!, at), image(ends!, end)];
    ok(a.every((byte, i) => Math.abs(byte - b[i]!) <= 1), `image ${at}`);
  }
  notDeepEqual(image(rows!, 2), image(rows!, 0));
});

Deno.test("a sampler that is asked for comes with its own steps and spacing", async () => {
  const model = await modelOf("samples.sampler=ddim");
  deepEqual(model.drawing().steps, 3); // as configured
  const { steps, spacing } = model.drawing({ sampler: "ddpm" });
  deepEqual([steps, spacing], [12, "even"]);
  equal(model.drawing({ sampler: "dpmpp" }).spacing, "linspace");
  equal(model.drawing({ sampler: "heun", spacing: "quad" }).spacing, "quad");
});
