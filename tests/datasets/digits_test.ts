import assert from "node:assert/strict";
import { loadDigits } from "../../datasets/digits.ts";

Deno.test("loadDigits() has the known counts, in proportion in both splits", () => {
  const train = loadDigits(), test = loadDigits("test");
  assert.deepEqual([train.length, test.length], [1500, 297]);
  const count = (labels: Uint8Array, digit: number) =>
    labels.filter((label) => label === digit).length;
  const known = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180];
  known.forEach((total, digit) => {
    const ofTest = count(test.labels, digit);
    assert.equal(count(train.labels, digit) + ofTest, total);
    assert(Math.abs(ofTest - total * 297 / 1797) < 1);
  });
});

Deno.test("loadDigits() is the same data for ever", () => {
  assert.equal(
    loadDigits("train").checksum,
    "7420314a56eac03f10c9bbb670f02721b37aa7cb170b1af0174159b0902d5a87",
  );
  assert.equal(
    loadDigits("test").checksum,
    "805f487f36032d54fd0ef669e16c4fe1edd58e3bee365dcfa963699e9c311e26",
  );
});

Deno.test("loadDigits() spreads 17 levels over the bytes", () => {
  const { images, horizontalFlip } = loadDigits();
  const levels = [...new Set(images)].sort((a, b) => a - b);
  const expected = Array.from(
    { length: 17 },
    (_, v) => Math.round(v * 255 / 16),
  );
  assert.deepEqual(levels, expected);
  assert.equal(horizontalFlip, false);
});
