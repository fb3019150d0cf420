/**
 * Published student projects as experiments: what they trained, what they measured, and what is
 * known to be wrong with it. `deno task reproduce` runs them.
 *
 * @module
 */

/** What rows of a table are compared by, in the order in which it is shown. */
export const METRICS = {
  imagesSeen: "Training images seen",
  trainSeconds: "Training, s",
  msPerImage: "Drawing, ms per image",
  bitsTrain: "Bits/dim, training images",
  bitsTest: "Bits/dim, test images",
  frechet: "Fréchet distance",
  kernel: "Kernel distance × 1000",
  precision: "Precision",
  recall: "Recall",
  density: "Density",
  coverage: "Coverage",
  totalVariation: "Total variation of classes",
} as const;

/** Key of a metric. */
export type Metric = keyof typeof METRICS;

/** A model that is trained. Rows of one run differ in how images are drawn. */
export interface RunPlan {
  /** As in `train MODEL`. */
  readonly model: string;
  /** The corrected one; as published, it ends in `-as-published`. */
  readonly preset: string;
  /** As in `--set`. */
  readonly settings?: readonly string[];
  /** Of the budget, beside the 1 of others. */
  readonly weight?: number;
}

/** A line of the published table. */
export interface Row {
  readonly name: string;
  /** Key of the run that it is drawn from. */
  readonly run: string;
  /** Flags of `sample`. */
  readonly draw?: readonly string[];
  /** Of a diffusion row, what `draw` is not given as published: then all timesteps are taken. */
  readonly sampler?: readonly string[];
  /** Real images, if others than the experiment's. */
  readonly against?: string;
  /** Numbers as printed. */
  readonly published?: Readonly<Partial<Record<Metric, number>>>;
  /** Metrics whose published number is void. */
  readonly invalid?: readonly Metric[];
  /** Caveats. */
  readonly notes?: readonly string[];
}

/** What a publication says of two rows: the metric of one is below that of the other. */
export interface Claim {
  readonly text: string;
  readonly metric: Metric;
  /** Names of rows. */
  readonly below: string;
  readonly above: string;
}

/** A published comparison. */
export interface Experiment {
  /** What is compared, on what. */
  readonly title: string;
  /** Who published what. */
  readonly source: string;
  /** Real images that drawn ones are compared with: the test images of the classes that are drawn. */
  readonly against: string;
  /** Images drawn for each row, as published where that is known. */
  readonly count: number;
  /** Whether there are presets with the defects of the publication. */
  readonly asPublished: boolean;
  /** Whether bits/dim of all models compare: then they are bounded, while training too. */
  readonly likelihood?: boolean;
  readonly runs: Readonly<Record<string, RunPlan>>;
  readonly rows: readonly Row[];
  /** Of real training images against the real test images, as printed. */
  readonly floor?: number;
  /** Caveats of all rows, by metric; `all` for the table as a whole. */
  readonly notes: Readonly<Partial<Record<Metric | "all", readonly string[]>>>;
  readonly claims: readonly Claim[];
}

/** How diffusion is drawn from unless as published: all timesteps would take twenty times as long. */
const DDIM = ["--sampler", "ddim", "--sampling-steps", "50"];

