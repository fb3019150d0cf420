/**
 * What `fid` found, for people.
 *
 * @module
 */
import type { FeatureExtractor } from "../mod.ts";
import type { Score } from "./_fid_scores.ts";
import type { Side } from "./_sides.ts";
import { formatTable } from "./_text.ts";

/** What is said of a side. */
export interface SideFacts {
  readonly name: string;
  readonly kind: Side["kind"];
  /** Images; unknown of some statistics. */
  readonly count?: number;
  readonly checksum?: string;
  /** Of runs: how images were drawn. */
  readonly id?: string;
}

/** What `--json` says. */
export interface FidResult {
  /** None with `--save-stats` alone. */
  readonly scores: readonly Score[];
  readonly a: SideFacts;
  readonly b?: SideFacts;
  /** What the floors are of. */
  readonly floor?: { readonly of: string; readonly count: number };
  /** Images of each side that has some. */
  readonly count?: number;
  readonly seed: number;
  readonly extractor?: Pick<
    FeatureExtractor,
    "name" | "sha256" | "resize" | "dimensions" | "accuracy"
  >;
  /** Files. */
  readonly written: readonly string[];
  readonly warnings: readonly string[];
}

/** Scores below are rounding of 0. */
const ROUNDING = 1e-9;

function digits(value: number | undefined): string {
  if (value === undefined) return "–";
  return Math.abs(value) < ROUNDING
    ? "0"
    : String(Number(value.toPrecision(4)));
}

function within(value: number | undefined, std: number | undefined): string {
  return std ? `${digits(value)} ± ${digits(std)}` : digits(value);
}

function sideText({ name, count, id }: SideFacts, seed: number): string {
  const way = id === undefined ? "" : ` by ${id}, seed ${seed}`;
  return `${name}, ${count ?? "an unknown number of"} images${way}`;
}

function floorText({ floor, count }: FidResult): string {
  if (!floor) return "none";
  const fewer = floor.count < count!
    ? ": fewer than are scored, for which it would be lower"
    : "";
  return `${floor.of}, ${floor.count} images each${fewer}`;
}

function extractorText(
  { name, sha256, accuracy, resize }: NonNullable<FidResult["extractor"]>,
): string {
  const known = accuracy === undefined
    ? ""
    : `, accuracy ${(100 * accuracy).toFixed(2)} %`;
  const way = resize === "none" ? "" : `, images resized as ${resize}`;
  return `${name} ${sha256.slice(0, 8)}${known}${way}`;
}

/** The scores, and below what they are of. */
export function reportOf(result: FidResult): string {
  const { scores, a, b, seed, extractor } = result;
  const table = formatTable([
    ["", "Score", "Floor", "Above it"],
    ...scores.map((score) => [
      score.name,
      within(score.value, score.std),
      within(score.floor, score.floorStd),
      digits(score.aboveFloor),
    ]),
  ], { right: [1, 2, 3] });
  const facts = [
    ["A", sideText(a, seed)],
    ["B", sideText(b!, seed)],
    ["Floor", floorText(result)],
    ...(extractor ? [["Features", extractorText(extractor)]] : []),
  ];
  return `${table}\n\n${formatTable(facts)}`;
}
