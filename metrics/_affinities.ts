/**
 * How near points are to each other, as probabilities (van der Maaten & Hinton 2008, eq. 1 and §3.1):
 *
 *     p(j | i) = exp(-β_i |x_i - x_j|²) / Σ_{k ≠ i} exp(-β_i |x_i - x_k|²)
 *     P_ij = (p(j | i) + p(i | j)) / 2n
 *
 * with β_i such that the entropy of p(· | i), in nats, is the logarithm of the perplexity.
 *
 * @module
 */
import { dot } from "../tensor/linear_algebra.ts";
import { matrix, product, transposed } from "../tensor/products.ts";

/** Rows of distances that are in memory at once. */
const ROWS = 96;
/** Of the entropy, in nats; as scikit-learn. */
const TOLERANCE = 1e-5;
/** Halvings of a range of β; it may have to be doubled or halved as often before. */
const MAX_HALVINGS = 200;

/** P of all pairs. */
export interface DenseAffinities {
  /** P_ij with j < i, by rows: P_10, P_20, P_21, P_30, … */
  p: Float64Array<ArrayBuffer>;
  /** β_i, `[n]`. */
  beta: Float64Array<ArrayBuffer>;
}

/** P of near pairs; the rest is 0. */
export interface SparseAffinities {
  /** Row i is from element `rows[i]` to `rows[i + 1]`, `[n + 1]`. */
  rows: Int32Array<ArrayBuffer>;
  /** j of each element. */
  columns: Int32Array<ArrayBuffer>;
  /** P_ij; both P_ij and P_ji are there. */
  p: Float64Array<ArrayBuffer>;
}

/**
 * Turns squared distances to others into p(· | i), in place, by halving the range of β.
 *
 * @returns β.
 */
export function calibrate(distances: Float64Array, perplexity: number): number {
  const n = distances.length, wanted = Math.log(perplexity);
  // Only differences count, and with the least of 0 no sum of exponentials vanishes.
  let least = Infinity, mean = 0;
  for (const d of distances) least = Math.min(least, d);
  for (let j = 0; j < n; j++) mean += (distances[j]! -= least) / n;
  let low = 0, high = Infinity, beta = mean > 0 ? 1 / mean : 1;
  let sum = 0;
  for (let halving = 0; halving < MAX_HALVINGS; halving++) {
    let weighted = 0;
    sum = 0;
    for (let j = 0; j < n; j++) {
      const p = Math.exp(-beta * distances[j]!);
      sum += p;
      weighted += p * distances[j]!;
    }
    const entropy = Math.log(sum) + beta * weighted / sum;
    if (Math.abs(entropy - wanted) < TOLERANCE) break;
    if (entropy > wanted) {
      low = beta;
      beta = high === Infinity ? 2 * beta : (low + high) / 2;
    } else {
      high = beta;
      beta = (low + high) / 2;
    }
  }
  for (let j = 0; j < n; j++) {
    distances[j] = Math.exp(-beta * distances[j]!) / sum;
  }
  return beta;
}

/** Squared distances from each point in turn to all, itself included: a row to be used before the next. */
function* distances(
  x: Float64Array,
  D: number,
): Generator<Float64Array<ArrayBuffer>> {
  const n = x.length / D, all = transposed(matrix(x, n, D));
  const squares = Float64Array.from(
    { length: n },
    (_, i) => dot(x, i * D, x, i * D, D),
  );
  for (let from = 0; from < n; from += ROWS) {
    const rows = Math.min(ROWS, n - from);
    const some = x.subarray(from * D, (from + rows) * D);
    const products = product(matrix(some, rows, D), all);
    for (let i = 0; i < rows; i++) {
      const row = products.subarray(i * n, (i + 1) * n);
      const square = squares[from + i]!;
      for (let j = 0; j < n; j++) {
        row[j] = Math.max(0, square + squares[j]! - 2 * row[j]!);
      }
      yield row;
    }
  }
}