/** The bachelor's project, whose two tables differ in numbers alone. */
function bachelorProject(
  dataset: "mnist" | "fashion-mnist",
  name: string,
  numbers: Record<"GAN" | "VAE" | "VAE + GMM" | "DDPM", Row["published"]>,
): Experiment {
  return {
    title: `GAN, VAE, VAE + GMM and DDPM on ${name}`,
    source:
      "Generative_Models_Introduction, a bachelor's project: time, quality and diversity of four methods",
    against: `${dataset}/test`,
    count: 10_000,
    asPublished: true,
    runs: {
      gan: { model: "gan", preset: `gan-${dataset}-tensorflow` },
      vae: { model: "vae", preset: `vae-${dataset}-2d` },
      ddpm: { model: "ddpm", preset: `ddpm-${dataset}-layernorm` },
    },
    rows: [
      { name: "GAN", run: "gan", published: numbers.GAN },
      {
        name: "VAE",
        run: "vae",
        published: numbers.VAE,
        notes: [
          "As published, the judged images stand on a grid of 99 × 99 latents from -3 to 3; here they are drawn from the prior.",
        ],
      },
      {
        name: "VAE + GMM",
        run: "vae",
        draw: ["--gmm", "class"],
        published: numbers["VAE + GMM"],
        notes: [
          "Printed with batch size and epochs (64, 128); the notebook trains with 128 and 60, as for the VAE. It is the same network, with latents drawn from three normal distributions for each class.",
        ],
      },
      {
        name: "DDPM",
        run: "ddpm",
        sampler: DDIM,
        published: numbers.DDPM,
        notes: [
          "Published with T = 300 and the betas of T = 1000: ᾱ_T = 0.048, so that 22 % of the signal's amplitude is left where samples start from noise. Corrected to T = 1000 unless --as-published.",
        ],
      },
    ],
    notes: {
      frechet: [
        "Published by Keras's Inception, on images enlarged by the nearest pixel, which wants 0 to 255 and was given -1 to 1 (GAN, DDPM) or 0 to 1 (VAE): comparable neither with the literature nor between rows. Read the order at most.",
      ],
      ...Object.fromEntries(
        ["precision", "recall", "density", "coverage"].map((metric) => [
          metric,
          [
            "Published of points in the plane: t-SNE, made apart for real and drawn images, so that distances between the two mean nothing. Here of the features named above.",
          ],
        ]),
      ),
      totalVariation: [
        "Distance of the shares of classes from those of the test images, 0 to 1. Published counts are by another classifier, and of MNIST alone.",
      ],
      msPerImage: [
        "Published times are of batches of different sizes (64 and 16), on another machine.",
      ],
    },
    claims: [
      {
        text: "The GAN draws faster than the VAE",
        metric: "msPerImage",
        below: "GAN",
        above: "VAE",
      },
      {
        text: "The DDPM draws slowest",
        metric: "msPerImage",
        below: "VAE",
        above: "DDPM",
      },
      {
        text: "The GAN is nearer to the data than the DDPM",
        metric: "frechet",
        below: "GAN",
        above: "DDPM",
      },
      {
        text: "The mixture raises precision",
        metric: "precision",
        below: "VAE",
        above: "VAE + GMM",
      },
      {
        text: "The mixture lowers recall",
        metric: "recall",
        below: "VAE + GMM",
        above: "VAE",
      },
      {
        text: "The mixture raises density",
        metric: "density",
        below: "VAE",
        above: "VAE + GMM",
      },
      {
        text: "The mixture lowers coverage",
        metric: "coverage",
        below: "VAE + GMM",
        above: "VAE",
      },
    ],
  };
}

/** The course report on CIFAR-10's cats, by the parts of its presets' names. */
const cats = (preset: string): RunPlan => ({
  model: preset.split("-")[0]!,
  preset,
});

const CAT_NOTES = {
  frechet: [
    "Published by pytorch-fid: 1,000 images against the 1,000 test cats. One seed and 1,000 images: differences of about 3 are within the noise. Its values differ between CPU and GPU.",
    "Published floors: 87 with 500 images, 49.838 with 1,000. Its 0.05 with 10,000 cannot be of disjoint images, where about 3.1 is known: most likely a set against itself.",
  ],
  all: [
    "Diffusion as published: no moving average of the weights, predicted images not clipped, t = 0 never trained, no limit of gradients, no mirrored images, and every timestep as a step of the sampler. Corrected unless --as-published; then DDIM with 50 steps draws.",
  ],
};

const CLIPPED_COSINE =
  "Published with the betas of the cosine schedule clipped at 0.02, which 98 of them reach: ᾱ_T is 3.2e-3 instead of 2.4e-9 and samples start from noise that training has not seen. Corrected to 0.999 unless --as-published.";

