import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { UsageError } from "../../tasks/_cli.ts";
import {
  type AtomicFileSystem,
  RunFolder,
  runName,
  writeAtomic,
} from "../../tasks/_run_folder.ts";

/** Runs `use` in a fresh folder, removed afterwards. */
async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const names = (folder: string) =>
  Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();

/** A disk that does as `changes` say, and the rest as usual. */
function disk(changes: Partial<AtomicFileSystem>): AtomicFileSystem {
  return {
    open: (path) => Deno.open(path, { write: true, createNew: true }),
    rename: Deno.rename,
    remove: (path) => Deno.remove(path),
    ...changes,
  };
}

/** A safetensors file of one tensor. */
function safetensors(values: number): Uint8Array {
  const header = new TextEncoder().encode(JSON.stringify({
    __metadata__: { step: "1" },
    weight: { dtype: "F32", shape: [values], data_offsets: [0, 4 * values] },
  }));
  const bytes = new Uint8Array(8 + header.length + 4 * values);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
  bytes.set(header, 8);
  return bytes;
}

Deno.test("writeAtomic() writes texts, bytes and pieces, and replaces", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/a.txt`;
    await writeAtomic(path, "old text");
    await writeAtomic(path, [Uint8Array.of(104, 105), Uint8Array.of(33)]);
    equal(await Deno.readTextFile(path), "hi!");
    await writeAtomic(path, new Uint8Array(0));
    equal(await Deno.readTextFile(path), "");
    deepEqual(names(folder), ["a.txt"]);
  });
});

Deno.test("writeAtomic() flushes before it renames", async () => {
  await inFolder(async (folder) => {
    const calls: string[] = [];
    await writeAtomic(
      `${folder}/a`,
      "text",
      disk({
        async open(path) {
          const file = await Deno.open(path, { write: true, createNew: true });
          return {
            write: (bytes) => (calls.push("write"), file.write(bytes)),
            sync: () => (calls.push("sync"), file.sync()),
            close: () => (calls.push("close"), file.close()),
          };
        },
        rename: (from, to) => (calls.push("rename"), Deno.rename(from, to)),
      }),
    );
    deepEqual(calls, ["write", "sync", "close", "rename"]);
  });
});

Deno.test("writeAtomic() on a full disk keeps the old file and says what was needed", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/weights.safetensors`;
    await writeAtomic(path, "good");
    let roomBytes = 1_000_000;
    const full = disk({
      async open(path) {
        const file = await Deno.open(path, { write: true, createNew: true });
        return {
          async write(bytes) {
            if (roomBytes === 0) {
              throw new Error("No space left on device (os error 28)");
            }
            const written = await file.write(bytes.subarray(0, roomBytes));
            roomBytes -= written;
            return written;
          },
          sync: () => file.sync(),
          close: () => file.close(),
        };
      },
    });
    await rejects(writeAtomic(path, new Uint8Array(2_500_000), full), {
      message:
        `Cannot write ${path}, which needs 2.5 MB (2500000 bytes): the disk is full. A previous version of the file is unchanged`,
    });
    equal(roomBytes, 0);
    equal(await Deno.readTextFile(path), "good");
    deepEqual(names(folder), ["weights.safetensors"]);
  });
});

Deno.test("writeAtomic() cleans up when the rename fails, and names a missing folder", async () => {
  await inFolder(async (folder) => {
    const failing = disk({
      rename: () => Promise.reject(new Error("Device is busy")),
    });
    await rejects(writeAtomic(`${folder}/a`, "x", failing), /Device is busy/);
    deepEqual(names(folder), []);
    await rejects(
      writeAtomic(`${folder}/none/a`, "x"),
      /Cannot write .*\/none\/a, which needs 1 B: No such file/,
    );
  });
});