/**
 * P of all pairs.
 *
 * @param x `[n, D]`, around 0: distances are as exact as squares of x.
 * @param onRow Called after every row; true ends it, and leaves the other rows out.
 */
export async function denseAffinities(
  x: Float64Array,
  D: number,
  perplexity: number,
  onRow?: () => Promise<boolean>,
): Promise<DenseAffinities> {
  const n = x.length / D;
  const p = new Float64Array(n * (n - 1) / 2), beta = new Float64Array(n);
  const others = new Float64Array(n - 1);
  let i = 0;
  for (const all of distances(x, D)) {
    others.set(all.subarray(0, i));
    others.set(all.subarray(i + 1), i);
    beta[i] = calibrate(others, perplexity);
    for (let j = 0; j < n; j++) {
      if (j === i) continue;
      const [low, high] = j < i ? [j, i] : [i, j];
      p[high * (high - 1) / 2 + low]! += others[j < i ? j : j - 1]! / (2 * n);
    }
    i++;
    if (await onRow?.()) break;
  }
  return { p, beta };
}

/**
 * P of every point and its nearest `neighbors`, as if p(j | i) were 0 for all others (van der Maaten
 * 2014, §4.1).
 *
 * @param x `[n, D]`, around 0: distances are as exact as squares of x.
 * @param onRow Called after every row; true ends it, and leaves the other rows out.
 */
export async function sparseAffinities(
  x: Float64Array,
  D: number,
  { perplexity, neighbors }: { perplexity: number; neighbors: number },
  onRow?: () => Promise<boolean>,
): Promise<SparseAffinities> {
  const n = x.length / D, k = neighbors;
  const ids = new Int32Array(n * k), p = new Float64Array(n * k);
  let i = 0;
  for (const all of distances(x, D)) {
    all[i] = Infinity;
    const near = p.subarray(i * k, (i + 1) * k);
    smallest(all, near, ids.subarray(i * k, (i + 1) * k));
    calibrate(near, perplexity);
    i++;
    if (await onRow?.()) break;
  }
  return symmetric(ids, p, n);
}

/** The smallest values, ascending, and where they are; of equal ones the first. */
function smallest(
  values: Float64Array,
  out: Float64Array,
  ids: Int32Array,
): void {
  const k = out.length;
  out.fill(Infinity);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (value >= out[k - 1]!) continue;
    let at = k - 1;
    for (; at > 0 && out[at - 1]! > value; at--) {
      out[at] = out[at - 1]!;
      ids[at] = ids[at - 1]!;
    }
    out[at] = value;
    ids[at] = i;
  }
}

/** `(p + pᵀ) / 2n` of n rows with k elements each. */
function symmetric(
  ids: Int32Array,
  p: Float64Array,
  n: number,
): SparseAffinities {
  const k = ids.length / n;
  // The transpose: who has i among the nearest, and its p.
  const starts = new Int32Array(n + 1);
  for (const j of ids) starts[j + 1]!++;
  for (let i = 0; i < n; i++) starts[i + 1]! += starts[i]!;
  const place = starts.slice(), from = new Int32Array(ids.length);
  for (let at = 0; at < ids.length; at++) from[place[ids[at]!]!++] = at;
  const rows = new Int32Array(n + 1);
  const columns = new Int32Array(2 * ids.length);
  const sums = new Float64Array(2 * ids.length);
  const seen = new Int32Array(n).fill(-1); // where j is in row i
  let size = 0;
  for (let i = 0; i < n; i++) {
    const first = size;
    const add = (j: number, value: number) => {
      if (seen[j]! < first) {
        seen[j] = size;
        columns[size++] = j;
      }
      sums[seen[j]!]! += value / (2 * n);
    };
    for (let at = i * k; at < (i + 1) * k; at++) add(ids[at]!, p[at]!);
    for (let at = starts[i]!; at < starts[i + 1]!; at++) {
      add(Math.floor(from[at]! / k), p[from[at]!]!);
    }
    rows[i + 1] = size;
  }
  return { rows, columns: columns.slice(0, size), p: sums.slice(0, size) };
}
