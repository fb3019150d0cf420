import { deepEqual, equal, match, ok } from "node:assert/strict";
import { Progress, type ProgressOptions } from "../../tasks/_progress.ts";
import {
  formatBytes,
  formatDuration,
  formatTable,
  wrap,
} from "../../tasks/_text.ts";

/** A progress whose clock and output the test holds. */
function setup(options: Partial<ProgressOptions>, isTerminal: boolean) {
  const state = { nowMs: 0, text: "" };
  const progress = new Progress({
    label: "Training",
    total: 100,
    now: () => state.nowMs,
    output: {
      isTerminal,
      columns: 80,
      write: (text) => void (state.text += text),
    },
    ...options,
  });
  return { progress, state };
}

Deno.test("Progress prints plain lines: the first, one per interval, the last", () => {
  const { progress, state } = setup({}, false);
  for (let step = 1; step <= 100; step++) {
    state.nowMs = step * 250;
    progress.update(step, `loss ${(1 / step).toFixed(2)}`);
  }
  progress.finish();
  progress.finish();
  progress.update(3);
  deepEqual(state.text.split("\n"), [
    "Training: 1 % 1/100 steps · 4.00 steps/s · 24.8 s left · loss 1.00",
    "Training: 41 % 41/100 steps · 4.00 steps/s · 14.8 s left · loss 0.02",
    "Training: 81 % 81/100 steps · 4.00 steps/s · 4.8 s left · loss 0.01",
    "Training: 100/100 steps in 25.0 s (4.00 steps/s) · loss 0.01",
    "",
  ]);
});

Deno.test("Progress draws a bar that fits the terminal, at most ten times a second", () => {
  const { progress, state } = setup({ initial: 40 }, true);
  for (let step = 41; step <= 60; step++) {
    state.nowMs += 20;
    progress.update(step, "loss 0.0312");
  }
  progress.log("A checkpoint");
  const draws = state.text.split("\r").slice(1);
  ok(draws.length <= 7, String(draws.length));
  match(draws[0]!, /^Training █+░+ 41 % 41\/100 steps · .* left · loss 0.0312/);
  for (const line of draws) {
    ok(line.split("\x1b")[0]!.length < 80, line);
  }
  ok(state.text.includes("\r\x1b[KA checkpoint\n\rTraining █"));
  progress.finish("Done");
  ok(state.text.endsWith("\r\x1b[KDone\n"));
});

Deno.test("Progress tells the rate of the last seconds, and slow steps by their time", () => {
  const { progress, state } = setup({ initial: 10, total: 200 }, false);
  state.nowMs = 500; // a slow start-up is forgotten later on
  for (let step = 11; step <= 60; step++) {
    state.nowMs += step < 20 ? 4000 : 2000;
    progress.update(step);
  }
  match(state.text.trim().split("\n").at(-1)!, / 2\.0 s each · /);
});

Deno.test("Progress writes nothing if quiet", () => {
  for (const isTerminal of [true, false]) {
    const { progress, state } = setup({ quiet: true }, isTerminal);
    progress.update(50);
    progress.log("Something");
    progress.finish();
    equal(state.text, "");
  }
});

Deno.test("Progress counts bytes, also without a known total", () => {
  const { progress, state } = setup({
    label: "train.gz",
    total: undefined,
    unit: "bytes",
  }, false);
  state.nowMs = 1000;
  progress.update(2_500_000);
  equal(state.text, "train.gz: 2.5 MB · 2.5 MB/s\n");
});

Deno.test("formatDuration() gives the two largest units", () => {
  deepEqual(
    [0.042, 4.23, 59.96, 200, 3599.6, 3720, 97200, NaN].map(formatDuration),
    [
      "42 ms",
      "4.2 s",
      "1 min 00 s",
      "3 min 20 s",
      "1 h 00 min",
      "1 h 02 min",
      "1 d 03 h",
      "?",
    ],
  );
});

Deno.test("formatBytes() gives three digits", () => {
  deepEqual(
    [0, 812, 999, 1000, 9_912_422, 999_600, 170_052_171].map(formatBytes),
    ["0 B", "812 B", "999 B", "1 kB", "9.91 MB", "1 MB", "170 MB"],
  );
});

Deno.test("wrap() breaks at spaces and keeps line breaks and indentation", () => {
  equal(wrap("one two three", 7), "one two\nthree");
  equal(wrap("  one two\nx", 6), "  one\n  two\nx");
  equal(wrap("incomprehensible x", 5), "incomprehensible\nx");
  equal(wrap("one two", Infinity), "one two");
});

Deno.test("formatTable() aligns columns", () => {
  equal(
    formatTable([["a", "1"], ["bcd", "23", "x"]], { indent: 1, right: [1] }),
    " a     1\n bcd  23  x",
  );
});