Deno.test("runName() tells model, data, classes and time", () => {
  const date = new Date(2026, 0, 31, 9, 5, 7);
  const name = (dataset: string, classes?: (string | number)[]) =>
    runName({ model: "ddpm", dataset, classes, date });
  equal(name("digits"), "ddpm-digits-20260131-090507");
  equal(name("cifar10", ["cat", 6]), "ddpm-cifar10-cat-6-20260131-090507");
  equal(
    name("folder:/my photos/Cats & dogs/"),
    "ddpm-folder-Cats-dogs-20260131-090507",
  );
  equal(
    name("fashion-mnist", ["T-shirt/top"]),
    "ddpm-fashion-mnist-T-shirt-top-20260131-090507",
  );
  equal(
    name("cifar10", [0, 1, 2, 3, 4]),
    "ddpm-cifar10-5classes-20260131-090507",
  );
});

Deno.test("RunFolder.create() makes a folder, and refuses one that holds a run", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/runs/a`;
    const run = await RunFolder.create(path);
    deepEqual(names(path), ["checkpoints", "samples"]);
    equal(run.name, "a");
    await RunFolder.create(path); // nothing in it yet
    await run.writeConfig({ seed: 1 }, {});
    await rejects(RunFolder.create(path), (error: Error) => {
      ok(error instanceof UsageError);
      match(error.message, /already holds one: continue it with --resume/);
      return true;
    });
  });
});

Deno.test("RunFolder.createNamed() gives runs of one second names of their own", async () => {
  await inFolder(async (folder) => {
    const runs = await Promise.all(
      [1, 2, 3].map(() => RunFolder.createNamed(`${folder}/runs`, "a")),
    );
    deepEqual(runs.map((run) => run.name).sort(), ["a", "a-2", "a-3"]);
  });
});

Deno.test("RunFolder says why a folder cannot be used", async () => {
  await inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/file`, "");
    for (
      const attempt of [
        () => RunFolder.create(`${folder}/file/run`),
        () => RunFolder.createNamed(`${folder}/file`, "run"),
      ]
    ) {
      await rejects(attempt, (error: Error) => {
        ok(error instanceof UsageError);
        match(
          error.message,
          /^Cannot make the run folder .*run: a file is in the way\. .*--out$/,
        );
        return true;
      });
    }
    await rejects(RunFolder.open(`${folder}/none`), /there is no such folder/);
    await rejects(RunFolder.open(folder), /it has no config\.yaml/);
  });
});

Deno.test("RunFolder.open() takes the folder or a file in it", async () => {
  await inFolder(async (folder) => {
    const run = await RunFolder.create(`${folder}/a`);
    await run.writeConfig({}, {});
    const { path } = await run.saveCheckpoint(1, safetensors(1));
    for (const given of [run.path, run.file("config.yaml"), path]) {
      equal((await RunFolder.open(given)).path, run.path);
    }
  });
});

