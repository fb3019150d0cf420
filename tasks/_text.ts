/**
 * Text for people: wrapping, tables, durations, sizes.
 *
 * @module
 */

/**
 * Breaks `text` at spaces so that no line exceeds `width` columns. Line breaks
 * of the text stay; a word longer than the width stays whole.
 *
 * @param text The text; a line's own indentation is kept on its continuation.
 * @param width Columns; `Infinity` leaves the text as it is.
 * @returns The wrapped text.
 */
export function wrap(text: string, width: number): string {
  return text.split("\n").map((line) => wrapLine(line, width)).join("\n");
}

function wrapLine(line: string, width: number): string {
  if (line.length <= width) return line;
  const indent = line.match(/^ */)![0];
  const lines: string[] = [];
  let current = "";
  for (const word of line.trim().split(/ +/)) {
    const longer = current === "" ? indent + word : `${current} ${word}`;
    if (longer.length > width && current !== "") {
      lines.push(current);
      current = indent + word;
    } else {
      current = longer;
    }
  }
  return [...lines, current].join("\n");
}

/** Terminal columns of standard error (or output), `Infinity` if it is not a terminal. */
export function terminalWidth(
  stream: "stdout" | "stderr" = "stderr",
): number {
  if (!Deno[stream].isTerminal()) return Infinity;
  try {
    return Math.max(40, Deno.consoleSize().columns || 80);
  } catch {
    return 80; // both streams are redirected, or the terminal does not say
  }
}

/**
 * Aligns rows in columns two spaces apart.
 *
 * @param rows Cells as text; rows may differ in length.
 * @param options `indent` in spaces, default 0; `right`, the columns aligned
 *   at their right edge (numbers).
 * @returns One line per row, without a final line break.
 */
export function formatTable(
  rows: readonly (readonly string[])[],
  options: { indent?: number; right?: readonly number[] } = {},
): string {
  const { indent = 0, right = [] } = options;
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, i) => widths[i] = Math.max(widths[i] ?? 0, cell.length));
  }
  return rows.map((row) =>
    " ".repeat(indent) +
    row.map((cell, i) =>
      right.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)
    ).join("  ").trimEnd()
  ).join("\n");
}

/**
 * A duration in the two largest units that matter: `4.2 s`, `3 min 20 s`,
 * `1 h 02 min`, `2 d 03 h`; below a tenth of a second `42 ms`.
 *
 * @param seconds Non-negative; anything else gives `?`.
 */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return "?";
  if (seconds < 0.0995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const two = (value: number) => String(value).padStart(2, "0");
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${two(whole % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${two(minutes % 60)} min`;
  return `${Math.floor(hours / 24)} d ${two(hours % 24)} h`;
}

/** A number of bytes in decimal units with three digits: `812 B`, `9.91 MB`. */
export function formatBytes(sizeBytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = sizeBytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : Number(value.toPrecision(3))} ${units[unit]}`;
}
