/**
 * Products of large matrices on the host in float64, by a kernel in WebAssembly: blocks of both matrices
 * are packed into panels of four rows or columns, of which the kernel makes tiles of 4 x 4 sums that stay
 * in registers (Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication").
 *
 * @module
 */
import {
  type FunctionBuilder,
  hasRelaxedSimd,
  ModuleBuilder,
} from "../wgsl/wasm.ts";

/** A matrix as a window of an array: element (i, j) is `data[i * rowStride + j * columnStride]`. */
export interface Matrix {
  readonly data: Float64Array;
  readonly rows: number;
  readonly columns: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

/** A row-major matrix. */
export function matrix(
  data: Float64Array,
  rows: number,
  columns: number,
): Matrix {
  return { data, rows, columns, rowStride: columns, columnStride: 1 };
}

/** Rows and columns exchanged; nothing is copied. */
export function transposed(a: Matrix): Matrix {
  return {
    data: a.data,
    rows: a.columns,
    columns: a.rows,
    rowStride: a.columnStride,
    columnStride: a.rowStride,
  };
}

const TILE = 4;
// A panel of four columns of b stays in the first cache (8 KiB), the blocks in the second.
const DEPTH = 256; // columns of a, rows of b
const ROWS = 96; // of a
const COLUMNS = 512; // of b
const A = 0, B = A + 8 * ROWS * DEPTH, C = B + 8 * DEPTH * COLUMNS;
const PAGES = Math.ceil((C + 8 * ROWS * COLUMNS) / 65536);

/** Multiplies the packed blocks: addresses behind that of a, behind that of b, and bytes of a panel. */
type Multiply = (aEnd: number, bEnd: number, panelBytes: number) => void;

let engine: { multiply: Multiply; numbers: Float64Array } | undefined;

/** Compiled when it is first needed, in a millisecond. */
function start(): { multiply: Multiply; numbers: Float64Array } {
  const module = new ModuleBuilder({
    shared: false,
    maximumPages: PAGES,
  });
  const fn = module.function("multiply", ["i32", "i32", "i32"], []);
  writeMultiply(fn);
  module.export("multiply", fn);
  const memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES });
  const { exports } = new WebAssembly.Instance(
    new WebAssembly.Module(module.finish()),
    { env: { memory } },
  );
  return {
    multiply: exports.multiply as Multiply,
    numbers: new Float64Array(memory.buffer),
  };
}

/** For each panel of b, for each panel of a: a tile of c, row-major in rows of `COLUMNS`. */
function writeMultiply(fn: FunctionBuilder): void {
  const [aEnd, bEnd, panelBytes] = [0, 1, 2];
  const a = fn.local("i32"), aTileEnd = fn.local("i32");
  const b = fn.local("i32"), bPanel = fn.local("i32");
  const c = fn.local("i32"), cColumn = fn.local("i32");
  const left = fn.local("v128");
  const right = [fn.local("v128"), fn.local("v128")];
  const sums = Array.from({ length: TILE * 2 }, () => fn.local("v128"));
  const advance = (local: number, bytes: number) =>
    fn.get(local).i32(bytes).op("i32.add").set(local);
  const fused = hasRelaxedSimd();

  fn.i32(B).set(bPanel).i32(C).set(cColumn);
  const panels = fn.loop();
  fn.i32(A).set(a).get(cColumn).set(c);
  const tiles = fn.loop();
  fn.get(bPanel).set(b).get(a).get(panelBytes).op("i32.add").set(aTileEnd);
  for (const sum of sums) fn.v128F32(0).set(sum);
  const depth = fn.loop();
  right.forEach((local, i) => fn.get(b).load("v128.load", 16 * i).set(local));
  for (let row = 0; row < TILE; row++) {
    fn.get(a).load("v128.load64_splat", 8 * row).set(left);
    right.forEach((local, i) => {
      const sum = sums[2 * row + i]!;
      if (fused) {
        fn.get(left).get(local).get(sum).op("f64x2.relaxed_madd").set(sum);
      } else {
        fn.get(sum).get(left).get(local).op("f64x2.mul").op("f64x2.add")
          .set(sum);
      }
    });
  }
  advance(a, 8 * TILE);
  advance(b, 8 * TILE);
  fn.get(a).get(aTileEnd).op("i32.lt_u").brIf(depth).end();
  sums.forEach((sum, i) =>
    fn.get(c).get(sum).store(
      "v128.store",
      8 * COLUMNS * Math.floor(i / 2) + 16 * (i % 2),
    )
  );
  advance(c, 8 * COLUMNS * TILE);
  fn.get(a).get(aEnd).op("i32.lt_u").brIf(tiles).end();
  fn.get(b).set(bPanel);
  advance(cColumn, 8 * TILE);
  fn.get(bPanel).get(bEnd).op("i32.lt_u").brIf(panels).end();
}

