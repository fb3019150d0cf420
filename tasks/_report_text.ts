/**
 * A report as Markdown, CSV and JSON.
 *
 * @module
 */
import type { Report, ReportTable } from "./_report.ts";
import type { Cell, Line } from "./_report_cells.ts";
import { type Column, COLUMNS } from "./_report_columns.ts";
import { fileOf } from "./_report_figures.ts";
import { stringify } from "./_yaml.ts";

/** Below the title of a column, which way is better: `↓`. */
export function arrowOf({ better }: Column): string {
  return { lower: "↓", higher: "↑", none: "" }[better ?? "none"];
}

/** Name of the file of a run's figure. */
export function pictureFile(run: string, index: number): string {
  return fileOf("run", run, String(index + 1));
}

/** Names of runs as Markdown shows them. */
function plain(text: string): string {
  return text.replace(/[\\`*|[\]]/g, "\\$&").replaceAll("<", "&lt;");
}

function markdownTable({ grid, rows }: ReportTable): string[] {
  const { columns, lines, cells, prefix } = grid;
  const { count } = rows[0]!.entries[0].scores.provenance;
  const head = [
    "Run",
    "Drawing",
    "n",
    ...columns.map((column) =>
      `${column.title(prefix)} ${arrowOf(column)}`.trim()
    ),
  ];
  const body = lines.map((line, l) => [
    `${line.kind === "seed" ? "↳ " : ""}${plain(line.name)} (${line.small})`,
    plain([line.method, line.methodSmall].filter(Boolean).join(", ")),
    String(count),
    ...cells.map((column) => markdownCell(column[l])),
  ]);
  const rule = head.map((_, i) => i < 2 ? "---" : "---:");
  return [head, rule, ...body]
    .map((row) => `| ${row.join(" | ")} |`);
}

function markdownCell(cell: Cell | undefined): string {
  if (!cell) return "–";
  const text = cell.mark === "best" ? `**${cell.text}**` : cell.text;
  return cell.small.length > 0 ? `${text} (${cell.small.join(", ")})` : text;
}

/** A report as Markdown, beside a folder `images`. */
export function markdownOf(report: Report): string {
  const image = (title: string, file: string) =>
    `![${plain(title)}](images/${encodeURI(file)}.png)`;
  const parts = [`# ${plain(report.title)}`, report.summary];
  if (report.warnings.length > 0) {
    parts.push(report.warnings.map((text) => `- ⚠ ${plain(text)}`).join("\n"));
  }
  for (const table of report.tables) {
    const { reasons, settings } = table;
    if (reasons.length > 0) {
      parts.push(`Not comparable with the first table: ${reasons.join("; ")}.`);
    }
    parts.push(markdownTable(table).join("\n"), settings);
  }
  parts.push(
    "Bold is the best of a column. Below the rows, the floor: training images against the same real images.",
  );
  if (report.samples.length > 0) parts.push("## Samples");
  for (const { title, caption, file } of report.samples) {
    parts.push(`### ${plain(title)}`, caption, image(title, file));
  }
  for (const { title, text, figures } of report.sections) {
    parts.push(`## ${title}`, text);
    for (const figure of figures) {
      parts.push(
        `### ${plain(figure.title)}`,
        image(figure.title, figure.file),
        ...(figure.caption ? [figure.caption] : []),
      );
    }
  }
  for (const { run, pictures } of report.pictures) {
    parts.push(`## Figures of ${plain(run.name)}`);
    pictures.forEach(({ title }, i) =>
      parts.push(`### ${title}`, image(title, pictureFile(run.name, i)))
    );
  }
  parts.push("## Runs");
  for (const run of report.runs) {
    const settings = stringify({ ...run.config, run: run.origin }).trimEnd();
    parts.push(`### ${plain(run.name)}`, `\`\`\`yaml\n${settings}\n\`\`\``);
  }
  parts.push(report.origin);
  return `${parts.join("\n\n")}\n`;
}

/** A row of a table as machines read it: numbers in base units, by names of columns. */
function recordOf(
  { grid }: ReportTable,
  line: Line,
  l: number,
): Record<string, string | number | undefined> {
  const [entry] = line.entries;
  const provenance = entry?.scores.provenance;
  const isSeveral = line.kind === "seeds";
  const record: Record<string, string | number | undefined> = {
    row: line.kind,
    run: isSeveral ? undefined : entry?.run.name,
    id: entry?.scores.id,
    model: entry?.run.evaluation.facts?.model,
    method: provenance?.method,
    nfe: provenance?.nfe,
    guidance: provenance?.guidance,
    step: provenance?.step,
    ema: provenance && String(provenance.ema),
    seed: isSeveral ? undefined : entry?.run.config.seed as number | undefined,
    noise_seed: isSeveral ? undefined : provenance?.seed,
    device: provenance?.device,
    batch_size: entry?.scores.cost.batchSize,
  };
  grid.columns.forEach(({ key }, c) => {
    const cell = grid.cells[c]![l];
    record[key] = cell?.value;
    record[`${key}_std`] = cell?.std;
    record[`${key}_low`] = cell?.interval?.[0];
    record[`${key}_high`] = cell?.interval?.[1];
  });
  return record;
}

/** All rows as machines read them. */
export function recordsOf(
  { tables }: Report,
): Record<string, string | number | undefined>[] {
  return tables.flatMap((table, t) => {
    const { count, against, checksum, extractor } = table.rows[0]!.entries[0]
      .scores.provenance;
    return table.grid.lines.map((line, l) => ({
      table: t + 1,
      n: count,
      against,
      checksum,
      extractor: extractor.name,
      extractor_sha256: extractor.sha256,
      resize: extractor.resize,
      ...recordOf(table, line, l),
    }));
  });
}

/** All rows as CSV (RFC 4180), columns without any value left out. */
export function csvOf(report: Report): string {
  const records = recordsOf(report);
  const scores = COLUMNS.flatMap(({ key }) =>
    ["", "_std", "_low", "_high"].map((end) => key + end)
  );
  const others = Object.keys(records[0]!)
    .filter((name) => !scores.includes(name));
  const names = [...others, ...scores].filter((name) =>
    records.some((record) => record[name] !== undefined)
  );
  const rows = [
    names,
    ...records.map((record) => names.map((name) => record[name] ?? "")),
  ];
  return rows.map((row) => `${row.map(csvField).join(",")}\r\n`).join("");
}

function csvField(value: string | number): string {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