/** The experiments, by the name that `reproduce` takes. */
export const EXPERIMENTS: Readonly<Record<string, Experiment>> = {
  digits: {
    title: "DDPM, VAE, VAE + GMM and GAN on digits of 8 × 8 pixels",
    source: "none; the embedded digits, to see all of it work in minutes",
    against: "digits/test",
    count: 297,
    asPublished: false,
    likelihood: true,
    runs: {
      ddpm: { model: "ddpm", preset: "ddpm-digits" },
      vae: { model: "vae", preset: "vae-digits" },
      gan: { model: "gan", preset: "gan-digits" },
    },
    rows: [
      {
        name: "DDPM",
        run: "ddpm",
        // With noise in every step, which mends more of a small network's errors.
        sampler: [...DDIM, "--eta", "1"],
      },
      { name: "VAE", run: "vae" },
      { name: "VAE + GMM", run: "vae", draw: ["--gmm", "class"] },
      { name: "GAN", run: "gan" },
    ],
    notes: {},
    claims: [],
  },
  "s000-mnist": vaeAndDiffusion("mnist", "MNIST"),
  "s000-cifar10": vaeAndDiffusion("cifar10", "CIFAR-10"),
  "s001-mnist": {
    ...vaeAndDiffusion("mnist", "MNIST"),
    title: "VAE and DDPM on MNIST: bound and distance",
    source:
      "checkpoint of a course project on Bayesian deep learning: the bound against iterations on training and test images, and the Fréchet distance, both planned and not printed",
    claims: [],
  },
  "s002-cats": {
    title: "Five diffusion models and three GANs of CIFAR-10's cats",
    source: "report of a course project: U-Nets, schedules and DCGANs by FID",
    against: "cifar10/test:cat",
    count: 1000,
    asPublished: true,
    floor: 49.838,
    runs: {
      "2xud-half-linear": cats("ddpm-cifar10-cat-2xud-half-linear"),
      "2xud-linear": cats("ddpm-cifar10-cat-2xud-linear"),
      "3xblocks-linear": cats("ddpm-cifar10-cat-3xblocks-linear"),
      "3xblocks-cosine": cats("ddpm-cifar10-cat-3xblocks-cosine"),
      "2xud-cosine": cats("ddpm-cifar10-cat-2xud-cosine"),
      "gan-smoothed": cats("gan-cifar10-cat-smoothed"),
      gan: cats("gan-cifar10-cat"),
      // Half the epochs, half the budget.
      "gan-512": { ...cats("gan-cifar10-cat-512-epochs"), weight: 0.5 },
    },
    rows: [
      {
        name: "2xUD half channels, linear",
        run: "2xud-half-linear",
        sampler: DDIM,
        published: { frechet: 114.710, msPerImage: 1090 },
      },
      {
        name: "2xUD, linear",
        run: "2xud-linear",
        sampler: DDIM,
        published: { frechet: 100.144, msPerImage: 1470 },
      },
      {
        name: "3xBlocks, linear",
        run: "3xblocks-linear",
        sampler: DDIM,
        published: { frechet: 118.501, msPerImage: 1620 },
      },
      {
        name: "3xBlocks, cosine",
        run: "3xblocks-cosine",
        sampler: DDIM,
        published: { frechet: 115.949, msPerImage: 1620 },
        notes: [CLIPPED_COSINE],
      },
      {
        name: "2xUD, cosine",
        run: "2xud-cosine",
        sampler: DDIM,
        published: { frechet: 97.275, msPerImage: 1470, trainSeconds: 28_560 },
        notes: [CLIPPED_COSINE],
      },
      {
        name: "GAN, smoothed, 1024 epochs",
        run: "gan-smoothed",
        published: { frechet: 125.629 },
        notes: [
          "Published with another generator than the default GAN, so that nothing follows of smoothed labels and noise. Corrected to the same generator unless --as-published.",
        ],
      },
      {
        name: "GAN, 1024 epochs",
        run: "gan",
        published: { frechet: 109.09, trainSeconds: 4860 },
      },
      {
        name: "GAN, 512 epochs",
        run: "gan-512",
        published: { frechet: 113.311 },
      },
    ],
    notes: {
      ...CAT_NOTES,
      msPerImage: ["Published for 999 steps, on a rented GPU."],
    },
    claims: [
      {
        text: "Twice the channels help 2xUD",
        metric: "frechet",
        below: "2xUD, linear",
        above: "2xUD half channels, linear",
      },
      {
        text: "2xUD betters 3xBlocks",
        metric: "frechet",
        below: "2xUD, linear",
        above: "3xBlocks, linear",
      },
      {
        text: "The cosine schedule betters the linear one, 2xUD",
        metric: "frechet",
        below: "2xUD, cosine",
        above: "2xUD, linear",
      },
      {
        text: "The cosine schedule betters the linear one, 3xBlocks",
        metric: "frechet",
        below: "3xBlocks, cosine",
        above: "3xBlocks, linear",
      },
      {
        text: "More epochs help the GAN",
        metric: "frechet",
        below: "GAN, 1024 epochs",
        above: "GAN, 512 epochs",
      },
      {
        text: "Smoothed labels and noise harm the GAN",
        metric: "frechet",
        below: "GAN, 1024 epochs",
        above: "GAN, smoothed, 1024 epochs",
      },
      {
        text: "The best diffusion model betters the best GAN",
        metric: "frechet",
        below: "2xUD, cosine",
        above: "GAN, 1024 epochs",
      },
    ],
  },
  "s002-conditional": {
    title: "A conditional GAN and diffusion model of cats and frogs",
    source:
      "report of a course project: class-conditional models of two classes by FID",
    against: "cifar10/test:cat",
    count: 1000,
    asPublished: true,
    floor: 49.838,
    runs: {
      gan: cats("gan-cifar10-cat-frog-conditional"),
      ddpm: cats("ddpm-cifar10-cat-frog-conditional"),
    },
    rows: [
      {
        name: "Frogs, GAN",
        run: "gan",
        draw: ["--class", "frog"],
        against: "cifar10/test:frog",
        published: { frechet: 181.748 },
      },
      {
        name: "Cats, GAN",
        run: "gan",
        draw: ["--class", "cat"],
        published: { frechet: 231.707 },
        invalid: ["frechet"],
        notes: [
          "The published 231.707 is void: the notebook drew frogs (label 6) for both rows and compared them with cats.",
        ],
      },
      {
        name: "Frogs, diffusion",
        run: "ddpm",
        draw: ["--class", "frog"],
        sampler: DDIM,
        against: "cifar10/test:frog",
        published: { frechet: 70.517 },
        notes: [CLIPPED_COSINE],
      },
      {
        name: "Cats, diffusion",
        run: "ddpm",
        draw: ["--class", "cat"],
        sampler: DDIM,
        published: { frechet: 102.894 },
        notes: [
          CLIPPED_COSINE,
          "Cats of the model without classes (3xBlocks, cosine, in s002-cats) have 115.949 as published.",
        ],
      },
    ],
    notes: {
      ...CAT_NOTES,
      frechet: [
        ...CAT_NOTES.frechet,
        "Frogs are compared with test frogs, cats with test cats: distances of different classes do not tell which model is better.",
      ],
    },
    claims: [
      {
        text: "Diffusion betters the GAN, frogs",
        metric: "frechet",
        below: "Frogs, diffusion",
        above: "Frogs, GAN",
      },
      {
        text: "Diffusion betters the GAN, cats",
        metric: "frechet",
        below: "Cats, diffusion",
        above: "Cats, GAN",
      },
    ],
  },
  "s002-timesteps": {
    title: "Frogs of conditional diffusion models with T = 500, 1000 and 1500",
    source:
      "report of a course project: the number of timesteps, compared by eye",
    against: "cifar10/test:frog",
    count: 1000,
    asPublished: true,
    runs: Object.fromEntries(
      [500, 1000, 1500].map((t) => [
        `t${t}`,
        cats(`ddpm-cifar10-cat-frog-${t}-timesteps`),
      ]),
    ),
    rows: [500, 1000, 1500].map((t) => ({
      name: `T = ${t}`,
      run: `t${t}`,
      draw: ["--class", "frog"],
      sampler: DDIM,
    })),
    notes: {
      all: [
        ...CAT_NOTES.all,
        "Published as pictures alone: no difference was seen. The betas end at 0.02 for every T there, so that ᾱ_T is 6.4e-3, 4.0e-5 and 2.6e-7. Corrected unless --as-published: the ends are scaled by 1000 / T, which gives 3.8e-5, 4.0e-5 and 4.1e-5.",
      ],
    },
    claims: [],
  },
  "s004-mnist": bachelorProject("mnist", "MNIST", {
    GAN: {
      trainSeconds: 700.325,
      msPerImage: 0.154,
      frechet: 4.482,
      precision: 0.857,
      recall: 0.861,
      density: 0.736,
      coverage: 0.723,
      totalVariation: variation(
        [646, 650, 1184, 1872, 649, 1496, 508, 1490, 777, 776],
      ),
    },
    VAE: {
      trainSeconds: 148.948,
      msPerImage: 2.312,
      frechet: 19.907,
      precision: 0.604,
      recall: 0.523,
      density: 0.519,
      coverage: 0.492,
      totalVariation: variation(
        [1871, 2384, 994, 424, 364, 204, 1819, 996, 432, 313],
      ),
    },
    "VAE + GMM": {
      frechet: 24.632,
      precision: 0.698,
      recall: 0.365,
      density: 0.577,
      coverage: 0.367,
      totalVariation: variation(
        [1024, 1222, 866, 1306, 116, 774, 1066, 1092, 750, 1785],
      ),
    },
    DDPM: {
      trainSeconds: 1667.414,
      msPerImage: 118.312,
      frechet: 16.180,
      precision: 0.824,
      recall: 0.859,
      density: 0.693,
      coverage: 0.688,
      totalVariation: variation(
        [461, 1876, 811, 1240, 1097, 1478, 804, 1271, 500, 462],
      ),
    },
  }),
  "s004-fashion": bachelorProject("fashion-mnist", "Fashion-MNIST", {
    GAN: {
      trainSeconds: 675.894,
      msPerImage: 0.171,
      frechet: 5.504,
      precision: 0.689,
      recall: 0.813,
      density: 0.585,
      coverage: 0.619,
    },
    VAE: {
      trainSeconds: 166.568,
      msPerImage: 7.821,
      frechet: 7.679,
      precision: 0.525,
      recall: 0.540,
      density: 0.442,
      coverage: 0.491,
    },
    "VAE + GMM": {
      frechet: 10.360,
      precision: 0.582,
      recall: 0.429,
      density: 0.475,
      coverage: 0.392,
    },
    DDPM: {
      trainSeconds: 1630.831,
      msPerImage: 111.875,
      frechet: 9.811,
      precision: 0.748,
      recall: 0.656,
      density: 0.606,
      coverage: 0.536,
    },
  }),
};

