/**
 * Points of a plane in cells, so that far ones can be taken together (Barnes & Hut 1986).
 *
 * @module
 */

/**
 * Cells in the order of a walk: each before those inside it. A cell is the bounding box of its points;
 * it is divided in its middle both ways as long as its points differ, so that it holds at least two
 * others, and there are fewer than two cells a point.
 */
export class Quadtree {
  /** Number of points in each cell. */
  readonly count: Int32Array<ArrayBuffer>;
  /** Mean of its points, x then y. */
  readonly centre: Float64Array<ArrayBuffer>;
  /** Square of its longer side; 0 of a cell that is not divided. */
  readonly size: Float64Array<ArrayBuffer>;
  /** The cell behind it and all those inside it. */
  readonly skip: Int32Array<ArrayBuffer>;
  /** Cells. */
  length = 0;
  readonly #points: Float64Array;
  /** Points, those of a cell beside each other. */
  readonly #order: Int32Array<ArrayBuffer>;

  /** `points`: x and y of each, `[n, 2]`. */
  constructor(points: Float64Array) {
    const n = points.length / 2;
    this.count = new Int32Array(2 * n);
    this.centre = new Float64Array(4 * n);
    this.size = new Float64Array(2 * n);
    this.skip = new Int32Array(2 * n);
    this.#points = points;
    this.#order = Int32Array.from({ length: n }, (_, i) => i);
    this.#build(0, n);
  }

  /** Makes the cell of the points `from` to `to` in the order, and those inside it. */
  #build(from: number, to: number): void {
    const cell = this.length++;
    let left = Infinity, right = -Infinity, bottom = Infinity, top = -Infinity;
    let sumX = 0, sumY = 0;
    for (let at = from; at < to; at++) {
      const i = 2 * this.#order[at]!;
      const x = this.#points[i]!, y = this.#points[i + 1]!;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < bottom) bottom = y;
      if (y > top) top = y;
      sumX += x;
      sumY += y;
    }
    const n = to - from, side = Math.max(right - left, top - bottom);
    this.count[cell] = n;
    // A mean of equal numbers need not be that number.
    this.centre[2 * cell] = left === right ? left : sumX / n;
    this.centre[2 * cell + 1] = bottom === top ? bottom : sumY / n;
    const x = left + (right - left) / 2, y = bottom + (top - bottom) / 2;
    const middle = this.#divide(from, to, 1, y);
    const cuts = [
      from,
      this.#divide(from, middle, 0, x),
      middle,
      this.#divide(middle, to, 0, x),
      to,
    ];
    // Points that no number lies between stay together.
    const isDivided = cuts.every((cut, q) => q === 0 || cut - cuts[q - 1]! < n);
    if (isDivided) {
      this.size[cell] = side * side;
      for (let q = 0; q < 4; q++) {
        if (cuts[q]! < cuts[q + 1]!) this.#build(cuts[q]!, cuts[q + 1]!);
      }
    }
    this.skip[cell] = this.length;
  }

  /** Moves points whose coordinate is above `at` behind the others; returns where they begin. */
  #divide(from: number, to: number, coordinate: 0 | 1, at: number): number {
    const order = this.#order;
    let end = to;
    for (let k = from; k < end;) {
      const i = order[k]!;
      if (this.#points[2 * i + coordinate]! > at) {
        order[k] = order[--end]!;
        order[end] = i;
      } else k++;
    }
    return end;
  }
}
