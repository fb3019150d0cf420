/**
 * The README tells the truth: its example runs, its commands and files exist.
 *
 * @module
 */
import assert from "node:assert/strict";
import { TASKS } from "../tasks/_tasks.ts";

const ROOT = new URL("../", import.meta.url);
const readme = await Deno.readTextFile(new URL("README.md", ROOT));

Deno.test("README opens with the two commands", () => {
  const first = /```sh\n([^`]*)```/.exec(readme)![1]!;
  const commands = first.trim().split("\n").map((line) =>
    line.split("#")[0]!.trim()
  );
  assert.deepEqual(commands, ["./denoise train ddpm", "./denoise test"]);
});

Deno.test("README's library example runs and learns", async () => {
  const [, example] = /```ts\n([^`]*)```/.exec(readme)!;
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/example.ts`;
    await Deno.writeTextFile(
      path,
      example!.replace("./mod.ts", new URL("mod.ts", ROOT).href),
    );
    const { success, stdout, stderr } = await new Deno.Command(
      Deno.execPath(),
      {
        args: ["run", "--no-prompt", "--check", path],
        env: { NO_COLOR: "1" },
      },
    ).output();
    assert.ok(success, new TextDecoder().decode(stderr));
    const losses = new TextDecoder().decode(stdout).trim().split("\n").map((
      line,
    ) => Number(line.split(" ")[1]));
    assert.equal(losses.length, 4);
    assert.ok(losses[3]! < losses[0]!, `losses ${losses}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("README names files and tasks that exist", async () => {
  for (const [, path] of readme.matchAll(/\]\(((?!https?:)[^)]+)\)/g)) {
    assert.ok((await Deno.stat(new URL(path!, ROOT))).size > 0, path);
  }
  const known = new Set<string>(TASKS.map(({ name }) => name));
  for (const [, task] of readme.matchAll(/^\.\/denoise (\w+)/gm)) {
    assert.ok(known.has(task!), `unknown task ${task}`);
  }
});
