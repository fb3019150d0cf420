/**
 * Run folders as `train` and `evaluate` leave them, with made-up numbers.
 *
 * @module
 */
import { saveSafetensors } from "../../mod.ts";
import type { Evaluation, SampleScores } from "../../tasks/_evaluation.ts";
import { saveGrid } from "../../tasks/_images.ts";
import { stringify } from "../../tasks/_yaml.ts";

/** Parts of scores that differ from the usual ones. */
export type Changes =
  & Partial<Omit<SampleScores, "provenance">>
  & { provenance?: Partial<SampleScores["provenance"]> };

const DIGITS = Array.from({ length: 10 }, (_, i) => String(i));

/** Scores of an honest evaluation, but for `changes`. */
export function scoresOf(id: string, changes: Changes = {}): SampleScores {
  const { provenance, ...scores } = changes;
  const value = scores.frechet?.value ?? 12.5;
  const floor = 1.25;
  return {
    id,
    frechet: { value, interval: [value - 0.5, value + 0.5], floor },
    kernel: { value: value / 10_000, std: 0.0002, floor: 0.00001 },
    inceptionScore: { value: 9.1, std: 0.1, floor: 9.8 },
    precision: { value: 0.71, floor: 0.81 },
    recall: { value: 0.62, floor: 0.8 },
    density: { value: 0.66, floor: 1.01 },
    coverage: { value: 0.58, floor: 0.97 },
    nearestK: 5,
    classes: {
      names: DIGITS,
      counts: [60, 40, 55, 45, 50, 50, 52, 48, 70, 30],
      realCounts: [49, 57, 52, 50, 49, 45, 48, 51, 49, 50],
      totalVariation: 0.096,
      entropy: 2.27,
      kl: 0.03,
      confidence: 0.97,
    },
    memorization: { drawn: 3.1, real: 2.9, share: 0.041 },
    cost: {
      msPerImage: 12.5,
      batchSize: 64,
      gflopPerImage: 2.1,
      peakBytes: 2.2e7,
    },
    ...scores,
    provenance: {
      version: "0.1.0",
      device: "CPU (2 threads)",
      step: 100,
      ema: true,
      seed: 1,
      method: "ddim",
      nfe: 50,
      options: { sampler: "ddim", steps: 50 },
      count: 500,
      against: "mnist/test",
      checksum: "0f".repeat(32),
      classNames: DIGITS,
      extractor: {
        name: "lenet-mnist",
        prefix: "LeNet-",
        sha256: "a5".repeat(32),
        resize: "none",
        dimensions: 84,
        accuracy: 0.99,
      },
      range: { drawn: [0, 255], real: [0, 255] },
      ...provenance,
    },
  };
}

/** A run. */
export interface RunParts {
  /** Default `ddpm`. */
  model?: string;
  /** Default 0. */
  seed?: number;
  /** Other settings. */
  config?: Record<string, unknown>;
  /** Lines of its log. */
  metrics?: Record<string, number>[];
  /** Undefined writes no `evaluation.json`. */
  evaluation?: Evaluation;
}

/** Losses that fall, and bounds now and then, of 100 steps. */
export function logOf(rate = 200, loss = "loss"): Record<string, number>[] {
  return Array.from({ length: 20 }, (_, i) => {
    const step = 5 * (i + 1);
    const lines = [{
      step,
      [loss]: 1 / (1 + i) + 0.02 * Math.sin(7 * i),
      images_per_second: rate,
    }];
    const bounds = {
      step,
      bits_per_dim_test: 3 + 2 / (1 + i),
      bits_per_dim_train: 2.9 + 2 / (1 + i),
    };
    return step % 25 === 0 ? [...lines, bounds] : lines;
  }).flat();
}

/** Writes a run folder, with images and features of each way of drawing. */
export async function writeRun(folder: string, parts: RunParts): Promise<void> {
  const { model = "ddpm", seed = 0, config, metrics, evaluation } = parts;
  await Deno.mkdir(folder, { recursive: true });
  const file = (name: string) => `${folder}/${name}`;
  await Deno.writeTextFile(
    file("config.yaml"),
    stringify({
      model,
      dataset: "mnist",
      seed,
      steps: 100,
      batchSize: 32,
      ...config,
      run: { adapter: "CPU (2 threads)", dataChecksum: "c3".repeat(32) },
    }),
  );
  await Deno.writeTextFile(
    file("metrics.jsonl"),
    (metrics ?? logOf()).map((line) => `${JSON.stringify(line)}\n`).join(""),
  );
  if (!evaluation) return;
  await Deno.writeTextFile(
    file("evaluation.json"),
    JSON.stringify(evaluation),
  );
  for (const { id } of evaluation.samples ?? []) {
    const drawn = `${folder}/evaluations/${id}`;
    await Deno.mkdir(drawn, { recursive: true });
    const shape = { channels: 1, height: 8, width: 8 };
    const bytes = Uint8Array.from({ length: 16 * 64 }, (_, i) => (7 * i) % 256);
    await saveGrid(`${drawn}/grid.png`, bytes, shape);
    await saveGrid(`${drawn}/real.png`, bytes, shape);
    const features = (phase: number) => ({
      dtype: "f32" as const,
      shape: [20, 4],
      data: Float32Array.from({ length: 80 }, (_, i) => Math.sin(i + phase)),
    });
    const sets = { drawn: features(id.length), real: features(0) };
    await Deno.writeFile(
      `${drawn}/features.safetensors`,
      await saveSafetensors(sets),
    );
  }
}
