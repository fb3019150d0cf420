/**
 * What t-SNE lowers, and its gradient (van der Maaten & Hinton 2008, eqs. 2, 4 and 5):
 *
 *     w_ij = 1 / (1 + |y_i - y_j|²)      Q_ij = w_ij / Z      Z = Σ_{k ≠ l} w_kl
 *     KL(P ‖ Q) = Σ P_ij log(P_ij / Q_ij)
 *     ∂KL/∂y_i = 4 Σ_j P_ij w_ij (y_i - y_j) - 4/Z Σ_j w_ij² (y_i - y_j)
 *
 * The first sum pulls near points together, the second pushes all apart.
 *
 * @module
 */
import type { DenseAffinities, SparseAffinities } from "./_affinities.ts";
import { Quadtree } from "./_quadtree.ts";

/** KL(P ‖ Q) as a function of the places y, `[n, 2]`. */
export interface Objective {
  /** In nats. */
  divergence(y: Float64Array): number;
  /** Writes its gradient to `out`, as if P were `exaggeration` times as large. */
  gradient(y: Float64Array, out: Float64Array, exaggeration?: number): void;
}

/** By all pairs. */
export class ExactObjective implements Objective {
  readonly #p: Float64Array;

  /** P as `denseAffinities` gives it. */
  constructor({ p }: Pick<DenseAffinities, "p">) {
    this.#p = p;
  }

  divergence(y: Float64Array): number {
    const n = y.length / 2, P = this.#p;
    let Z = 0, sum = 0, total = 0;
    for (let i = 1, at = 0; i < n; i++) {
      for (let j = 0; j < i; j++, at++) {
        const w = weight(y[2 * i]! - y[2 * j]!, y[2 * i + 1]! - y[2 * j + 1]!);
        const p = P[at]!;
        Z += 2 * w;
        total += 2 * p;
        if (p > 0) sum += 2 * p * Math.log(p / w);
      }
    }
    return sum + total * Math.log(Z);
  }

  gradient(y: Float64Array, out: Float64Array, exaggeration = 1): void {
    const n = y.length / 2, P = this.#p;
    const pull = new Float64Array(2 * n);
    let Z = 0;
    out.fill(0);
    for (let i = 1, at = 0; i < n; i++) {
      const x = y[2 * i]!, z = y[2 * i + 1]!;
      let pullX = 0, pullY = 0, pushX = 0, pushY = 0;
      for (let j = 0; j < i; j++, at++) {
        const dx = x - y[2 * j]!, dy = z - y[2 * j + 1]!;
        const w = 1 / (1 + dx * dx + dy * dy);
        Z += w;
        const a = P[at]! * w, r = w * w;
        pullX += a * dx;
        pullY += a * dy;
        pushX += r * dx;
        pushY += r * dy;
        pull[2 * j]! -= a * dx;
        pull[2 * j + 1]! -= a * dy;
        out[2 * j]! -= r * dx;
        out[2 * j + 1]! -= r * dy;
      }
      pull[2 * i]! += pullX;
      pull[2 * i + 1]! += pullY;
      out[2 * i]! += pushX;
      out[2 * i + 1]! += pushY;
    }
    join(out, pull, 2 * Z, exaggeration);
  }
}

/** The pull of near pairs alone, and the push of far points by the cells they are in. */
export class BarnesHutObjective implements Objective {
  readonly #affinities: SparseAffinities;
  readonly #thetaSquared: number;

  /** A cell is taken whole if its side is below `theta` times the distance from it. */
  constructor(affinities: SparseAffinities, theta: number) {
    this.#affinities = affinities;
    this.#thetaSquared = theta * theta;
  }

  divergence(y: Float64Array): number {
    const { rows, columns, p: P } = this.#affinities;
    const Z = this.#push(y, new Float64Array(y.length));
    let sum = 0, total = 0;
    for (let i = 0; i < y.length / 2; i++) {
      for (let at = rows[i]!; at < rows[i + 1]!; at++) {
        const j = columns[at]!, p = P[at]!;
        const w = weight(y[2 * i]! - y[2 * j]!, y[2 * i + 1]! - y[2 * j + 1]!);
        total += p;
        if (p > 0) sum += p * Math.log(p / w);
      }
    }
    return sum + total * Math.log(Z);
  }

  gradient(y: Float64Array, out: Float64Array, exaggeration = 1): void {
    const { rows, columns, p: P } = this.#affinities;
    const pull = new Float64Array(y.length);
    for (let i = 0; i < y.length / 2; i++) {
      const x = y[2 * i]!, z = y[2 * i + 1]!;
      let pullX = 0, pullY = 0;
      for (let at = rows[i]!; at < rows[i + 1]!; at++) {
        const j = columns[at]!;
        const dx = x - y[2 * j]!, dy = z - y[2 * j + 1]!;
        const a = P[at]! / (1 + dx * dx + dy * dy);
        pullX += a * dx;
        pullY += a * dy;
      }
      pull[2 * i] = pullX;
      pull[2 * i + 1] = pullY;
    }
    join(out, pull, this.#push(y, out), exaggeration);
  }

  /** Writes Σ_j w_ij² (y_i - y_j) of every point to `out`; returns Z. */
  #push(y: Float64Array, out: Float64Array): number {
    const { count, centre, size, skip, length } = new Quadtree(y);
    const limit = this.#thetaSquared;
    let Z = 0;
    for (let i = 0; i < y.length / 2; i++) {
      const x = y[2 * i]!, z = y[2 * i + 1]!;
      let pushX = 0, pushY = 0, weights = 0;
      for (let cell = 0; cell < length;) {
        const dx = x - centre[2 * cell]!, dy = z - centre[2 * cell + 1]!;
        const distance = dx * dx + dy * dy;
        if (size[cell]! > limit * distance) { // false of cells without others
          cell++;
          continue;
        }
        const w = 1 / (1 + distance);
        // At its own place is the point itself, which does not count.
        const n = distance === 0 ? count[cell]! - 1 : count[cell]!;
        weights += n * w;
        pushX += n * w * w * dx;
        pushY += n * w * w * dy;
        cell = skip[cell]!;
      }
      out[2 * i] = pushX;
      out[2 * i + 1] = pushY;
      Z += weights;
    }
    return Z;
  }
}

function weight(dx: number, dy: number): number {
  return 1 / (1 + dx * dx + dy * dy);
}

/** `4 (exaggeration pull - out / Z)`, into `out`. */
function join(
  out: Float64Array,
  pull: Float64Array,
  Z: number,
  exaggeration: number,
): void {
  for (let k = 0; k < out.length; k++) {
    out[k] = 4 * (exaggeration * pull[k]! - out[k]! / Z);
  }
}
