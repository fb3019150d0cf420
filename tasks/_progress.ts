/**
 * Progress on standard error: a bar on a terminal, plain lines otherwise,
 * nothing if quiet.
 *
 * @module
 */
import { formatBytes, formatDuration } from "./_text.ts";

/** Where progress is written; standard error unless a test says otherwise. */
export interface ProgressOutput {
  write(text: string): void;
  readonly isTerminal: boolean;
  readonly columns: number;
}

/** What is counted, and how it is shown. */
export interface ProgressOptions {
  /** What goes on, such as `Training`. */
  readonly label: string;
  /** Where `done` ends; undefined if unknown. */
  readonly total?: number;
  /** Plural noun of what is counted, or `bytes`. Default `steps`. */
  readonly unit?: string;
  /** Where `done` begins, such as the step of a resumed run. Default 0. */
  readonly initial?: number;
  /** Writes nothing, as under `--json`. Default false. */
  readonly quiet?: boolean;
  /** Seconds between plain lines, where there is no terminal. Default 10. */
  readonly intervalSeconds?: number;
  readonly output?: ProgressOutput;
  /** Milliseconds of a steady clock, for tests. */
  readonly now?: () => number;
}

const REDRAW_MS = 100;
/** Time over which the rate is averaged, so that the ETA follows slowdowns. */
const RATE_WINDOW_MS = 20_000;

/**
 * Progress of a loop: `update` after every step, `finish` at the end.
 *
 * ```ts
 * const progress = new Progress({ label: "Training", total: 2000 });
 * for (let step = 1; step <= 2000; step++) progress.update(step, "loss 0.0312");
 * progress.finish();
 * ```
 *
 * On a terminal `Training ███████░░░░░░░ 50 % 1000/2000 · 8.1 steps/s ·
 * 2 min 03 s left · loss 0.0312`; else such a line without the bar for the
 * first update, then every few seconds, and for the last one.
 */
export class Progress {
  readonly #options: ProgressOptions;
  readonly #output: ProgressOutput;
  readonly #now: () => number;
  readonly #startMs: number;
  /** Recent `[timeMs, done]`, oldest first, for the rate. */
  readonly #recent: [timeMs: number, done: number][];
  #done: number;
  #extra = "";
  #shownMs = -Infinity;
  #barIsShown = false;
  #finished = false;

  /** @param options What is counted; the clock starts now. */
  constructor(options: ProgressOptions) {
    this.#options = options;
    this.#output = options.output ?? STANDARD_ERROR;
    this.#now = options.now ?? (() => performance.now());
    this.#startMs = this.#now();
    this.#done = options.initial ?? 0;
    this.#recent = [[this.#startMs, this.#done]];
  }

