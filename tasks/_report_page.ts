/**
 * A report as one HTML page that holds all it needs.
 *
 * @module
 */
import style from "./_report.css" with { type: "text" };
import type { Report, ReportTable } from "./_report.ts";
import { type Cell, type Line, wayOf } from "./_report_cells.ts";
import type { Column } from "./_report_columns.ts";
import type { Entry, Picture, ReportRun } from "./_report_data.ts";
import type { Colors, Figure } from "./_report_figures.ts";
import { arrowOf } from "./_report_text.ts";
import { stringify } from "./_yaml.ts";

/** What tells a page of ours from other files. */
export const GENERATOR = "denoise compare";

/** Text that is HTML already. */
class Html {
  constructor(readonly text: string) {}
}

type Part = Html | string | number | undefined | readonly Part[];

/** HTML with its parts escaped, unless they are HTML themselves. */
function html(strings: TemplateStringsArray, ...parts: Part[]): Html {
  return new Html(
    strings.map((text, i) => text + (i < parts.length ? write(parts[i]) : ""))
      .join(""),
  );
}

function write(part: Part): string {
  if (part === undefined) return "";
  if (part instanceof Html) return part.text;
  if (Array.isArray(part)) return part.map(write).join("");
  return String(part).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

/** A report as a page. */
export function pageOf(report: Report): string {
  const { title, summary, warnings, tables, sections, pictures, runs } = report;
  const links = [
    ["table", "Table"],
    ...(report.samples.length > 0 ? [["samples", "Samples"]] : []),
    ...sections.map(({ id, title }) => [id, title]),
    ...(pictures.length > 0 ? [["figures", "Figures of runs"]] : []),
    ["runs", "Runs"],
  ];
  // No address is allowed: the page shows what it holds, and asks for nothing.
  return html`
    <!DOCTYPE html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="generator" content="${GENERATOR}">
        <meta http-equiv="Content-Security-Policy"
          content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
        <title>${title}</title>
        <style>
    ${new Html(style)}</style>
      </head>
      <body>
        <header>
          <h1>${title}</h1>
          <p class="lead">${summary}</p>
          <nav>${links.map(([id, name]) =>
            html`<a href="#${id}">${name}</a>\n`
          )}</nav>
        </header>
        <main>
    ${warningList(warnings)}
    <section id="table">
    ${tables.map((table, i) => tableOf(table, report, i))}
    ${legendOf(tables)}
    </section>
    ${samplesOf(report)}
    ${sections.map(({ id, title, text, figures }, s) =>
      html`
        <section id="${id}">
          <h2>${title}</h2>
          <p class="soft">${text}</p>
          <div class="figures">
        ${figures.map((figure, i) => chart(figure, `s${s}f${i}`))}</div>
        </section>
      `
    )}
    ${pictures.length === 0 ? undefined : html`
      <section id="figures">
      <h2>Figures of runs</h2>
      ${pictures.map(({ run, pictures }) =>
        html`
          <h3 class="run">${swatch(run, report.colors)}${run.name}</h3>
          <div class="figures">
          ${pictures.map(picture)}</div>
        `
      )}</section>
    `}
    <section id="runs">
    <h2>Runs</h2>
    <p class="soft">Settings and surroundings of each run, and how its images were drawn.</p>
    ${runs.map((run) => runOf(run, report))}
    </section>
        </main>
        <footer>${report.origin}</footer>
      </body>
    </html>
  `.text;
}

function warningList(warnings: readonly string[]): Html | undefined {
  if (warnings.length === 0) return undefined;
  return html`<ul class="warnings">
${warnings.map((text) => html`<li>${text}</li>\n`)}</ul>`;
}

function swatch(run: ReportRun, colors: Colors): Html {
  return html`<span class="swatch" style="background:${colors.get(
    run,
  )!}"></span>`;
}

/** Neighbouring columns of one group, by their number. */
function groupsOf(
  columns: readonly Column[],
): { group: string; span: number }[] {
  const groups: { group: string; span: number }[] = [];
  for (const { group } of columns) {
    const last = groups.at(-1);
    if (last?.group === group) last.span++;
    else groups.push({ group, span: 1 });
  }
  return groups;
}

function isFirst(columns: readonly Column[], c: number): boolean {
  return columns[c]!.group !== columns[c - 1]?.group;
}

function tableOf(
  { grid, reasons, settings, rows }: ReportTable,
  { colors, tables }: Report,
  index: number,
): Html {
  const { columns, lines, cells, prefix } = grid;
  const { count } = rows[0]!.entries[0].scores.provenance;
  const heading = tables.length === 1 ? "Table" : `Table ${index + 1}`;
  return html`
    <h2>${heading}</h2>
    ${reasons.length === 0
      ? undefined
      : html`<p>Not comparable with table 1: ${
        reasons.join("; ")
      }.</p>\n`}<div class="scroll" tabindex="0" role="region"
      aria-label="${heading}">
      <table>
        <thead>
          <tr><th></th><th colspan="2"></th>${groupsOf(columns).map((
            { group, span },
          ) =>
            html`<th class="group first" colspan="${span}">${group}</th>`
          )}</tr>
          <tr><th>Run</th><th class="text">Drawing</th><th>n</th>${columns.map((
            column,
            c,
          ) =>
            html`<th${
              isFirst(columns, c) ? new Html(' class="first"') : undefined
            } title="${column.about}">${column.title(prefix)} ${
              arrowOf(column)
            }</th>`
          )}</tr>
        </thead>
        <tbody>
    ${lines.map((line, l) =>
      html`
        <tr
          class="${line
            .kind}"><th scope="row">${line.kind === "run" ||
              line.kind === "seed"
            ? swatch(line.entries[0]!.run, colors)
            : undefined}${line.name}<small>${line.small}</small></th>${drawing(
              line,
            )}<td>${String(count)}</td>${columns.map((_, c) =>
              cellOf(cells[c]![l], isFirst(columns, c))
            )}</tr>
      `
    )}</tbody>
      </table>
    </div>
    <p class="settings">${settings}</p>
  `;
}

