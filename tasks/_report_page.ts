/**
 * A report as one HTML page that holds all it needs.
 *
 * @module
 */
import style from "./_report.css" with { type: "text" };
import type { Report, ReportTable } from "./_report.ts";
import type { Cell, Line } from "./_report_cells.ts";
import type { Column } from "./_report_columns.ts";
import type { Entry, Picture, ReportRun } from "./_report_data.ts";
import type { Colors, Figure } from "./_report_figures.ts";
import { arrowOf } from "./_report_text.ts";
import { stringify } from "./_yaml.ts";

/** What tells a page of ours from other files. */
export const GENERATOR = "denoise compare";

/** Text that is HTML already. */
class Markup {
  constructor(readonly text: string) {}
}

type Part = Markup | string | number | undefined | readonly Part[];

/** HTML with its parts escaped, unless they are HTML themselves. */
function markup(strings: TemplateStringsArray, ...parts: Part[]): Markup {
  return new Markup(strings.map((text, i) => text + write(parts[i])).join(""));
}

function write(part: Part): string {
  if (part === undefined) return "";
  if (part instanceof Markup) return part.text;
  if (Array.isArray(part)) return part.map(write).join("");
  return String(part).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

/** A report as a page. */
export function pageOf(report: Report): string {
  const { title, summary, samples, sections, pictures } = report;
  const links = [
    ["table", "Table"],
    ...(samples.length > 0 ? [["samples", "Samples"]] : []),
    ...sections.map(({ id, title }) => [id, title]),
    ...(pictures.length > 0 ? [["figures", "Figures of runs"]] : []),
    ["runs", "Runs"],
  ];
  // The policy lets nothing be loaded: the page shows what it holds.
  return markup`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="${GENERATOR}">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>${title}</title>
<style>
${new Markup(style)}</style>
</head>
<body>
<header>
<h1>${title}</h1>
<p class="lead">${summary}</p>
<nav>
${links.map(([id, name]) => markup`<a href="#${id}">${name}</a>\n`)}</nav>
</header>
<main>
${warningsOf(report)}${tablesOf(report)}${samplesOf(report)}${
    sections.map((section, s) =>
      markup`<section id="${section.id}">
<h2>${section.title}</h2>
<p class="soft">${section.text}</p>
<div class="figures">
${section.figures.map((figure, f) => chart(figure, `s${s}f${f}`))}</div>
</section>
`
    )
  }${picturesOf(report)}${runsOf(report)}</main>
<footer>${report.origin}</footer>
</body>
</html>
`.text;
}

function warningsOf({ warnings }: Report): Markup | undefined {
  if (warnings.length === 0) return undefined;
  return markup`<ul class="warnings">
${warnings.map((text) => markup`<li>${text}</li>\n`)}</ul>
`;
}

function swatch(run: ReportRun, colors: Colors): Markup {
  const color = colors.get(run)!;
  return markup`<span class="swatch" style="background:${color}"></span>`;
}

function tablesOf(report: Report): Markup {
  return markup`<section id="table">
${report.tables.map((table, i) => tableOf(table, i, report))}${
    legendOf(report.tables)
  }</section>
`;
}

function tableOf(
  { grid, reasons, settings, rows }: ReportTable,
  index: number,
  { colors, tables }: Report,
): Markup {
  const { columns, lines, cells, prefix } = grid;
  const { count } = rows[0]!.entries[0].scores.provenance;
  const heading = tables.length === 1 ? "Table" : `Table ${index + 1}`;
  /** Whether a column is the first of its group, which a rule parts from the others. */
  const isFirst = (c: number) => columns[c]!.group !== columns[c - 1]?.group;
  const groups = columns.filter((_, c) => isFirst(c)).map(({ group }) => ({
    group,
    span: columns.filter((column) => column.group === group).length,
  }));
  const titles = columns.map((column, c) =>
    markup`<th class="${isFirst(c) ? "first" : ""}" title="${column.about}">${
      column.title(prefix)
    } ${arrowOf(column)}</th>`
  );
  const row = (line: Line, l: number) =>
    markup`<tr class="${line.kind}"><th scope="row">${
      line.entries.length === 1
        ? swatch(line.entries[0]!.run, colors)
        : undefined
    }${line.name}<small>${line.small}</small></th><td class="text">${line.method}<small>${line.methodSmall}</small></td><td>${count}</td>${
      columns.map((_, c) => cellOf(cells[c]![l], isFirst(c)))
    }</tr>
`;
  return markup`<h2>${heading}</h2>
${
    reasons.length === 0
      ? undefined
      : markup`<p class="settings">Not comparable with table 1: ${
        reasons.join("; ")
      }.</p>\n`
  }<div class="scroll" tabindex="0" role="region" aria-label="${heading}">
<table>
<thead>
<tr><th></th><th colspan="2"></th>${
    groups.map(({ group, span }) =>
      markup`<th class="group first" colspan="${span}">${group}</th>`
    )
  }</tr>
<tr><th>Run</th><th class="text">Drawing</th><th>n</th>${titles}</tr>
</thead>
<tbody>
${lines.map(row)}</tbody>
</table>
</div>
<p class="settings">${settings}</p>
`;
}

function cellOf(cell: Cell | undefined, isFirst: boolean): Markup {
  const names = [cell?.mark ?? "", isFirst ? "first" : ""].join(" ").trim();
  return markup`<td class="${names}">${
    cell ? cell.text : markup`<span class="soft">–</span>`
  }${cell?.small.map((part) => markup`<small>${part}</small>`)}</td>`;
}

/** What the columns of all tables mean. */
function legendOf(tables: readonly ReportTable[]): Markup {
  const known = new Map<string, Column & { name: string }>();
  for (const { grid: { columns, prefix } } of tables) {
    for (const column of columns) {
      known.set(column.key, { ...column, name: column.title(prefix) });
    }
  }
  return markup`<details>
<summary>How to read the columns</summary>
<dl>
<dt>Marks</dt><dd>Green is the best of a column, pale green what its interval does not tell from the best. Arrows say which way is better.</dd>
<dt>Training images</dt><dd>The floor: as many training images, judged like drawn ones. Honest samples of this number cannot be expected to do better.</dd>
<dt>NFE</dt><dd>Evaluations of the network for one image.</dd>
${
    [...known.values()].map(({ name, about }) =>
      markup`<dt>${name}</dt><dd>${about}</dd>\n`
    )
  }</dl>
</details>
`;
}

function dataUrl(bytes: Uint8Array): string {
  return `data:image/png;base64,${bytes.toBase64()}`;
}

function samplesOf({ samples, colors }: Report): Markup | undefined {
  if (samples.length === 0) return undefined;
  return markup`<section id="samples">
<h2>Samples</h2>
<p class="soft">The first images of each row, not chosen. Equal seeds start from equal noise, where the networks take noise of one shape.</p>
<div class="figures samples">
${
    samples.map(({ run, title, caption, bytes }) =>
      markup`<figure class="${run ? "" : "real"}"><figcaption><b>${
        run && swatch(run, colors)
      }${title}</b>${caption}</figcaption><img src="${
        dataUrl(bytes)
      }" alt="${title}, ${caption}"></figure>
`
    )
  }</div>
</section>
`;
}

