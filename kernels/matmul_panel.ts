/**
 * The product of matrices in the form for the CPU.
 *
 * @module
 */
import { ceilDiv, empties, Kernel } from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";
import source from "./matmul_panel.wgsl" with { type: "text" };
import { sum } from "./reduce.ts";

const kernel = new Kernel("matmul_panel", source);

/** An operand as a kernel reads it: `line` and `k` are strides of the outer axis and of the summed. */
export interface Operand {
  readonly tensor: Tensor;
  /** 0 if it is one matrix for all. */
  readonly batch: number;
  readonly line: number;
  readonly k: number;
}

/** Terms that are summed at once where there are few tiles, and how many tiles are few. */
const PIECE = 512, FEW_TILES = 256;
/** Tiles of rows that share columns in an invocation, unless too few invocations are left. */
const MOST_TILES = 32, ENOUGH_BLOCKS = 128;
/** Terms this many words apart push each other out of the nearest cache, if there are so many. */
const CONFLICT = 512, MANY_TERMS = 64;

const NONE = {
  m: 0,
  n: 0,
  splits: 1,
  piece: 0,
  a_batch: 0,
  a_row: 0,
  a_panel: 0,
  a_k: 0,
  b_batch: 0,
  b_col: 0,
  b_panel: 0,
  b_k: 0,
  out_row: 0,
  out_col: 0,
  bias_row: 0,
  bias_col: 0,
  has_bias: 0,
  block: 1,
  lines: 0,
  source_batch: 0,
  source_line: 0,
  source_k: 0,
};

/** Where the kernel finds an operand: its lines by themselves, or in panels. */
interface Layout {
  tensor: Tensor;
  batch: number;
  line: number;
  panel: number;
  k: number;
}

/** Whether terms of an operand are too far from each other. */
function conflicts({ k }: Operand, terms: number, uses: number): boolean {
  return k % CONFLICT === 0 && terms > MANY_TERMS && uses > MANY_TERMS;
}

/** Writes an operand down in panels of `width` lines. */
function pack(
  { tensor, batch, line, k: step }: Operand,
  matrices: number,
  lines: number,
  k: number,
  width: number,
): Layout {
  const count = batch > 0 ? matrices : 1;
  const panels = ceilDiv(lines, width);
  const packed = kernel.run(
    "pack",
    {
      ...NONE,
      batch: count,
      k,
      lines,
      source_batch: batch,
      source_line: line,
      source_k: step,
    },
    { a: tensor, out: empties([count, panels, k, width]) },
    {
      workgroups: () => count * panels,
      constants: { WIDTH: width },
    },
  );
  return {
    tensor: packed,
    batch: batch > 0 ? panels * k * width : 0,
    line: 0,
    panel: k * width,
    k: width,
  };
}

/**
 * `[batch, rows, columns]`, or by the strides of out `[batch, columns, rows]`, from operands whose
 * lines are the rows of the one and the columns of the other.
 *
 * @param bias One number for each column of the result.
 */
export function multiplyByPanels(
  left: Operand,
  right: Operand,
  { batch, rows, cols, k }: {
    batch: number;
    rows: number;
    cols: number;
    k: number;
  },
  bias?: Tensor,
): Tensor {
  const ROWS = kernel.code("ROWS"), COLUMNS = kernel.code("COLUMNS");
  // Columns have to lie side by side: the product is transposed where that leaves less to rewrite.
  const work = (operand: Operand, lines: number) =>
    operand.line === 1 && lines >= COLUMNS
      ? 0
      : (operand.batch > 0 ? batch : 1) * lines;
  const swapped = work(left, rows) < work(right, cols);
  const [a, b] = swapped ? [right, left] : [left, right];
  const [m, n] = swapped ? [cols, rows] : [rows, cols];
  const plain = ({ tensor, batch, line, k }: Operand): Layout => ({
    tensor,
    batch,
    line,
    panel: 0,
    k,
  });
  const rowsAt = conflicts(a, k, n) ? pack(a, batch, m, k, ROWS) : plain(a);
  const columnsAt = b.line !== 1 || n < COLUMNS || conflicts(b, k, m)
    ? pack(b, batch, n, k, COLUMNS)
    : plain(b);

  const rowTiles = ceilDiv(m, ROWS), columnTiles = ceilDiv(n, COLUMNS);
  const tiles = rowTiles * columnTiles * batch;
  const splits = tiles < FEW_TILES ? Math.max(1, Math.floor(k / PIECE)) : 1;
  const block = Math.min(
    MOST_TILES,
    Math.max(1, Math.floor(tiles * splits / ENOUGH_BLOCKS)),
  );
  const out = empties([splits, batch, rows, cols]);
  kernel.run("multiply", {
    ...NONE,
    batch,
    m,
    n,
    k,
    splits,
    piece: ceilDiv(k, splits),
    a_batch: rowsAt.batch,
    a_row: rowsAt.line,
    a_panel: rowsAt.panel,
    a_k: rowsAt.k,
    b_batch: columnsAt.batch,
    b_col: columnsAt.line,
    b_panel: columnsAt.panel,
    b_k: columnsAt.k,
    out_row: swapped ? 1 : cols,
    out_col: swapped ? cols : 1,
    bias_row: Number(swapped),
    bias_col: Number(!swapped),
    has_bias: Number(bias !== undefined),
    block,
  }, {
    a: rowsAt.tensor,
    b: columnsAt.tensor,
    bias: bias ?? empties([0]), // a binding must hold something, read or not
    out,
  }, {
    workgroups: () => ceilDiv(rowTiles, block) * columnTiles * batch * splits,
  });
  return splits === 1 ? out : sum(out, { axis: 0 });
}
