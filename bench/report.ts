/**
 * From measurements to a report: shares of the adapter's peaks, ratios, a table, a summary.
 *
 * @module
 */
import type { Measurement, Unsupported } from "./measure.ts";
import type { Peaks } from "./peak.ts";

/** An item in this library and in its peers, in the order of the columns. */
export interface Comparison {
  ours: Measurement;
  peers: (Measurement | Unsupported)[];
}

/** Relative difference above which two libraries did not compute the same. */
export const TOLERANCE = 1e-3;

/** The measurement with its shares of the adapter's peaks, from 0 to 1. */
export function withShares(
  measurement: Measurement,
  peaks: Peaks,
): Measurement {
  const { gflops, gbps } = measurement;
  const share = (part: number | undefined, whole: number) =>
    part && Number((part / whole).toFixed(4));
  return {
    ...measurement,
    gflops_share: share(gflops, peaks.gflops),
    gbps_share: share(gbps, peaks.gbps),
  };
}

/** What a peer computed differently, as `check 1.2 instead of 1.3`; empty if nothing. */
export function disagreements(ours: Measurement, peer: Measurement): string[] {
  return (["check", "loss1", "loss3"] as const).flatMap((key) => {
    const a = ours[key], b = peer[key];
    if (a === undefined && b === undefined) return [];
    const same = Math.abs(a! - b!) <= TOLERANCE * Math.abs(a!);
    return same ? [] : [`${key} ${b} instead of ${a}`];
  });
}

/** How many times as long a peer takes; null where it has no comparable result. */
export function ratio(
  ours: Measurement,
  peer: Measurement | Unsupported,
): number | null {
  if ("unsupported" in peer || disagreements(ours, peer).length > 0) {
    return null;
  }
  return peer.ms_median / ours.ms_median;
}

/** The table's head and rows; the first column is text. */
export function tableOf(comparisons: readonly Comparison[]): string[][] {
  const percent = (share?: number) =>
    share === undefined ? "" : `${(100 * share).toFixed(0)} %`;
  const time = (ms: number) => ms.toFixed(ms < 100 ? 2 : 0);
  const peers = comparisons[0]?.peers.map(({ lib }) => lib) ?? [];
  const head = [
    "item",
    "ms",
    "ms/image",
    "GFLOP/s",
    "of peak",
    "GB/s",
    "of copy",
    "first ms",
    "check",
    ...peers.flatMap((lib) => [`${lib} ms`, "ratio"]),
  ];
  const rows = comparisons.map(({ ours, peers }) => [
    ours.item,
    time(ours.ms_median),
    ours.ms_per_image?.toFixed(2) ?? "",
    ours.gflops?.toFixed(1) ?? "",
    percent(ours.gflops_share),
    ours.gbps?.toFixed(2) ?? "",
    percent(ours.gbps_share),
    ours.first_ms.toFixed(0),
    ours.check.toPrecision(6),
    ...peers.flatMap((peer) => [
      "unsupported" in peer
        ? peer.unsupported.match(/^no kernel/)?.[0] ?? "none"
        : time(peer.ms_median),
      ratio(ours, peer)?.toFixed(2) ?? "",
    ]),
  ]);
  return [head, ...rows];
}

/** Sentences below the table: peaks, devices, comparison with the better peer, and what has no ratio. */
export function summaryOf(
  comparisons: readonly Comparison[],
  peaks: Peaks,
): string[] {
  const sentences = [
    `Peaks of ${comparisons[0]!.ours.device}: ${
      peaks.gflops.toFixed(1)
    } GFLOP/s in registers, ${peaks.gbps.toFixed(2)} GB/s in copies.`,
  ];
  if (comparisons.every(({ peers }) => peers.length === 0)) return sentences;
  sentences.push(`${devicesOf(comparisons).join("; ")}.`);
  const best = comparisons.flatMap(({ ours, peers }) => {
    const ratios = peers.map((peer) => ratio(ours, peer)).filter((r) =>
      r !== null
    );
    return ratios.length > 0 ? [Math.min(...ratios)] : [];
  });
  if (best.length > 0) {
    const mean = Math.exp(
      best.reduce((sum, r) => sum + Math.log(r), 0) / best.length,
    );
    sentences.push(
      `Time of the fastest peer over ours, geometric mean of ${best.length} items: ${
        mean.toFixed(2)
      }; ours is faster in ${
        best.filter((r) => r > 1).length
      } of ${best.length}.`,
    );
  }
  return [...sentences, ...reasonsOf(comparisons)];
}

/** Why there is no ratio, as `a peer, items: reason`. */
function reasonsOf(comparisons: readonly Comparison[]): string[] {
  const missing = comparisons.flatMap(({ ours, peers }) =>
    peers.flatMap((peer) => {
      const why = "unsupported" in peer
        ? [peer.unsupported]
        : disagreements(ours, peer);
      const reason = { lib: peer.lib, item: ours.item, why: why.join(", ") };
      return why.length > 0 ? [reason] : [];
    })
  );
  const groups = Map.groupBy(missing, ({ lib, why }) => `${lib}: ${why}`);
  return [...groups.values()].map((group) => {
    const { lib, why } = group[0]!;
    return `${lib}, ${group.map(({ item }) => item).join(", ")}: ${why}.`;
  });
}

/** Where each library ran, as `denoise on an adapter`. */
function devicesOf(comparisons: readonly Comparison[]): string[] {
  const ran = comparisons.flatMap(({ ours, peers }) =>
    [ours, ...peers].flatMap((result) =>
      "unsupported" in result ? [] : [`${result.lib} on ${result.device}`]
    )
  );
  return [...new Set(ran)];
}

/** Rows as a Markdown table; all columns but the first are numbers. */
export function markdownTable(rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const [head, ...body] = rows;
  const rule = head!.map((_, i) => i === 0 ? "---" : "---:");
  return [head!, rule, ...body].map(line).join("\n");
}
