/**
 * Kernel distance: how far apart two sets of features are, without a bias for small sets.
 *
 * @module
 */
import type { Points } from "../tensor/points.ts";
import { matrix, product, transposed } from "../tensor/products.ts";
import { Rng } from "../tensor/rng.ts";
import { type PointSet, pointSet } from "./_distances.ts";
import { pickRows } from "./_rows.ts";

/** Most points along a side of a tile of the kernel's matrix: 8 MiB. */
const TILE = 1024;

/** What is drawn. */
export interface KernelDistanceOptions {
  /** Pairs of subsets; defaults to 100. */
  subsets?: number;
  /** Rows of each subset, at most those of the smaller set; defaults to 1000. */
  subsetSize?: number;
  /** Of the draws; defaults to 0. */
  seed?: number;
}

/** What subsets gave. */
export interface KernelDistance {
  /** Squared MMD, mean over the subsets; lower is better, about 0 for equal distributions, and may be below. */
  mean: number;
  /** Standard deviation over the subsets, population form. */
  std: number;
  /** Pairs of subsets that were compared. One if each is all of its set. */
  subsets: number;
  /** Rows that each of them had. */
  subsetSize: number;
}

/**
 * Kernel Inception distance (Bińkowski et al. 2018, arXiv:1801.01401): the unbiased squared maximum mean
 * discrepancy of `k(x, y) = (x · y / D + 1)³`, over random subsets without repetition. In float64. The
 * order of rows does not matter: they are drawn by their rank among all.
 *
 * @param real `[N, D]`, features of real images.
 * @param fake `[M, D]`, features of samples.
 * @throws {TypeError} If shapes are not `[N, D]` and `[M, D]`.
 * @throws {RangeError} If a set has less than 2 rows, `subsets` is not whole and from 1 on, `subsetSize`
 * not whole and from 2 on, or a feature is not finite.
 */
export async function kernelDistance(
  real: Points,
  fake: Points,
  options: KernelDistanceOptions = {},
): Promise<KernelDistance> {
  const { subsets = 100, subsetSize = 1000, seed = 0 } = options;
  for (
    const [name, value, least] of [
      ["subsets", subsets, 1],
      ["subsetSize", subsetSize, 2],
    ] as const
  ) {
    if (!Number.isInteger(value) || value < least) {
      throw new RangeError(
        `Cannot compute the kernel distance as ${name} must be whole and from ${least} on: it is ${value}`,
      );
    }
  }
  const { x, y } = sets(real, fake);
  const size = Math.min(subsetSize, x.count, y.count);
  if (size === x.count && size === y.count) {
    const mean = await squaredMmd(real, fake);
    return { mean, std: 0, subsets: 1, subsetSize: size };
  }
  const rng = new Rng(seed), xRanks = ranked(x), yRanks = ranked(y);
  const draw = (ranks: Uint32Array) =>
    rng.permutation(ranks.length).subarray(0, size).map((rank) => ranks[rank]!)
      .sort();
  const draws = Array.from(
    { length: subsets },
    () => ({ x: draw(xRanks), y: draw(yRanks) }),
  );
  const values: number[] = [];
  // The kernel of all pairs, once, or of those of each subset: whichever is less.
  if ((x.count + y.count) ** 2 <= subsets * (2 * size) ** 2) {
    values.push(...await squaredMmds(x, y, draws));
  } else {
    for (const draw of draws) {
      values.push(
        await squaredMmd(pickRows(real, draw.x), pickRows(fake, draw.y)),
      );
    }
  }
  const mean = values.reduce((sum, value) => sum + value, 0) / subsets;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, std: Math.sqrt(squares / subsets), subsets, subsetSize: size };
}

/**
 * The unbiased squared MMD of `kernelDistance`, over all rows at once:
 * `Σ_{i≠j} k(x_i, x_j) / N(N - 1) + Σ_{i≠j} k(y_i, y_j) / M(M - 1) - 2 Σ_{i,j} k(x_i, y_j) / NM`.
 *
 * @param real `[N, D]`.
 * @param fake `[M, D]`.
 * @throws {TypeError} If shapes are not `[N, D]` and `[M, D]`.
 * @throws {RangeError} If a set has less than 2 rows, or a feature is not finite.
 */
