/**
 * The nearest known word, for "did you mean" in error messages.
 *
 * @module
 */

/**
 * Finds the candidate closest to a mistyped word: the least number of
 * insertions, deletions, replacements and swaps of neighbours (optimal string
 * alignment), ignoring case. A candidate that starts with the word, or the
 * reverse, counts as close as one typing error.
 *
 * @param word What was typed.
 * @param candidates What would have been valid; the first of equals wins.
 * @returns The nearest candidate, or `undefined` if none is within a third of
 *   the word's length (rounded; at most 4 errors).
 *
 * @example
 * ```ts
 * nearest("lr_schedul", ["lr_schedule", "loss"]); // "lr_schedule"
 * ```
 */
export function nearest(
  word: string,
  candidates: readonly string[],
): string | undefined {
  const typed = word.toLowerCase();
  let best: string | undefined;
  let bestErrors = Math.min(4, Math.round(typed.length / 3)) + 1;
  for (const candidate of candidates) {
    const known = candidate.toLowerCase();
    const isPrefix = typed.length >= 2 && known.length >= 2 &&
      (known.startsWith(typed) || typed.startsWith(known));
    const errors = Math.min(
      editDistance(typed, known),
      isPrefix ? 1 : Infinity,
    );
    if (errors < bestErrors) [best, bestErrors] = [candidate, errors];
  }
  return best;
}

/** Optimal string alignment distance, three rows of the table at a time. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let errors = Math.min(last[j]! + 1, row[j - 1]! + 1, replace);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        errors = Math.min(errors, beforeLast[j - 2]! + 1);
      }
      row.push(errors);
    }
    [beforeLast, last] = [last, row];
  }
  return last[b.length]!;
}
