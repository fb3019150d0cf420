import { deepEqual, equal, ok, throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { readTuned, tunedFile, useTuned } from "../../tasks/_tuned.ts";
import { main, type Probe, tune } from "../../tasks/tune.ts";

const PRODUCT = "matmul 1 4 4 4";

/** A small product, wrong by one in some of its forms. */
function probe(...wrong: d.Variant[]): Probe {
  return {
    name: "small",
    prepare() {
      const a = d.ones([2, 3]), b = d.ones([3, 4]);
      return () => {
        const [variant] = Object.values(
          d.withVariant(undefined, () => d.matmul(a, b).dispose()).taken,
        );
        const y = d.matmul(a, b);
        return wrong.includes(variant!) ? d.add(y, 1) : y;
      };
    },
  };
}

/** Runs `body` with a cache folder of its own, and goes back to the rule afterwards. */
async function inEmptyCache(body: () => void | Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  const before = Deno.env.get("DENOISE_DATA");
  Deno.env.set("DENOISE_DATA", folder);
  try {
    await body();
  } finally {
    d.setVariants({});
    if (before === undefined) Deno.env.delete("DENOISE_DATA");
    else Deno.env.set("DENOISE_DATA", before);
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("tune() lets no wrong form win", async () => {
  const { product, after, ms } = await tune(
    probe("tile64", "tile128", "panel"),
  );
  equal(product, PRODUCT);
  equal(after, "register");
  deepEqual(Object.keys(ms), ["register"]);
  ok(ms.register! > 0);
});

Deno.test("tune writes a table that tasks take over, unless told not to", () =>
  inEmptyCache(async () => {
    const quiet = (write: boolean) =>
      main({ flags: { write }, json: true }, [
        probe("tile64", "tile128", "panel"),
      ]);
    const log = console.log, lines: string[] = [];
    console.log = (line: string) => lines.push(line);
    try {
      await quiet(false);
      deepEqual(readTuned(), {});
      await quiet(true);
    } finally {
      console.log = log;
    }
    equal(JSON.parse(lines[1]!).after, "register");
    deepEqual(readTuned(), { [PRODUCT]: "register" });

    const file = JSON.parse(await Deno.readTextFile(tunedFile()));
    equal(file.adapter, d.deviceInfo().adapter);
    file.variants[PRODUCT] = "tile64";
    await Deno.writeTextFile(tunedFile(), JSON.stringify(file));
    useTuned();
    const { taken } = d.withVariant(
      undefined,
      () => d.matmul(d.ones([2, 3]), d.ones([3, 4])),
    );
    deepEqual(taken, { [PRODUCT]: "tile64" });

    await Deno.writeTextFile(tunedFile(), "{");
    throws(useTuned, /SyntaxError: Cannot use .*tuned-.*Delete it/);
    file.variants[PRODUCT] = "tile16";
    await Deno.writeTextFile(tunedFile(), JSON.stringify(file));
    throws(useTuned, /SyntaxError: .*it is "tile16". Delete it/);
  }));
