/**
 * All tasks: the one table that `deno task help` prints and every task takes
 * its summary and examples from.
 *
 * @module
 */

/** A row of the table. */
export interface TaskInfo {
  /** As in `deno task <name>`. */
  readonly name: string;
  /** One sentence, without a full stop. */
  readonly summary: string;
  /** Complete command lines. */
  readonly examples: readonly string[];
}

/** The tasks, in the order in which one uses them. */
export const TASKS = [
  {
    name: "doctor",
    summary:
      "Shows which device computes, and checks the engine's kernels on it",
    examples: ["deno task doctor", "deno task doctor --device cpu --json"],
  },
  {
    name: "datasets",
    summary: "Lists, downloads and checks data sets",
    examples: [
      "deno task datasets",
      "deno task datasets get cifar10",
      "deno task datasets check mnist --data-dir /data",
      "deno task datasets check folder:photos/cats",
    ],
  },
  {
    name: "train",
    summary:
      "Trains a model and keeps everything in a run folder, which --resume continues",
    examples: [
      "deno task train ddpm",
      "deno task train ddpm --dataset cifar10 --class cat,frog --conditional",
      "deno task train ddpm --preset ddpm-mnist --steps 5000 --set optimizer.learningRate=1e-4",
      "deno task train ddpm --config my.yaml --out runs/mine",
      "deno task train autoencoder --out runs/autoencoder",
      "deno task train ddpm --set latent.autoencoder=runs/autoencoder",
      "deno task train ddpm --resume runs/mine",
      "deno task train classifier --dataset mnist",
      "deno task train classifier --noisy",
      "deno task train vae --dataset mnist",
      "deno task train vae --preset vae-mnist-2d",
      "deno task train gan --dataset mnist",
    ],
  },
  {
    name: "sample",
    summary: "Draws images from a trained run",
    examples: [
      "deno task sample runs/mine --count 64 --grid samples.png",
      "deno task sample runs/mine --sampler ddim --sampling-steps 50 --out images",
      "deno task sample runs/mine --class cat --seed 7",
      "deno task sample runs/vae --gmm",
    ],
  },
  {
    name: "import-weights",
    summary: "Makes a run of published weights, which sample takes",
    examples: [
      "deno task import-weights model-790000.ckpt --preset ddpm-cifar10-ho --out runs/ho",
      "deno task import-weights edm.pt --preset ddpm-cifar10-edm",
      "deno task import-weights 64x64_diffusion.pt --preset ddpm-imagenet64-adm --class-names names.txt",
    ],
  },
  {
    name: "export-weights",
    summary: "Writes the weights of a run alone to a safetensors file",
    examples: ["deno task export-weights runs/mine mine.safetensors"],
  },
  {
    name: "evaluate",
    summary:
      "Measures runs: likelihood, FID, KID, precision, recall, classes, speed, in evaluation.json",
    examples: [
      "deno task evaluate runs/mine",
      "deno task evaluate runs/ddpm runs/vae runs/gan --count 500",
      "deno task evaluate runs/mine --sampler ddim --sweep-steps 5,10,20,50 --only samples",
      "deno task evaluate runs/vae --gmm --only samples",
      "deno task evaluate runs/mine --only likelihood --timesteps 1000",
    ],
  },
  {
    name: "compare",
    summary:
      "Makes a report on evaluated runs: one table, samples, curves, as a page, Markdown and CSV",
    examples: [
      "deno task compare runs/vae runs/ddpm --out report",
      "deno task compare runs/* --out report --apart --title 'Digits'",
    ],
  },
  {
    name: "reproduce",
    summary:
      "Trains and judges all models of a published comparison, and prints its table beside what was published",
    examples: [
      "deno task reproduce --list",
      "deno task reproduce digits --budget 5m",
      "deno task reproduce s004-mnist --budget 30m --data-dir /data",
      "deno task reproduce s002-cats --as-published",
    ],
  },
  {
    name: "fid",
    summary:
      "Compares two sets of images by FID and KID, beside what real images score",
    examples: [
      "deno task fid samples mnist/test",
      "deno task fid runs/mine cifar10/test:cat --count 1000 --sampler ddim",
      "deno task fid cifar10/train --save-stats cifar10.npz --features inception",
      "deno task fid samples cifar10.npz --features inception --json",
    ],
  },
  {
    name: "probe",
    summary:
      "Measures how well classes can be told by an autoencoder's latents",
    examples: [
      "deno task probe runs/mine",
      "deno task probe runs/a runs/b --json",
    ],
  },
  {
    name: "bench",
    summary: "Times kernels, training steps and sampling steps",
    examples: [
      "deno task bench",
      "deno task bench --json",
      "deno task bench --item matmul*,unet16_* --vs tfjs,jax-js",
    ],
  },
  {
    name: "tune",
    summary: "Measures which kernels are fastest on this adapter, and keeps it",
    examples: ["deno task tune", "deno task tune --json --no-write"],
  },
  {
    name: "test",
    summary: "Runs the static checks and the tests",
    examples: ["deno task test", "deno task test --quick tests/kernels"],
  },
  {
    name: "test:data",
    summary: "Runs the loaders over the complete real data in $DATA_DIR",
    examples: ["DATA_DIR=/data deno task test:data"],
  },
  {
    name: "help",
    summary: "Lists the tasks, or shows one",
    examples: ["deno task help", "deno task help train"],
  },
] as const satisfies readonly TaskInfo[];

/** The name of a task. */
export type TaskName = typeof TASKS[number]["name"];

/**
 * Name, summary and examples of a task, to spread into its `Command`.
 *
 * @param name The task.
 * @returns Its row of the table.
 */
export function taskInfo(name: TaskName): TaskInfo {
  return TASKS.find((task) => task.name === name)!;
}
