import { deepEqual, equal, ok } from "node:assert/strict";
import { loadSharp } from "../../datasets/_sharp.ts";
import { outlineText } from "../../tasks/_outlines.ts";

/** 100 × 100 pixels with black text at (50, 80), 64 pixels high. */
function withText(text: string, anchor: string): string {
  return '<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100">' +
    '<rect width="100" height="100" fill="white"/>' +
    `<text text-anchor="${anchor}" transform="translate(50,80)" font-size="64px" fill="#000">${text}</text></svg>`;
}

/** Whether a pixel of the drawing is dark. */
async function draw(svg: string): Promise<(x: number, y: number) => boolean> {
  const sharp = await loadSharp();
  const pixels = await sharp(new TextEncoder().encode(await outlineText(svg)))
    .greyscale().raw().toBuffer();
  equal(pixels.length, 100 * 100);
  return (x, y) => pixels[y * 100 + x]! < 128;
}

/** The first and last column with ink. */
function extent(dark: (x: number, y: number) => boolean): [number, number] {
  const columns = Array.from({ length: 100 }, (_, x) => x)
    .filter((x) => Array.from({ length: 100 }).some((_, y) => dark(x, y)));
  return [columns[0]!, columns.at(-1)!];
}

Deno.test("outlineText() draws letters, not boxes", async () => {
  const dark = await draw(withText("L", "start"));
  // Upright from the line up to 45.9 pixels (1468 of the font's 2048 units), foot to the right.
  ok(dark(58, 40) && dark(58, 78) && dark(75, 78));
  ok(!dark(75, 40) && !dark(75, 60) && !dark(58, 30) && !dark(58, 82));
});

Deno.test("outlineText() keeps the anchor of a text", async () => {
  const [start, middle, end] = await Promise.all(
    ["start", "middle", "end"].map(async (anchor) =>
      extent(await draw(withText("H", anchor)))
    ),
  );
  const width = start![1] - start![0];
  ok(start![0] >= 50 && end![1] < 50, `${start}, ${end}`);
  ok(Math.abs(middle![0] + middle![1] - 99) <= 2, `${middle}`);
  for (const [first, last] of [middle!, end!]) {
    ok(Math.abs(last - first - width) <= 1, `${first} to ${last}`);
  }
});

Deno.test("outlineText() reads escaped characters, and has a sign for those it lacks", async () => {
  const outlines = async (text: string) => {
    const svg = await outlineText(withText(text, "start"));
    ok(!svg.includes("<text") && !svg.includes("NaN"), svg);
    return svg.match(/ d="[^"]*"/g)!;
  };
  equal((await outlines("a &amp; &lt;b&gt; &#233;&#xe9;&quot;")).length, 11);
  deepEqual(await outlines("&lt;é−"), await outlines("&#60;&#xe9;&#x2212;"));
  deepEqual(await outlines("字"), await outlines("?"));
});

Deno.test("outlineText() leaves everything else alone", async () => {
  const svg = '<svg><title>text</title><path d="M0,0h1"/></svg>';
  equal(await outlineText(svg), svg);
});
