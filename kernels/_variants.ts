/**
 * Which of its forms a product of matrices takes: measured for the adapter if someone has, else by
 * a rule. Nothing is measured here.
 *
 * @module
 */
import { deviceInfo } from "../tensor/device.ts";
import type { Kernel } from "../tensor/kernel.ts";

/**
 * A form of the kernels of matrix products: `register` has no barriers, which are slow in software;
 * `subgroup` lets 8 invocations share what they load, on software drivers with vectors of 8; `tile64`
 * and `tile128` share square tiles of that size in a workgroup's memory; `panel` is for the CPU, and
 * reads operands that are written down once more in the order in which it takes them.
 */
export type Variant = "register" | "subgroup" | "tile64" | "tile128" | "panel";

/** Constants of `_tile.wgsl`; within the 16 KiB of shared memory that every device has. */
const CONSTANTS = {
  tile64: { THREADS: 8, DEPTH: 16 },
  tile128: { THREADS: 16, DEPTH: 8 },
};

/** All variants, the plain one first. */
export const VARIANTS: readonly Variant[] = [
  "register",
  "subgroup",
  "tile64",
  "tile128",
  "panel",
];

/** Sizes of a product. */
export interface Product {
  /** The operation. */
  readonly kind: "matmul" | "convolve" | "weightGradient";
  /** Independent products; of a convolution groups, times phases of a stride. */
  readonly batch: number;
  /** Rows of the result; of a convolution those of its weight. */
  readonly rows: number;
  /** Columns of the result: pixels of all images, or columns of the weight. */
  readonly cols: number;
  /** Terms of a sum; of a convolution for one tap, its channels. */
  readonly k: number;
  /** Whether the operands can be read by vectors of four, as `subgroup` does it. */
  readonly byFour: boolean;
}

/** Terms of a piece of a long sum, and workgroups that keep a real GPU busy. */
const PIECE = 512, ENOUGH_WORKGROUPS = 128;

let measured: ReadonlyMap<string, Variant> = new Map();
let watched: { variant?: Variant; taken: Record<string, Variant> } | null =
  null;

/** Products of about the same sizes, to powers of 4: `matmul 1 1024 64 64`. */
function classOf({ kind, batch, rows, cols, k }: Product): string {
  const sizes = [batch, rows, cols, k].map((size) =>
    4 ** Math.round(Math.log(Math.max(1, size)) / Math.log(4))
  );
  return [kind, ...sizes].join(" ");
}

/** Rows and columns of a tile of the `subgroup` form. */
const SUBGROUP_TILE = 32;
/** Up to so much idle work the `subgroup` form is the faster one. */
const MOST_IDLE = 3;

/** In software no barriers; on a GPU the largest tile of which there are enough. */
function usual({ kind, batch, rows, cols, k }: Product): Variant {
  if (deviceInfo().executor === "cpu") return "panel";
  if (deviceInfo().software) {
    const covered = (size: number) =>
      SUBGROUP_TILE * Math.ceil(size / SUBGROUP_TILE);
    const idle = covered(rows) * covered(cols) / (rows * cols);
    return idle <= MOST_IDLE ? "subgroup" : "register";
  }
  const pieces = kind === "convolve" ? 1 : Math.ceil(k / PIECE);
  const fits = (tile: number) =>
    Math.min(rows, cols) > tile / 2 && k >= 8 &&
    batch * Math.ceil(rows / tile) * Math.ceil(cols / tile) * pieces >=
      ENOUGH_WORKGROUPS;
  return fits(128) ? "tile128" : fits(64) ? "tile64" : "register";
}

/** The form that a product takes on the device in use: `register` where it cannot take the wanted. */
export function variantOf(product: Product): Variant {
  const key = classOf(product);
  const wanted = watched?.variant ?? measured.get(key) ?? usual(product);
  const { executor, features } = deviceInfo();
  const can = wanted === "subgroup"
    ? product.byFour && features.includes("subgroups")
    : wanted !== "panel" || executor === "cpu";
  const variant = can ? wanted : "register";
  if (watched) watched.taken[key] = variant;
  return variant;
}

/** How a product runs in a variant. */
export interface Form {
  /** The kernel that has the entry point. */
  readonly kernel: Kernel;
  /** Entry point. */
  readonly entry: string;
  /** Rows of the sums of one workgroup. */
  readonly rows: number;
  /** Columns of the sums of one workgroup. */
  readonly cols: number;
  /** Terms of a sum that are added together: a piece of it is a multiple of this. */
  readonly terms: number;
  /** Values of `override` constants. */
  readonly constants: Readonly<Record<string, number>>;
  /** Invocations that a product of such sizes keeps busy, each with about 64 sums. */
  invocations(rows: number, cols: number): number;
}

/**
 * The form of an entry point in a variant.
 *
 * @param kernel Has `entry`, and `<entry>_tiled` for tiles in shared memory.
 * @param subgroupKernel Has `entry` in the form for subgroups.
 * @param variant Any but `panel`, whose kernels take other parameters.
 */
export function formOf(
  kernel: Kernel,
  subgroupKernel: Kernel,
  entry: string,
  variant: Exclude<Variant, "panel">,
): Form {
  const plain = {
    kernel,
    entry,
    rows: kernel.code("ROWS"),
    cols: kernel.code("COLUMNS"),
    terms: 1,
    constants: {},
    invocations: (rows: number, cols: number) =>
      Math.ceil(rows / 8) * Math.ceil(cols / 8),
  };
  if (variant === "register") return plain;
  if (variant === "subgroup") {
    const rows = subgroupKernel.code("ROWS");
    const cols = subgroupKernel.code("COLUMNS");
    return {
      ...plain,
      kernel: subgroupKernel,
      rows,
      cols,
      terms: 4,
      invocations: (m, n) =>
        Math.ceil(m / rows) * Math.ceil(n / cols) * (rows * cols / 64),
    };
  }
  const constants = CONSTANTS[variant];
  const size = 8 * constants.THREADS;
  return {
    ...plain,
    entry: `${entry}_tiled`,
    rows: size,
    cols: size,
    constants,
  };
}

/** Invocations that keep the device busy; with fewer, a long sum is cut into pieces. */
export function enoughInvocations(): number {
  return deviceInfo().software ? 2048 : 65536;
}

/**
 * Takes over what `deno task tune` measured for this adapter: a variant for each class of products,
 * in place of an earlier table. Other products keep to the rule; `{}` goes back to it altogether.
 *
 * @throws {RangeError} If a variant is unknown.
 */
export function setVariants(table: Readonly<Record<string, string>>): void {
  for (const [key, variant] of Object.entries(table)) {
    if (!(VARIANTS as readonly string[]).includes(variant)) {
      throw new RangeError(
        `Cannot set the variant of "${key}" as it must be one of ${
          VARIANTS.join(", ")
        }: it is "${variant}"`,
      );
    }
  }
  measured = new Map(Object.entries(table) as [string, Variant][]);
}

/**
 * Runs `body`, in which every product takes the given form, to measure or test it.
 *
 * @param variant Left undefined, products take the forms that they would.
 * @returns What `body` returned, and the forms its products took, by class as `setVariants` has them.
 */
export function withVariant<T>(
  variant: Variant | undefined,
  body: () => T,
): { result: T; taken: Record<string, Variant> } {
  const outer = watched, taken: Record<string, Variant> = {};
  watched = { variant: variant ?? outer?.variant, taken };
  try {
    return { result: body(), taken };
  } finally {
    watched = outer;
  }
}
