import { deepEqual, equal, match, ok } from "node:assert/strict";
import { TASKS } from "../../tasks/_tasks.ts";

const root = new URL("../../", import.meta.url);
const { tasks } = JSON.parse(
  await Deno.readTextFile(new URL("deno.json", root)),
) as { tasks: Record<string, string> };

/** Runs a task under the permissions that deno.json gives it. */
async function run(name: string, ...args: string[]) {
  const words = tasks[name]!.split(" ");
  equal(words[0], "deno");
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...words.slice(1), ...args],
    cwd: root,
    env: { NO_COLOR: "1", INIT_CWD: "", DENOISE_DEBUG: "" },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

Deno.test("the table of tasks and deno.json agree", () => {
  for (const { name } of TASKS) ok(name in tasks, name);
  for (const [name, command] of Object.entries(tasks)) {
    ok(!/ -A\b| --allow-all\b/.test(command), name);
  }
});

Deno.test("help lists the tasks, shows one, and suggests the one meant", async () => {
  const [all, one, json, wrong] = await Promise.all([
    run("help"),
    run("help", "train"),
    run("help", "--json"),
    run("help", "trian"),
  ]);
  for (const { name, summary } of TASKS) {
    ok(
      all.stdout.split("\n").some((line) =>
        line.startsWith(`  ${name} `) && line.endsWith(` ${summary}`)
      ),
    );
  }
  match(one.stdout, /^train: .*\n\nExamples:\n {2}deno task train ddpm\n/);
  deepEqual(JSON.parse(json.stdout), TASKS);
  equal(wrong.code, 2);
  match(wrong.stderr, /^error: Unknown task "trian": did you mean "train"\?/);
});

Deno.test("datasets lists and checks data sets", async () => {
  const [list, check, filtered, wrong, missing] = await Promise.all([
    run("datasets", "--json"),
    run("datasets", "check", "digits"),
    run("datasets", "check", "digits/test:3,5", "--json"),
    run("datasets", "check", "mnits"),
    run("datasets", "get"),
  ]);
  const names = (JSON.parse(list.stdout) as { name: string }[])
    .map(({ name }) => name);
  ok(names.includes("cifar10") && names.includes("digits"));
  match(check.stdout, /, train\n +Images +1500 of 1×8×8 \(C×H×W\)\n/);
  const [report] = JSON.parse(filtered.stdout) as {
    images: number;
    classes: Record<string, number>;
  }[];
  deepEqual(Object.keys(report!.classes), ["3", "5"]);
  equal(
    report!.images,
    Object.values(report!.classes).reduce((sum, count) => sum + count),
  );
  deepEqual([wrong.code, missing.code], [2, 2]);
  match(wrong.stderr, /^error: Unknown data set "mnits": did you mean "mnist"/);
  match(missing.stderr, /^error: Missing <data set> to get: one of digits/);
});

Deno.test("datasets reads a folder of images under its permissions", async () => {
  const folder = await Deno.makeTempDir();
  try {
    // A 1 × 1 grey PNG.
    const png = Uint8Array.fromBase64(
      "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==",
    );
    for (const name of ["cat", "dog"]) {
      await Deno.mkdir(`${folder}/${name}`);
      await Deno.writeFile(`${folder}/${name}/0.png`, png);
    }
    const { code, stdout, stderr } = await run(
      "datasets",
      "check",
      `folder:${folder}`,
      "--json",
    );
    equal(stderr, "");
    equal(code, 0);
    const [report] = JSON.parse(stdout) as { classes: object }[];
    deepEqual(report!.classes, { cat: 1, dog: 1 });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
