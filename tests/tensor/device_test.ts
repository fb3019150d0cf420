import assert from "node:assert/strict";
import * as d from "../../mod.ts";

const mod = new URL("../../mod.ts", import.meta.url).href;

Deno.test("without a device the import works, and the first op says what to install", async () => {
  const script = `
    const d = await import(${JSON.stringify(mod)});
    const rng = new d.Rng(1);
    console.log(rng.permutation(1).length, d.deviceError()?.name);
    try { d.tensor([1]); } catch (error) { console.log(error.name, error.message); }
  `;
  const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-check", script],
    env: {
      DENO_WEBGPU_BACKEND: "vulkan",
      DENOISE_DEVICE: "webgpu",
      VK_DRIVER_FILES: "/nonexistent",
      VK_ICD_FILENAMES: "/nonexistent",
      NO_COLOR: "1",
    },
  }).output();
  const said = new TextDecoder().decode(stdout);
  assert(success, new TextDecoder().decode(stderr));
  assert.match(
    said,
    /^1 NoDeviceError\nNoDeviceError Cannot find a GPU adapter\. /,
  );
  const remedy = { linux: /mesa-vulkan-drivers/, darwin: /macOS/ };
  assert.match(
    said,
    remedy[Deno.build.os as keyof typeof remedy] ?? /driver/,
  );
});

Deno.test("deviceInfo() describes a device that can run this engine", async () => {
  assert.equal(d.deviceError(), null);
  const info = d.deviceInfo();
  assert(["webgpu", "cpu"].includes(info.executor));
  assert(info.adapter.length > 0);
  assert(info.maxBindingBytes >= 2 ** 27);
  assert(info.maxBindingBytes <= info.maxBufferBytes);
  assert(info.maxInvocations >= 256);
  assert(info.maxStorageBuffers >= 8);
  await d.sync();
});

Deno.test("turn() gives timers their turn in a loop that only records work", async () => {
  const x = d.ones([64, 64]);
  let fired = 0;
  const timer = setInterval(() => fired++, 1);
  const until = performance.now() + 200;
  while (performance.now() < until) {
    d.scope(() => void d.matmul(x, x));
    await d.turn();
  }
  clearInterval(timer);
  assert(fired > 0);
  await d.sync();
});