/** Panels of four lines each, element k of the four side by side; lines beyond `lines` are zero. */
function pack(
  to: Float64Array,
  at: number,
  data: Float64Array,
  first: number,
  [lines, lineStride]: [count: number, stride: number],
  [depth, depthStride]: [count: number, stride: number],
): void {
  for (let line = 0; line < lines; line += TILE) {
    for (let i = 0; i < TILE; i++) {
      const end = at + i + depth * TILE;
      if (line + i >= lines) {
        for (let into = at + i; into < end; into += TILE) to[into] = 0;
        continue;
      }
      let from = first + (line + i) * lineStride;
      for (let into = at + i; into < end; into += TILE) {
        to[into] = data[from]!;
        from += depthStride;
      }
    }
    at += depth * TILE;
  }
}

/** How a product is made. */
export interface ProductOptions {
  /** What the product is added to, row-major; zeros by default. */
  into?: Float64Array<ArrayBuffer>;
  /** Whether only the lower triangle is wanted: above it, elements may or may not be made. */
  lower?: boolean;
}

/**
 * The product of two matrices, row-major. Sums run in blocks of 256 terms, in the same order whatever
 * the machine, but with a fused multiply-add where the machine has one.
 *
 * @param a `[rows, depth]`.
 * @param b `[depth, columns]`.
 */
export function product(
  a: Matrix,
  b: Matrix,
  options: ProductOptions = {},
): Float64Array<ArrayBuffer> {
  const { into = new Float64Array(a.rows * b.columns), lower = false } =
    options;
  const { multiply, numbers } = engine ??= start();
  for (let k = 0; k < a.columns; k += DEPTH) {
    const depth = Math.min(DEPTH, a.columns - k);
    for (let j = 0; j < b.columns; j += COLUMNS) {
      const columns = Math.min(COLUMNS, b.columns - j);
      pack(
        numbers,
        B / 8,
        b.data,
        k * b.rowStride + j * b.columnStride,
        [columns, b.columnStride],
        [depth, b.rowStride],
      );
      for (let i = 0; i < a.rows; i += ROWS) {
        const rows = Math.min(ROWS, a.rows - i);
        const wanted = lower ? Math.min(columns, i + rows - j) : columns;
        if (wanted <= 0) continue;
        pack(
          numbers,
          A / 8,
          a.data,
          i * a.rowStride + k * a.columnStride,
          [rows, a.rowStride],
          [depth, a.columnStride],
        );
        const panelBytes = 8 * TILE * depth;
        multiply(
          A + Math.ceil(rows / TILE) * panelBytes,
          B + Math.ceil(wanted / TILE) * panelBytes,
          panelBytes,
        );
        for (let row = 0; row < rows; row++) {
          const from = C / 8 + row * COLUMNS;
          const to = (i + row) * b.columns + j;
          for (let column = 0; column < wanted; column++) {
            into[to + column]! += numbers[from + column]!;
          }
        }
      }
    }
  }
  return into;
}
