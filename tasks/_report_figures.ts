/**
 * What charts of a report have in common.
 *
 * @module
 */
import { COLORS } from "./_plots.ts";
import type { ReportRun } from "./_report_data.ts";

/** A chart. */
export interface Figure {
  /** Name of its files, without extension. */
  readonly file: string;
  readonly title: string;
  /** What it shows, in a sentence; not always needed. */
  readonly caption?: string;
  readonly svg: string;
}

/** Of a drawing area, in pixels: charts are read on phones too. */
export const SIZE = { width: 300, height: 190 };

/** The colour of each run, in all charts. */
export function colorsOf(runs: readonly ReportRun[]): Colors {
  return new Map(runs.map((run, i) => [run, COLORS[i % COLORS.length]!]));
}

/** The colours of runs. */
export type Colors = ReadonlyMap<ReportRun, string>;

/** A file name of some words. */
export function fileOf(...words: readonly string[]): string {
  return words.join("-").replace(/[^\p{L}\p{N}_.-]+/gu, "-");
}
