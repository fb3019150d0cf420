import assert from "node:assert/strict";
import { openCpu } from "../../tensor/cpu.ts";
import { deviceNamed, threadsNamed } from "../../tensor/device_choice.ts";
import { bufferOf, command, compile, open, pipeline, wordsOf } from "./_cpu.ts";

for (const threads of [0, 1, 2, 3, 5]) {
  Deno.test(`commands run in order, each over all its workgroups, on ${threads} threads`, async () => {
    using cpu = open(threads);
    const n = 1009;
    const out = cpu.allocate(4 * n, () => "out");
    const count = pipeline(cpu, "count"), step = pipeline(cpu, "step");
    cpu.dispatch(command(count, [out], 7, n));
    const want = Array.from({ length: n }, (_, i) => i + 7);
    for (let k = 0; k < 50; k++) {
      cpu.dispatch(command(step, [out], k, n));
      want.forEach((v, i) => want[i] = Math.imul(v, 3) + k | 0);
    }
    assert.deepEqual(await wordsOf(cpu, out, n), want);
  });

  Deno.test(`writes, dispatches and readbacks keep their order on ${threads} threads`, async () => {
    using cpu = open(threads);
    const buffer = bufferOf(cpu, [1, 1, 1, 1]);
    const step = pipeline(cpu, "step");
    const read: Promise<number[]>[] = [];
    const want: number[][] = [];
    for (let k = 0; k < 40; k++) {
      // Some of the data are too large to travel with the arguments.
      const large = cpu.allocate(40_000, () => "large");
      const data = new Int32Array(10_000).fill(k);
      cpu.dispatch(command(step, [large], 5, 100));
      cpu.write(large, data);
      cpu.write(buffer, Int32Array.of(k, k + 1, k + 2, k + 3));
      cpu.dispatch(command(step, [buffer], 1, 4));
      cpu.dispatch(command(step, [large], 1, 10_000));
      read.push(wordsOf(cpu, buffer), wordsOf(cpu, large, 10_000));
      cpu.dispatch(command(step, [buffer], 1, 4));
      want.push(
        [k, k + 1, k + 2, k + 3].map((v) => 3 * v + 1),
        new Array(10_000).fill(3 * k + 1),
      );
      cpu.destroy([large]);
    }
    for (const [i, words] of (await Promise.all(read)).entries()) {
      assert.deepEqual(words, want[i]);
    }
  });

  Deno.test(`a trap names its kernel at the next readback, once, on ${threads} threads`, async () => {
    using cpu = open(threads);
    const out = bufferOf(cpu, [1, 2, 3, 4]);
    const before = wordsOf(cpu, out);
    cpu.dispatch(command(pipeline(cpu, "trap"), [out], 3, 100));
    cpu.dispatch(command(pipeline(cpu, "step"), [out], 0, 4));
    const results = await Promise.allSettled([
      wordsOf(cpu, out),
      cpu.sync(),
    ]);
    assert.deepEqual(await before, [1, 2, 3, 4]);
    for (const result of results) {
      assert(result.status === "rejected");
      assert.match(
        result.reason.message,
        /^Cannot run test\.trap: unreachable/,
      );
    }
    assert.deepEqual(await wordsOf(cpu, out), [3, 6, 9, 12]);
  });

  Deno.test(`live parameters reach the run they were given to on ${threads} threads`, async () => {
    using cpu = open(threads);
    const out = bufferOf(cpu, [0, 0, 0, 0, 0]);
    const step = pipeline(cpu, "step");
    const live = [{ offset: 0, bits: () => 0 }];
    // The arguments of the program come to lie where memory has grown behind the threads' backs.
    cpu.dispatch(command(step, [out], 0, 5));
    await cpu.sync();
    for (let k = 0; k < 4000; k++) cpu.allocate(10_000, () => "something");
    const commands = Array.from({ length: 100 }, () => [
      command(step, [out], 0, 5, live),
      command(step, [out], 1, 5),
      command(step, [out], 0, 5, live),
    ]).flat();
    const program = cpu.prepare(commands);
    let want = 0;
    for (let k = 0; k < 90; k++) { // more than the ring holds
      const words = Uint32Array.from({ length: 200 }, (_, i) => i * k);
      cpu.replay(program, words);
      for (let i = 0; i < 200; i += 2) {
        want = Math.imul(want, 3) + i * k | 0;
        want = Math.imul(want, 3) + 1 | 0;
        want = Math.imul(want, 3) + (i + 1) * k | 0;
      }
    }
    assert.deepEqual(await wordsOf(cpu, out, 5), new Array(5).fill(want));
  });
}