function drawing({ method, methodSmall }: Line): Html {
  return html`<td class="text">${method}<small>${methodSmall}</small></td>`;
}

function cellOf(cell: Cell | undefined, isFirst: boolean): Html {
  const names = [cell?.mark, isFirst ? "first" : ""].filter(Boolean).join(" ");
  return html`<td${names && new Html(` class="${names}"`)}>${
    cell ? cell.text : html`<span class="soft">–</span>`
  }${cell?.small.map((part) => html`<small>${part}</small>`)}</td>`;
}

/** What the columns of all tables mean. */
function legendOf(tables: readonly ReportTable[]): Html {
  const known = new Map(
    tables.flatMap(({ grid }) =>
      grid.columns.map((column) =>
        [column.key, { column, prefix: grid.prefix }] as const
      )
    ),
  );
  return html`
    <details>
      <summary>How to read the columns</summary>
      <dl>
    <dt>Marks</dt><dd>Green is the best of a column, pale green what its interval does not tell from the best. Arrows say which way is better.</dd>
    <dt>Training images</dt><dd>The floor: as many training images, judged like drawn ones. Honest samples of this number cannot be expected to do better.</dd>
    <dt>NFE</dt><dd>Evaluations of the network for one image.</dd>
    ${[...known.values()].map(({ column, prefix }) =>
      html`<dt>${column.title(prefix)}</dt><dd>${column.about}</dd>\n`
    )}</dl>
    </details>
  `;
}

function dataUrl(bytes: Uint8Array): string {
  return `data:image/png;base64,${bytes.toBase64()}`;
}

function samplesOf({ samples, colors }: Report): Html | undefined {
  if (samples.length === 0) return undefined;
  return html`
    <section id="samples">
      <h2>Samples</h2>
      <p
        class="soft">The first images of each row, not chosen. Equal seeds start from equal noise, where the networks take noise of one shape.</p>
      <div class="figures samples">
    ${samples.map(({ entry, bytes }) => {
      const { seed } = entry.scores.provenance;
      const details = [...wayOf(entry), `seed ${seed}`].join(", ");
      return html`
        <figure><figcaption><b>${swatch(entry.run, colors)}${entry.run
          .name}</b>${details}</figcaption><img src="${dataUrl(
            bytes,
          )}" alt="Images drawn from ${entry.label}"></figure>
      `;
    })}</div>
    </section>
  `;
}

function picture({ title, bytes }: Picture): Html {
  return html`
    <figure><figcaption><b>${title}</b></figcaption><img src="${dataUrl(
      bytes,
    )}" alt="${title}"></figure>
  `;
}

/** A chart as a part of the page, whose style then holds for it; `id` keeps names apart. */
function chart({ title, caption, svg }: Figure, id: string): Html {
  const inline = svg
    .replace(/ (xmlns(:xlink)?|version)="[^"]*"/g, "")
    .replace(/(id="|url\(#)/g, `$1${id}-`)
    .replace(/^<svg /, `<svg role="img" aria-label="${write(title)}" `);
  return html`
    <figure><figcaption><b>${title}</b>${caption}</figcaption>${new Html(
      inline,
    )}</figure>
  `;
}

function runOf(run: ReportRun, { entries, colors }: Report): Html {
  const own = entries.filter((entry) => entry.run === run);
  return html`
    <details>
    <summary>${swatch(run, colors)}${run.name}</summary>
    ${own.map(provenanceOf)}
    <pre>${stringify({ ...run.config, run: run.origin }).trimEnd()}</pre>
    </details>
  `;
}

function provenanceOf({ scores: { id, provenance } }: Entry): Html {
  const { range, extractor: _, classNames: __, options, ...rest } = provenance;
  const rows = Object.entries({
    ...rest,
    ...options,
    "bytes drawn": range.drawn.join(" to "),
    "bytes real": range.real.join(" to "),
  }).filter(([, value]) => value !== undefined);
  return html`<h3>${id}</h3>
<dl>
${
    rows.map(([name, value]) =>
      html`<dt>${name}</dt><dd>${
        typeof value === "object" ? JSON.stringify(value) : String(value)
      }</dd>\n`
    )
  }</dl>`;
}
