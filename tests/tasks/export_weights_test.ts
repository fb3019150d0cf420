/**
 * `export-weights` as a user runs it, under the permissions that deno.json gives it.
 *
 * @module
 */
import { deepEqual, equal, match } from "node:assert/strict";
import { LeNet5, loadSafetensors, Rng } from "../../mod.ts";
import { inFolder, run } from "./_subprocess.ts";

const ROOT = new URL("../../", import.meta.url);

async function exportWeights(...args: string[]) {
  const { tasks } = JSON.parse(
    await Deno.readTextFile(new URL("deno.json", ROOT)),
  );
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...tasks["export-weights"].split(" ").slice(1), ...args],
    cwd: ROOT,
    env: { NO_COLOR: "1", INIT_CWD: "" },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: text(stderr) };
}

Deno.test("export-weights writes a classifier's weights, its accuracy and its data's checksums", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/run`, file = `${folder}/lenet.safetensors`;
    const made = await run(
      "train",
      ...["classifier", "--class", "0,1", "--steps", "3", "--batch-size", "4"],
      ...["--set", "evaluation.count=40", "--out", path, "--json"],
    );
    equal(made.code, 0, made.err);
    const { accuracy, testChecksum } = JSON.parse(made.out);
    const { code, out, err } = await exportWeights(path, file, "--json");
    equal(code, 0, err);
    const { file: written, ...printed } = JSON.parse(out);
    equal(written, file);
    const { tensors, metadata } = await loadSafetensors(file);
    deepEqual(metadata, printed);
    equal(Number(metadata.accuracy), Number(accuracy.toPrecision(7)));
    equal(metadata.testChecksum, testChecksum);
    match(metadata.trainChecksum!, /^[0-9a-f]{64}$/);
    deepEqual(JSON.parse(metadata.shape!).classNames, ["0", "1"]);
    equal(JSON.parse(metadata.config!).seed, 0);
    new LeNet5({ size: 8, padding: 4, numClasses: 2 }, new Rng(1))
      .loadStateDict(tensors);

    // The last weights are others, of which no accuracy is known.
    const last = await exportWeights(path, file, "--no-ema", "--json");
    equal(JSON.parse(last.out).accuracy, undefined);
    const plain = (await loadSafetensors(file)).tensors;
    equal(
      plain["fc3.bias"]!.data.every((v, i) =>
        v === tensors["fc3.bias"]!.data[i]
      ),
      false,
    );

    const wrong = await exportWeights(`${folder}/none`, file);
    equal(wrong.code, 2);
    match(wrong.err, /Cannot find a run in .*none: there is no such folder/);
  });
});
