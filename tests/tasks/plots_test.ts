import { deepEqual, equal, match, ok } from "node:assert/strict";
import { readPixels } from "../../tasks/_images.ts";
import {
  type Curve,
  curveOf,
  curvesSvg,
  saveChart,
  svgToPng,
} from "../../tasks/_plots.ts";
import { RunFolder } from "../../tasks/_run_folder.ts";

const loss: Curve = {
  name: "loss",
  steps: [0, 100, 200, 300],
  values: [1, 0.1, 0.01, 0.001],
};

/** The points of each line in an SVG document, in its pixels. */
function lines(svg: string): number[][][] {
  const paths = svg.matchAll(
    /<path aria-label="[^"]*" role="graphics-symbol"[^>]* d="([^"]+)"/g,
  );
  return Array.from(
    paths,
    ([, d]) =>
      Array.from(d!.matchAll(/[ML]([-\d.]+),([-\d.]+)/g), ([, x, y]) => [
        Number(x),
        Number(y),
      ]),
  ).filter((points) => points.length > 1);
}

Deno.test("curvesSvg() draws the data to scale, with titles", async () => {
  const svg = await curvesSvg([loss], {
    title: "A run",
    yTitle: "Loss (mean squared error)",
    logY: true,
    smoothing: 0,
    width: 300,
    height: 166,
  });
  for (const text of ["A run", "Training step", "Loss (mean squared error)"]) {
    ok(svg.includes(`>${text}</text>`), text);
  }
  const [points] = lines(svg);
  // 8 pixels of space above and below; a factor of 10 is 50 pixels.
  deepEqual(
    points!.map(([x, y]) => [Math.round(x!), Math.round(y!)]),
    [[0, 8], [100, 58], [200, 108], [300, 158]],
  );
});

Deno.test("curvesSvg() draws a centred mean over the raw values", async () => {
  const steps = Array.from({ length: 400 }, (_, i) => i);
  const noisy: Curve = {
    name: "loss",
    steps,
    values: steps.map((step) => 2 - step / 400 + (step % 2 ? 0.2 : -0.2)),
  };
  const svg = await curvesSvg([noisy], { yTitle: "Loss", smoothing: 0.1 });
  const [raw, mean] = lines(svg);
  equal(raw!.length, 400);
  const jump = (points: number[][]) =>
    Math.abs(points[200]![1]! - points[201]![1]!);
  ok(jump(mean!) < jump(raw!) / 5, `${jump(mean!)} and ${jump(raw!)}`);
  const middle = (raw![200]![1]! + raw![201]![1]!) / 2;
  ok(Math.abs(mean![200]![1]! - middle) < 3);
});

Deno.test("curvesSvg() draws several curves with a legend, and the learning rate", async () => {
  const other = { ...loss, name: "other run" };
  const svg = await curvesSvg([loss, other], {
    yTitle: "Loss",
    learningRate: { name: "rate", steps: [0, 300], values: [1e-3, 1e-4] },
  });
  ok(svg.includes(">other run</text>"));
  ok(svg.includes(">Learning rate</text>"));
});

Deno.test("curvesSvg() draws solid and dashed curves of one name in one colour", async () => {
  const svg = await curvesSvg([
    { ...loss, color: "#123456" },
    { ...loss, values: [2, 2, 2, 2], color: "#123456", dashed: true },
  ], { yTitle: "Loss", smoothing: 0, legend: "bottom" });
  const paths = svg.match(/<path aria-label="[^"]*loss[^"]*"[^>]*>/g)!;
  equal(lines(svg).length, 2);
  equal(paths.filter((path) => path.includes('stroke="#123456"')).length, 2);
  equal(paths.filter((path) => path.includes('dasharray="4,3"')).length, 1);
  equal(svg.split(">loss</text>").length - 1, 1);
});

Deno.test("curvesSvg() thins long curves and survives what cannot be drawn", async () => {
  const steps = Array.from({ length: 25_000 }, (_, i) => i);
  const long = { name: "long", steps, values: steps.map(() => 1) };
  const svg = await curvesSvg([long], { yTitle: "Loss", smoothing: 0 });
  ok(lines(svg)[0]!.length <= 1000);
  const broken = { name: "broken", steps: [1, 2, 3], values: [NaN, 0, -1] };
  match(await curvesSvg([broken], { yTitle: "Loss", logY: true }), /^<svg/);
  match(
    await curvesSvg([{ ...loss, steps: [], values: [] }], { yTitle: "Loss" }),
    /^<svg/,
  );
});

Deno.test("saveChart() writes an SVG and a PNG of what the log holds", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const run = await RunFolder.create(folder);
    for (const step of [1, 2, 3]) {
      await run.appendMetrics({ step, loss: 1 / step });
    }
    await run.appendMetrics({ step: 4, fid: 3 });
    const curve = curveOf(await run.readMetrics(), "loss");
    deepEqual(curve, {
      name: "loss",
      steps: [1, 2, 3],
      values: [1, 1 / 2, 1 / 3],
    });
    const chart = { file: "curves", yTitle: "Loss" };
    ok(!await saveChart(run, { ...chart, curves: { missing: "none" } }));
    ok(await saveChart(run, { ...chart, curves: { loss: "training loss" } }));
    match(await Deno.readTextFile(run.file("curves.svg")), /^<svg/);
    const picture = await readPixels(run.file("curves.png"));
    ok(picture.width > 1200 && picture.height > 600);
    const inked = picture.data.filter((value) => value < 128).length;
    ok(inked > 1000, String(inked)); // axes, text, a line
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("svgToPng() draws the same where there are no fonts, and says nothing", async () => {
  const svg = await curvesSvg([loss], { title: "A run", yTitle: "Loss" });
  const module = new URL("../../tasks/_plots.ts", import.meta.url).href;
  const script = `const { svgToPng } = await import(${JSON.stringify(module)});
    await Deno.stdout.write(await svgToPng(${JSON.stringify(svg)}));`;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--quiet", script],
    cwd: new URL("../../", import.meta.url),
    env: { FONTCONFIG_FILE: "/nowhere/fonts.conf" },
  }).output();
  equal(new TextDecoder().decode(stderr), "");
  deepEqual(stdout, new Uint8Array(await svgToPng(svg)));
});
