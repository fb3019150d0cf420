/**
 * The UCI handwritten digits, embedded: the data set that is always there.
 *
 * @module
 */

import { gunzipSync } from "node:zlib";
import { permutation } from "../tensor/philox.ts";
import { type Dataset, makeDataset, type Split } from "./dataset.ts";
// gzip, then base64, of 1,797 rows of 65 bytes: 64 pixels 0 to 16, then the digit.
import text from "./digits.txt" with { type: "text" };

const ROWS = 1797;
const ROW_BYTES = 65;
const TEST_ROWS = 297;
/** Names this split for good: another key would be another benchmark. */
const SPLIT_KEY = [1998, 297] as const;

/**
 * Optical Recognition of Handwritten Digits (8×8 grey, ten classes). Needs no
 * permission and no network.
 *
 * Images `[N, 1, 8, 8]`; the file's 17 levels v become bytes
 * `round(v · 255 / 16)`. The 1,797 images are split once and for all into
 * 1,500 for training and 297 for testing, each class in proportion: rows are
 * shuffled by a fixed key, sorted by digit, and every row that takes
 * `i · 297 / 1797` past a whole number is a test row. Both parts keep the
 * order of the file.
 *
 * Credit: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten
 * Digits", UCI Machine Learning Repository, 1998, doi:10.24432/C50P49, the
 * test part, licensed under CC BY 4.0.
 *
 * @param split `train` (default) or `test`.
 * @returns The data set; labels are the digits.
 */
export function loadDigits(split: Split = "train"): Dataset {
  const rows = gunzipSync(Uint8Array.fromBase64(text));
  const digitOf = (row: number) => rows[row * ROW_BYTES + 64]!;
  const order = [...permutation(ROWS, SPLIT_KEY)];
  order.sort((a, b) => digitOf(a) - digitOf(b)); // stable: shuffled within a digit
  const share = (count: number) => Math.floor(count * TEST_ROWS / ROWS);
  const isTest = (_row: number, i: number) => share(i + 1) > share(i);
  const chosen = order
    .filter((row, i) => isTest(row, i) === (split === "test"))
    .sort((a, b) => a - b);
  const images = new Uint8Array(chosen.length * 64);
  chosen.forEach((row, i) => {
    for (let p = 0; p < 64; p++) {
      const level = rows[row * ROW_BYTES + p]!;
      images[i * 64 + p] = Math.round(level * 255 / 16);
    }
  });
  return makeDataset({
    name: "digits",
    title: "UCI digits",
    split,
    images,
    labels: Uint8Array.from(chosen, digitOf),
    channels: 1,
    height: 8,
    width: 8,
    classNames: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    horizontalFlip: false,
  });
}