Deno.test("more commands than the ring holds wait for their turn", async () => {
  for (const threads of [0, 2]) {
    using cpu = open(threads);
    const out = bufferOf(cpu, [0, 0, 0, 0]);
    const step = command(pipeline(cpu, "step"), [out], 1, 4);
    const program = cpu.prepare(new Array(300).fill(step));
    let want = 0;
    for (let k = 0; k < 100; k++) {
      cpu.replay(program, new Uint32Array(0));
      for (let i = 0; i < 300; i++) want = Math.imul(want, 3) + 1 | 0;
    }
    for (let k = 0; k < 20_000; k++) {
      cpu.dispatch(step);
      want = Math.imul(want, 3) + 1 | 0;
    }
    assert.deepEqual(await wordsOf(cpu, out), new Array(4).fill(want));
  }
});

Deno.test("a grid of several axes is counted along x first", async () => {
  using cpu = open(2);
  const groups = [65535, 3, 2] as const;
  const n = 65535 * 6;
  const out = cpu.allocate(4 * n, () => "out");
  cpu.dispatch(command(pipeline(cpu, "count"), [out], 1, groups));
  const words = await wordsOf(cpu, out, n);
  assert(words.every((word, i) => word === i + 1));
});

Deno.test("every thread has scratch memory of its own", async () => {
  using cpu = open(3);
  const n = 10_000;
  const out = cpu.allocate(4 * n, () => "out");
  cpu.dispatch(command(pipeline(cpu, "scratch"), [out], 0, n));
  const addresses = new Set(await wordsOf(cpu, out, n));
  assert(addresses.size <= 3);
  for (const address of addresses) assert.equal(address % 16, 0);
});

Deno.test("timers fire while long work runs", async () => {
  for (const threads of [0, 1, 2]) {
    using cpu = open(threads);
    const out = cpu.allocate(4 * 600, () => "out");
    const work = pipeline(cpu, "work");
    for (let k = 0; k < 40; k++) cpu.dispatch(command(work, [out], 1, 600));
    await cpu.sync(); // now all threads are there
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    for (let k = 0; k < 10; k++) {
      cpu.dispatch(command(work, [out], 30_000, 600));
    }
    await cpu.sync();
    clearInterval(timer);
    assert(ticks >= 2, `${ticks} ticks on ${threads} threads`);
  }
});

Deno.test("a write does not overtake work that was flushed but has not run", async () => {
  using cpu = open(2);
  const slot = cpu.allocate(4000, () => "slot");
  const results = Array.from(
    { length: 10 },
    () => cpu.allocate(4000, () => "out"),
  );
  const work = pipeline(cpu, "work"), copy = pipeline(cpu, "copy");
  for (const [k, out] of results.entries()) {
    cpu.write(slot, new Int32Array(1000).fill(k));
    cpu.dispatch(command(work, [out], 100_000, 100));
    cpu.dispatch(command(copy, [out, slot], 0, 1000));
    cpu.flush();
  }
  for (const [k, out] of results.entries()) {
    assert.deepEqual(await wordsOf(cpu, out), new Array(1000).fill(k));
  }
});

Deno.test("new memory is zero, also where memory was used before", async () => {
  using cpu = open(2);
  const step = pipeline(cpu, "step");
  for (let k = 0; k < 30; k++) {
    const buffer = cpu.allocate(4 * 5000, () => "a buffer");
    const before = wordsOf(cpu, buffer, 5000);
    cpu.dispatch(command(step, [buffer], 1, 5000));
    cpu.destroy([buffer]);
    assert((await before).every((word) => word === 0));
    if (k % 3 === 0) await cpu.sync();
  }
});

Deno.test("memory in use by queued work comes free when it must", async () => {
  using cpu = open(2, 64); // 4 MiB
  const step = pipeline(cpu, "step");
  for (let k = 0; k < 20; k++) {
    const buffer = cpu.allocate(1 << 20, () => "a buffer");
    cpu.dispatch(command(step, [buffer], 1, 1000));
    cpu.destroy([buffer]);
  }
  await cpu.sync();
  const kept = cpu.allocate(1 << 20, () => "f32[4, 65536]");
  assert.throws(() => cpu.allocate(2 << 20, () => "f32[8, 65536]"), {
    name: "RangeError",
    message:
      /^Cannot allocate f32\[8, 65536\] as it takes 2097152 bytes: of the 4194304 .* most by .*f32\[4, 65536\] \(1048576\).*; use a smaller batch$/,
  });
  // A readback that finds no room for a copy waits instead.
  cpu.dispatch(command(pipeline(cpu, "count"), [kept], 0, 1 << 18));
  const rest = cpu.allocate(700_000, () => "the rest");
  const read = cpu.read(kept, 1 << 20);
  cpu.dispatch(command(step, [kept], 0, 1 << 18));
  assert.equal(new Int32Array(await read)[77], 77);
  cpu.dispatch(command(step, [kept], 0, 1 << 18));
  cpu.write(kept, new Int32Array(1 << 18).fill(5));
  assert.equal((await wordsOf(cpu, kept))[1000], 5);
  cpu.destroy([rest]);
});

