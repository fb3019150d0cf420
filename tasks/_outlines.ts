/**
 * Text of SVG documents as outlines, for pictures that look the same on machines with other fonts or
 * with none. Letters are those of Open Sans, from an npm package that has the font as SVG.
 *
 * @module
 */

interface Font {
  readonly unitsPerEm: number;
  readonly glyphs: ReadonlyMap<string, Glyph>;
}

/** In units of the font, y upwards. */
interface Glyph {
  readonly advance: number;
  /** SVG path data; none for a space. */
  readonly outline: string;
}

let loaded: Promise<Font> | undefined;

function loadFont(): Promise<Font> {
  return loaded ??= importFont();
}

async function importFont(): Promise<Font> {
  const name = "npm:npm-font-open-sans@1.1.0";
  // Computed, so that the package is fetched only when something is drawn, and by its JSON file
  // first, as Deno 2.9 fetches no package for the sake of a text.
  await import(`${name}/package.json`, { with: { type: "json" } });
  const { default: svg } = await import(
    `${name}/fonts/Regular/OpenSans-Regular.svg`,
    { with: { type: "text" } }
  );
  return parseFont(svg);
}

function parseFont(svg: string): Font {
  const glyphs = new Map<string, Glyph>();
  const usual = attribute(svg, "horiz-adv-x"); // the font's own is the first in the file
  for (const [, element] of svg.matchAll(/<glyph ([^>]*)>/g)) {
    const character = attribute(element!, "unicode");
    if (character === undefined) continue;
    glyphs.set(unescape(character), {
      advance: Number(attribute(element!, "horiz-adv-x") ?? usual),
      outline: attribute(element!, "d") ?? "",
    });
  }
  return { unitsPerEm: Number(attribute(svg, "units-per-em")), glyphs };
}

function attribute(element: string, name: string): string | undefined {
  return new RegExp(`\\b${name}="([^"]*)"`).exec(element)?.[1];
}

const ENTITIES: Record<string, string> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
};

function unescape(text: string): string {
  return text.replace(
    /&(?:#x([\da-f]+)|#(\d+)|(\w+));/gi,
    (entity, hex, decimal, name) =>
      name
        ? ENTITIES[name] ?? entity
        : String.fromCodePoint(hex ? parseInt(hex, 16) : Number(decimal)),
  );
}

/**
 * Replaces the `<text>` elements of a document by outlines.
 *
 * @param svg As Vega writes it: sizes in pixels, no elements within a text. Of the attributes of text,
 *   `font-size` and `text-anchor` count; characters that the font lacks become question marks.
 * @returns The document, for a renderer that knows no fonts.
 */
export async function outlineText(svg: string): Promise<string> {
  const font = await loadFont();
  return svg.replaceAll(
    /<text ([^>]*)>([^<]*)<\/text>/g,
    (_, attributes: string, text: string) => {
      const size = parseFloat(attribute(attributes, "font-size") ?? "16");
      const scale = size / font.unitsPerEm;
      let width = 0;
      const paths = Array.from(unescape(text), (character) => {
        const { advance, outline } = font.glyphs.get(character) ??
          font.glyphs.get("?")!;
        const path = `<path transform="translate(${width})" d="${outline}"/>`;
        width += advance;
        return path;
      });
      const anchor = attribute(attributes, "text-anchor");
      const share = anchor === "end" ? 1 : anchor === "middle" ? 0.5 : 0;
      return `<g ${attributes}><g transform="scale(${scale} ${-scale}) translate(${
        -share * width
      })">${paths.join("")}</g></g>`;
    },
  );
}