/**
 * An experiment with some of its models alone.
 *
 * @param runs Keys of `runs`.
 */
export function withRuns(
  experiment: Experiment,
  runs: readonly string[],
): Experiment {
  const rows = experiment.rows.filter(({ run }) => runs.includes(run));
  const names = rows.map(({ name }) => name);
  return {
    ...experiment,
    rows,
    runs: Object.fromEntries(
      Object.entries(experiment.runs).filter(([name]) => runs.includes(name)),
    ),
    claims: experiment.claims.filter(({ below, above }) =>
      names.includes(below) && names.includes(above)
    ),
  };
}

/** A VAE and a diffusion model, with the likelihood of 8-bit images in both. */
function vaeAndDiffusion(
  dataset: "mnist" | "cifar10",
  name: string,
): Experiment {
  const [below, above] = dataset === "mnist"
    ? ["VAE", "DDPM"]
    : ["DDPM", "VAE"];
  return {
    title: `Convolutional VAE and DDPM on ${name}`,
    source:
      "final project of a course on Bayesian deep learning: a VAE and diffusion by their bounds and FID, without numbers in print",
    against: `${dataset}/test`,
    count: 10_000,
    asPublished: false,
    likelihood: true,
    runs: {
      vae: {
        model: "conv-vae",
        preset: `conv-vae-${dataset}`,
        settings: [
          "likelihood.type=discretized",
          "likelihood.binarize=none",
        ],
      },
      ddpm: { model: "ddpm", preset: `ddpm-${dataset}` },
    },
    rows: [
      { name: "VAE", run: "vae" },
      { name: "DDPM", run: "ddpm", sampler: DDIM },
    ],
    notes: {
      all: [
        "The text prints no numbers. Its samples on MNIST were underfit, for which it suspects the range of pixels; ranges are checked here before training.",
        "The U-Net is a small form of Ho et al.'s; the layers of the VAE are not in the text.",
      ],
      bitsTrain: [
        "Both bounds are of 8-bit images, in the same unit, by the same decoder.",
      ],
      bitsTest: [
        "Both bounds are of 8-bit images, in the same unit, by the same decoder.",
      ],
    },
    claims: [{
      text: `${below} betters ${above} (a conclusion in words)`,
      metric: "frechet",
      below: below!,
      above: above!,
    }],
  };
}

/** Total variation of 10,000 published images from MNIST's test digits. */
function variation(counts: readonly number[]): number {
  const real = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009];
  const total = counts.reduce((sum, count) => sum + count);
  return counts.reduce(
    (sum, count, i) => sum + Math.abs(count / total - real[i]! / 10_000) / 2,
    0,
  );
}