/** A chart as a part of the page, whose style then holds for it; `id` keeps names apart. */
function chart({ title, caption, svg }: Figure, id: string): Markup {
  const inline = svg
    .replace(/ (xmlns(:xlink)?|version)="[^"]*"/g, "")
    .replace(/( id="|url\(#)/g, `$1${id}-`)
    .replace(/^<svg /, `<svg role="img" aria-label="${write(title)}" `);
  return markup`<figure><figcaption><b>${title}</b>${caption}</figcaption>${new Markup(
    inline,
  )}</figure>
`;
}

function picturesOf({ pictures, colors }: Report): Markup | undefined {
  if (pictures.length === 0) return undefined;
  return markup`<section id="figures">
<h2>Figures of runs</h2>
${
    pictures.map(({ run, pictures }) =>
      markup`<h3 class="run">${swatch(run, colors)}${run.name}</h3>
<div class="figures">
${pictures.map(picture)}</div>
`
    )
  }</section>
`;
}

function picture({ title, bytes }: Picture): Markup {
  return markup`<figure><figcaption><b>${title}</b></figcaption><img src="${
    dataUrl(bytes)
  }" alt="${title}"></figure>
`;
}

function runsOf({ runs, entries, colors }: Report): Markup {
  return markup`<section id="runs">
<h2>Runs</h2>
<p class="soft">How images were drawn from each run, its settings, and how it came about.</p>
${
    runs.map((run) =>
      markup`<details>
<summary>${swatch(run, colors)}${run.name}</summary>
${entries.filter((entry) => entry.run === run).map(provenanceOf)}<pre>${
        stringify({ ...run.config, run: run.origin }).trimEnd()
      }</pre>
</details>
`
    )
  }</section>
`;
}

function provenanceOf({ scores: { id, provenance } }: Entry): Markup {
  // The extractor and its like stand below the table.
  const { range, extractor: _, classNames: __, options, ...rest } = provenance;
  const facts = Object.entries({
    ...rest,
    ...options,
    "bytes drawn": range.drawn.join(" to "),
    "bytes real": range.real.join(" to "),
  }).filter(([, value]) => value !== undefined);
  return markup`<h3>${id}</h3>
<dl>
${
    facts.map(([name, value]) =>
      markup`<dt>${name}</dt><dd>${
        typeof value === "object" ? JSON.stringify(value) : String(value)
      }</dd>\n`
    )
  }</dl>
`;
}