export async function squaredMmd(real: Points, fake: Points): Promise<number> {
  const { x, y } = sets(real, fake);
  return (await squaredMmds(x, y, [{ x: all(x), y: all(y) }]))[0]!;
}

function sets(real: Points, fake: Points): { x: PointSet; y: PointSet } {
  const action = "compute the kernel distance";
  const x = pointSet(real, `${action} of real features`);
  const y = pointSet(fake, `${action} of fake features`, x.dimensions);
  for (const [name, { count }] of [["real", x], ["fake", y]] as const) {
    if (count < 2) {
      throw new RangeError(
        `Cannot ${action} of ${name} features as it needs at least 2 of them: there are ${count}`,
      );
    }
  }
  return { x, y };
}

/** Rows of both sets, ascending. */
interface Subset {
  x: Uint32Array;
  y: Uint32Array;
}

async function squaredMmds(
  x: PointSet,
  y: PointSet,
  subsets: readonly Subset[],
): Promise<number[]> {
  const xRows = subsets.map((subset) => subset.x);
  const yRows = subsets.map((subset) => subset.y);
  const pairMeans = async (set: PointSet, rows: Uint32Array[]) =>
    (await kernelSums(set, rows, null, rows)).map((sum, s) =>
      2 * sum / (rows[s]!.length * (rows[s]!.length - 1))
    );
  const ofX = await pairMeans(x, xRows), ofY = await pairMeans(y, yRows);
  const across = await kernelSums(x, xRows, y, yRows);
  return across.map((sum, s) =>
    ofX[s]! + ofY[s]! - 2 * sum / (xRows[s]!.length * yRows[s]!.length)
  );
}

/** For each subset, `Σ k(x_i, y_j)` over its rows; without y, `Σ k(x_i, x_j)` over those with i > j. */
async function kernelSums(
  x: PointSet,
  xRows: readonly Uint32Array[],
  y: PointSet | null,
  yRows: readonly Uint32Array[],
): Promise<number[]> {
  const sums = xRows.map(() => 0);
  for (let top = 0; top < x.count; top += TILE) {
    const rows = slice(x, top);
    const last = y ? y.count : top + rows.rows;
    for (let left = 0; left < last; left += TILE) {
      const columns = slice(y ?? x, left);
      const diagonal = !y && left === top;
      const values = product(rows, transposed(columns), { lower: diagonal });
      for (let i = 0; i < values.length; i++) {
        const base = values[i]! / x.dimensions + 1;
        values[i] = base * base * base;
      }
      for (let s = 0; s < sums.length; s++) {
        const own = within(xRows[s]!, top, rows.rows);
        const others = within(yRows[s]!, left, columns.rows);
        for (let a = 0; a < own.length; a++) {
          const from = (own[a]! - top) * columns.rows - left;
          const end = diagonal ? a : others.length;
          let sum = 0;
          for (let b = 0; b < end; b++) sum += values[from + others[b]!]!;
          sums[s]! += sum;
        }
      }
      // Lets timers and signals have their turn.
      await new Promise((resolve) => setTimeout(resolve));
    }
  }
  return sums;
}

/** The rows of a tile. */
function slice({ elements, count, dimensions }: PointSet, first: number) {
  return matrix(
    elements.subarray(first * dimensions),
    Math.min(TILE, count - first),
    dimensions,
  );
}

/** Of ascending numbers, those of `count` from `first` on. */
function within(rows: Uint32Array, first: number, count: number): Uint32Array {
  return rows.filter((row) => row >= first && row < first + count);
}

function all({ count }: PointSet): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => i);
}

/** Rows in the order of their first elements; of equal ones, of their second; and so on. */
function ranked({ elements, count, dimensions }: PointSet): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  return order.sort((a, b) => {
    for (let k = 0; k < dimensions; k++) {
      const difference = elements[a * dimensions + k]! -
        elements[b * dimensions + k]!;
      if (difference !== 0) return difference;
    }
    return 0;
  });
}