Deno.test("memory of a prepared list comes free when it is released, after its last run", async () => {
  using cpu = open(2, 64); // 4 MiB
  const out = bufferOf(cpu, [0, 0, 0, 0]);
  const steps = new Array(2000).fill(command(pipeline(cpu, "step"), [out], 1));
  for (let i = 0; i < 100; i++) { // each takes more than 100 KB
    const program = cpu.prepare(steps);
    if (i % 10 === 0) cpu.replay(program, new Uint32Array(0));
    cpu.release(program);
  }
  let want = 0;
  for (let i = 0; i < 20_000; i++) want = Math.imul(want, 3) + 1 | 0;
  assert.equal((await wordsOf(cpu, out))[0], want);
});

Deno.test("what does not compile is told at the next readback, and when it is run again", async () => {
  using cpu = open(2);
  const out = bufferOf(cpu, [1, 2, 3, 4]);
  const broken = command(pipeline(cpu, "broken"), [out], 0);
  const before = wordsOf(cpu, out);
  cpu.dispatch(broken);
  const failure = /^Cannot compile test\.broken: test:1:1: there is no broken$/;
  const results = await Promise.allSettled([cpu.sync(), wordsOf(cpu, out)]);
  assert.deepEqual(await before, [1, 2, 3, 4]);
  for (const result of results) {
    assert(result.status === "rejected");
    assert.match(result.reason.message, failure);
  }
  assert.throws(() => cpu.dispatch(broken), { message: failure });
  assert.throws(() => cpu.prepare([broken]), { message: failure });
  assert.deepEqual(await wordsOf(cpu, out), [1, 2, 3, 4]);
});

Deno.test("a kernel that uses a binding which is not passed is refused", async () => {
  using cpu = open(0);
  const out = bufferOf(cpu, [0]);
  const copy = cpu.compile({
    ...pipeline(cpu, "copy").spec,
    bindings: [{ binding: 1, writable: true }],
  });
  cpu.dispatch(command(copy, [out], 0));
  await assert.rejects(cpu.sync(), {
    message: "Cannot compile test.copy: it uses x, which is not passed",
  });
});

Deno.test("windows are checked", () => {
  using cpu = open(0);
  const out = bufferOf(cpu, [0, 0, 0, 0]);
  const { windows, ...rest } = command(pipeline(cpu, "step"), [out], 0);
  assert.throws(
    () => cpu.dispatch({ ...rest, windows: [{ ...windows[0]!, offset: 16 }] }),
    /Cannot run test\.step\(\) as it reaches past its memory: bytes 16 to 32 of 16/,
  );
  assert.throws(() => cpu.write(out, new Uint8Array(20)), RangeError);
  cpu.destroy([out]);
  assert.throws(
    () => cpu.dispatch({ ...rest, windows }),
    /uses memory that was given back/,
  );
});

Deno.test("an executor that is closed says so", async () => {
  const cpu = openCpu(compile, { threads: 2 });
  const out = bufferOf(cpu, [0, 0, 0, 0]);
  cpu.dispatch(command(pipeline(cpu, "work"), [out], 100_000_000, 4));
  const read = wordsOf(cpu, out);
  cpu.close();
  await assert.rejects(read, /The CPU executor is closed/);
  assert.throws(
    () => cpu.dispatch(command(pipeline(cpu, "step"), [out], 0)),
    /The CPU executor is closed/,
  );
});

Deno.test("DENOISE_DEVICE and DENOISE_THREADS are checked", () => {
  assert.equal(deviceNamed(undefined), "auto");
  assert.equal(deviceNamed("cpu"), "cpu");
  assert.throws(() => deviceNamed("gpu"), {
    name: "RangeError",
    message: /^Unknown DENOISE_DEVICE "gpu".* Allowed: auto, webgpu, cpu$/,
  });
  assert.equal(threadsNamed(undefined), navigator.hardwareConcurrency);
  assert.equal(threadsNamed("0"), 0);
  assert.equal(threadsNamed("64"), 64);
  for (const text of ["-1", "65", "1.5", "two", "1e1", "100"]) {
    assert.throws(() => threadsNamed(text), {
      name: "RangeError",
      message:
        `Cannot compute on ${text} threads as DENOISE_THREADS must be a ` +
        "whole number from 1 to 64",
    });
  }
});