  /**
   * Notes how far it is, and shows it if it is time to.
   *
   * @param done Absolute, not since the last call.
   * @param extra Text for the end of the line, such as `loss 0.0312`; the last
   *   one stays if left out.
   */
  update(done: number, extra: string = this.#extra): void {
    if (this.#finished) return;
    const nowMs = this.#now();
    this.#done = done;
    this.#extra = extra;
    // Samples at least a fiftieth of the window apart, so that few are kept.
    if (nowMs - this.#recent.at(-1)![0] >= RATE_WINDOW_MS / 50) {
      this.#recent.push([nowMs, done]);
      while (
        this.#recent.length > 2 && nowMs - this.#recent[1]![0] > RATE_WINDOW_MS
      ) this.#recent.shift();
    }
    const { intervalSeconds = 10 } = this.#options;
    const waitMs = this.#output.isTerminal ? REDRAW_MS : intervalSeconds * 1000;
    if (nowMs - this.#shownMs >= waitMs) this.#show(nowMs);
  }

  /**
   * Prints a line of its own, above the bar.
   *
   * @param text Without a final line break.
   */
  log(text: string): void {
    if (this.#options.quiet) return;
    this.#clear();
    this.#output.write(`${text}\n`);
    if (this.#output.isTerminal && !this.#finished) this.#show(this.#now());
  }

  /**
   * Shows the last state with the time taken, and ends the bar.
   *
   * @param message Replaces that last line.
   */
  finish(message?: string): void {
    if (this.#finished) return;
    this.#finished = true;
    if (this.#options.quiet) return;
    this.#clear();
    this.#output.write(`${message ?? this.summary()}\n`);
  }

  /** Such as `Training: 2000 steps in 4 min 07 s (8.1 steps/s) · loss 0.0312`. */
  summary(): string {
    const { label, initial = 0 } = this.#options;
    const seconds = (this.#now() - this.#startMs) / 1000;
    const rate = seconds > 0 ? (this.#done - initial) / seconds : NaN;
    const speed = Number.isFinite(rate) && rate > 0
      ? ` (${this.#rateText(rate)})`
      : "";
    return this.#join(
      `${label}: ${this.#countText()} in ${formatDuration(seconds)}${speed}`,
    );
  }

  /** Ends the bar, for `using`: also when the loop throws. */
  [Symbol.dispose](): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#clear();
  }

  #show(nowMs: number): void {
    if (this.#options.quiet) return;
    this.#shownMs = nowMs;
    const { label, total } = this.#options;
    const [pastMs, past] = this.#recent[0]!;
    const rate = nowMs > pastMs
      ? (this.#done - past) / (nowMs - pastMs) * 1000
      : 0;
    const parts: string[] = [];
    if (rate > 0) {
      parts.push(this.#rateText(rate));
      if (total !== undefined && total > this.#done) {
        parts.push(`${formatDuration((total - this.#done) / rate)} left`);
      }
    }
    const share = total === undefined || total === 0 ? 1 : this.#done / total;
    const percent = total === undefined ? "" : `${Math.floor(share * 100)} % `;
    if (!this.#output.isTerminal) {
      const start = `${label}: ${percent}${this.#countText()}`;
      this.#output.write(`${this.#join(start, ...parts)}\n`);
      return;
    }
    const text = this.#join(percent + this.#countText(), ...parts);
    const room = this.#output.columns - label.length - text.length - 3;
    const bar = total === undefined || room < 8
      ? ""
      : `${drawBar(share, Math.min(room, 30))} `;
    const line = `${label} ${bar}${text}`.slice(0, this.#output.columns - 1);
    this.#output.write(`\r${line}\x1b[K`);
    this.#barIsShown = true;
  }

  #clear(): void {
    if (this.#barIsShown) this.#output.write("\r\x1b[K");
    this.#barIsShown = false;
  }

  #join(...parts: string[]): string {
    if (this.#extra !== "") parts.push(this.#extra);
    return parts.join(" · ");
  }

  #countText(): string {
    const { total, unit = "steps" } = this.#options;
    if (unit === "bytes") {
      const end = total === undefined ? "" : `/${formatBytes(total)}`;
      return formatBytes(this.#done) + end;
    }
    return `${this.#done}${total === undefined ? "" : `/${total}`} ${unit}`;
  }

  #rateText(rate: number): string {
    const { unit = "steps" } = this.#options;
    if (unit === "bytes") return `${formatBytes(Math.round(rate))}/s`;
    if (rate >= 1) return `${trim(rate)} ${unit}/s`;
    return `${formatDuration(1 / rate)} each`;
  }
}

const STANDARD_ERROR: ProgressOutput = {
  write(text) {
    const bytes = new TextEncoder().encode(text);
    for (let written = 0; written < bytes.length;) {
      written += Deno.stderr.writeSync(bytes.subarray(written));
    }
  },
  get isTerminal() {
    return Deno.stderr.isTerminal();
  },
  get columns() {
    try {
      return Deno.consoleSize().columns || 80; // 0 from some terminals
    } catch {
      return 80;
    }
  },
};

function drawBar(share: number, width: number): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * width);
  return "█".repeat(full) + "░".repeat(width - full);
}

/** Three digits, without an exponent. */
function trim(value: number): string {
  return value >= 100 ? String(Math.round(value)) : value.toPrecision(3);
}
