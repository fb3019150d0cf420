import assert from "node:assert/strict";
import { deviceIn } from "../../tasks/_device.ts";

const ROOT = new URL("../../", import.meta.url);

Deno.test("the last --device of a command line counts, if there is such a device", () => {
  const named = (line: string) => deviceIn(line.split(" "));
  assert.equal(named("ddpm --steps 3"), undefined);
  assert.equal(named("ddpm --device cpu --steps 3"), "cpu");
  assert.equal(named("--device=cpu --device webgpu"), "webgpu");
  assert.equal(named("--device=gpu"), undefined);
  assert.equal(named("--device"), undefined);
});

async function doctor(env: Record<string, string>, ...args: string[]) {
  const { tasks } = JSON.parse(
    await Deno.readTextFile(new URL("deno.json", ROOT)),
  );
  const words: string[] = tasks.doctor.split(" ");
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...words.slice(1), ...args],
    cwd: ROOT,
    env: { NO_COLOR: "1", ...env },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

Deno.test("doctor --device cpu finds right gradients, and says why it is there", async () => {
  const env = { DENOISE_DEVICE: "webgpu", DENOISE_THREADS: "3" };
  const { code, out, err } = await doctor(env, "--device", "cpu", "--json");
  assert.equal(code, 0, err);
  const report = JSON.parse(out);
  assert.equal(report.ok, true);
  assert.equal(report.executor, "cpu");
  assert.match(report.adapter, /^CPU \(3 threads, WebAssembly SIMD/);
  assert.deepEqual(report.choice, { asked: "cpu", reason: "it was asked for" });
  assert(report.cpu.compiled > 10);
});

Deno.test("an unknown device is refused with the ones there are", async () => {
  const flag = await doctor({}, "--device", "gpu");
  assert.equal(flag.code, 2);
  assert.match(
    flag.err,
    /Unknown --device "gpu".* Allowed: auto, webgpu, cpu/s,
  );
  const variable = await doctor({ DENOISE_DEVICE: "gpu" });
  assert.equal(variable.code, 1);
  assert.match(
    variable.err,
    /Unknown DENOISE_DEVICE "gpu".* Allowed: auto, webgpu, cpu/s,
  );
});