Deno.test("the executor describes itself", () => {
  assert.match(
    openCpu(compile, { threads: 1 }).info.adapter,
    /^CPU \(1 thread, WebAssembly SIMD(, relaxed)?\)$/,
  );
  const { info } = openCpu(compile, { threads: 5 });
  assert.match(info.adapter, /^CPU \(5 threads, /);
  assert.equal(info.executor, "cpu");
});

const run = async (script: string, env: Record<string, string> = {}) => {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-check", script],
    env: { NO_COLOR: "1", DENOISE_DEVICE: "cpu", DENOISE_THREADS: "2", ...env },
  }).output();
  const decoder = new TextDecoder();
  return {
    code,
    said: decoder.decode(stdout) + decoder.decode(stderr),
  };
};

const helpers = new URL("./_cpu.ts", import.meta.url).href;

for (
  const [how, code, script] of [
    ["its end", 0, ""],
    ["Deno.exit", 3, "Deno.exit(3);"],
    ["an error", 1, "throw new Error('on purpose');"],
  ] as const
) {
  Deno.test(`threads at work do not keep a process from ${how}`, async () => {
    const result = await run(`
      const { bufferOf, command, compile, open, pipeline, wordsOf } =
        await import(${JSON.stringify(helpers)});
      const cpu = open(2);
      const out = bufferOf(cpu, [1, 2, 3, 4]);
      cpu.dispatch(command(pipeline(cpu, "step"), [out], 0, 4));
      console.log((await wordsOf(cpu, out)).join());
      cpu.dispatch(command(pipeline(cpu, "work"), [out], -1, 4000)); // hours
      ${script}`);
    assert.match(result.said, /^3,6,9,12\n/);
    assert.equal(result.code, code, result.said);
  });
}

Deno.test("memory kept for reuse goes before memory is out, and then the largest owners are named", async () => {
  const mod = new URL("../../mod.ts", import.meta.url).href;
  const kernel = new URL("../../tensor/kernel.ts", import.meta.url).href;
  const { code, said } = await run(`
    const { memory } = await import(${JSON.stringify(mod)});
    const { empties } = await import(${JSON.stringify(kernel)});
    const GIB = 2 ** 28; // elements; nothing is written, so nothing is really used
    const make = (gib) => empties([Math.round(gib * GIB)]);
    const held = [make(1.9)];
    make(0.9).dispose();
    console.log(memory().bytesPooled / 2 ** 30);
    held.push(make(1.5));
    console.log(memory().bytesPooled, held.length);
    try { make(1); } catch (error) { console.log(error.name, error.message); }`);
  assert.equal(code, 0, said);
  assert.match(
    said,
    /^0\.9\d*\n0 2\nRangeError Cannot allocate f32\[268435456\] as it takes 1073741824 bytes: .* most by f32\[510027366\] .* use a smaller batch/,
  );
});

Deno.test("training gives the same bits on any number of threads", async () => {
  const mod = new URL("../../mod.ts", import.meta.url).href;
  const script = `
    const d = await import(${JSON.stringify(mod)});
    const rng = new d.Rng(5);
    const conv = new d.Conv2d(3, 8, 3, rng, { padding: 1 });
    const norm = new d.GroupNorm(2, 8);
    const head = new d.Linear(8 * 49, 5, rng);
    const parameters = [conv, norm, head].flatMap((layer) => layer.parameters());
    const optimizer = new d.Adam(parameters, { learningRate: 0.01 });
    const x = rng.normal([7, 3, 7, 7]), y = rng.normal([7, 5]);
    const step = d.capture(() => {
      const h = d.silu(norm.forward(conv.forward(x)));
      const loss = d.mseLoss(head.forward(d.flatten(h, 1)), y);
      optimizer.step(d.gradients(loss, parameters));
      return { loss };
    });
    for (let i = 0; i < 20; i++) step.replay({});
    const losses = (await step.outputs()).map(({ loss }) => loss[0]);
    if (!(losses.at(-1) < losses[0] / 2)) throw new Error(losses.join());
    let hash = 0;
    for (const parameter of parameters) {
      for (const bits of new Uint32Array((await parameter.data()).buffer)) {
        hash = Math.imul(hash ^ bits, 16777619) >>> 0;
      }
    }
    console.log(hash);`;
  const hashes = new Set<string>();
  for (const threads of ["0", "2", "5"]) {
    const result = await run(script, { DENOISE_THREADS: threads });
    assert.equal(result.code, 0, result.said);
    hashes.add(result.said);
  }
  assert.equal(hashes.size, 1);
});