Deno.test("RunFolder keeps the configuration apart from its surroundings", async () => {
  await inFolder(async (folder) => {
    const run = await RunFolder.create(folder);
    const config = { model: "ddpm", classes: ["cat"], unet: { groups: 8 } };
    const about = { command: "train ddpm", versions: { deno: "2.9.6" } };
    await run.writeConfig(config, about);
    deepEqual(await run.readConfig(), { config, run: about });
    match(await Deno.readTextFile(run.file("config.yaml")), /^# The resolved/);
    await Deno.writeTextFile(run.file("config.yaml"), "a: [");
    await rejects(run.readConfig(), /Cannot read .*config\.yaml: /);
  });
});

Deno.test("RunFolder.truncateMetrics() leaves what an uninterrupted run would have logged", async () => {
  await inFolder(async (folder) => {
    const run = await RunFolder.create(folder);
    const path = run.file("metrics.jsonl");
    deepEqual(await run.readMetrics(), []);
    for (const step of [10, 20, 30, 40]) {
      await run.appendMetrics({ step, loss: 1 / step });
    }
    const whole = await Deno.readTextFile(path);
    // Killed in the middle of a line.
    await Deno.writeTextFile(path, '{"step":50,"lo', { append: true });
    equal((await run.readMetrics()).length, 4);
    await run.truncateMetrics(25);
    equal(
      await Deno.readTextFile(path),
      '{"step":10,"loss":0.1}\n{"step":20,"loss":0.05}\n',
    );
    for (const step of [30, 40]) {
      await run.appendMetrics({ step, loss: 1 / step });
    }
    equal(await Deno.readTextFile(path), whole);
    deepEqual(names(folder), ["checkpoints", "metrics.jsonl", "samples"]);
  });
});

Deno.test("RunFolder.saveCheckpoint() points latest at it and keeps the last ones", async () => {
  await inFolder(async (folder) => {
    const run = await RunFolder.create(folder);
    for (const step of [500, 1000, 1500]) {
      await run.saveCheckpoint(step, safetensors(2), 2);
    }
    deepEqual(names(run.file("checkpoints")), [
      "latest",
      "step-1000.safetensors",
      "step-1500.safetensors",
    ]);
    equal((await run.latestCheckpoint())?.step, 1500);
    // Numbers, not letters, decide the order.
    deepEqual((await run.listCheckpoints()).map(({ step }) => step), [
      1000,
      1500,
    ]);
    // One that latest names stays, even if it is an old one.
    await writeAtomic(
      run.file("checkpoints", "latest"),
      "step-1000.safetensors\n",
    );
    deepEqual(await run.pruneCheckpoints(1), []);
    equal((await run.latestCheckpoint())?.step, 1000);
    await run.saveCheckpoint(2000, safetensors(2), 1);
    deepEqual(names(run.file("checkpoints")), [
      "latest",
      "step-2000.safetensors",
    ]);
  });
});

Deno.test("RunFolder.latestCheckpoint() skips what is not whole, and says so", async () => {
  await inFolder(async (folder) => {
    const run = await RunFolder.create(folder);
    equal(await run.latestCheckpoint(), undefined);
    for (const step of [1, 2, 3, 4, 5]) {
      await run.saveCheckpoint(step, safetensors(3));
    }
    const file = (step: number) =>
      run.file("checkpoints", `step-${step}.safetensors`);
    await Deno.writeFile(file(5), safetensors(3).subarray(0, -1));
    await Deno.writeFile(file(4), Uint8Array.of(1, 2, 3));
    await Deno.writeTextFile(file(3), "\x04\0\0\0\0\0\0\0nope");
    await Deno.writeTextFile(run.file("checkpoints", "notes.txt"), "");
    const warnings: string[] = [];
    const latest = await run.latestCheckpoint((text) => warnings.push(text));
    equal(latest?.step, 2);
    equal(warnings.length, 3);
    match(warnings[0]!, /^Skipping .*step-5.*: it has \d+ bytes instead of/);
    match(warnings[1]!, /step-4.*: it is cut off at 3 bytes$/);
    match(warnings[2]!, /step-3.*: its header does not parse$/);
    await Deno.remove(file(5));
    warnings.length = 0;
    equal((await run.latestCheckpoint((text) => warnings.push(text)))?.step, 2);
    match(
      warnings[0]!,
      /latest names "step-5.safetensors", which is not there/,
    );
  });
});

Deno.test("RunFolder.prepareToResume() removes what a killed process left", async () => {
  await inFolder(async (folder) => {
    const run = await RunFolder.create(folder);
    const left = run.file("checkpoints", ".step-9.safetensors.0a1b2c3d.tmp");
    await Deno.writeTextFile(left, "half");
    await Deno.writeTextFile(run.file("mine.tmp"), "stays");
    await run.prepareToResume();
    deepEqual(names(folder), ["checkpoints", "mine.tmp", "samples"]);
    deepEqual(names(run.file("checkpoints")), []);
  });
});

Deno.test("RunFolder.writeSummary() writes JSON for people and machines", async () => {
  await inFolder(async (folder) => {
    const run = await RunFolder.create(folder);
    await run.writeSummary({ parameters: 12 });
    equal(
      await Deno.readTextFile(run.file("summary.json")),
      '{\n  "parameters": 12\n}\n',
    );
    equal(run.samplesPath(5), run.file("samples", "step-5.png"));
  });
});
