import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { downloadFile } from "../../datasets/download.ts";
import { loadMnist } from "../../datasets/mnist.ts";
import { pattern, withFolder } from "./_files.ts";

const BODY = pattern(300_000);
const SHA256 = createHash("sha256").update(BODY).digest("hex");
const MD5 = createHash("md5").update(BODY).digest("hex");

/**
 * Serves `BODY` and its accidents:
 * `/good` with ranges, `/plain` without, `/corrupt` other bytes, `/cut` ends
 * at a third of what it announced, `/moved` redirects, `/slow` never sends.
 */
async function withServer(
  use: (base: string, requests: string[]) => Promise<void>,
): Promise<void> {
  const requests: string[] = [];
  const server = Deno.serve({ port: 0, onListen: () => {} }, (request) => {
    const { pathname } = new URL(request.url);
    const range = request.headers.get("range");
    requests.push(`${pathname} ${range}`);
    const from = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
    const headers = new Headers();
    switch (pathname) {
      case "/good":
        if (range === null) return new Response(BODY);
        headers.set("content-range", `bytes */${BODY.length}`);
        if (from >= BODY.length) {
          return new Response(null, { status: 416, headers });
        }
        headers.set(
          "content-range",
          `bytes ${from}-${BODY.length - 1}/${BODY.length}`,
        );
        return new Response(BODY.subarray(from), { status: 206, headers });
      case "/plain":
        return new Response(BODY);
      case "/corrupt":
        return new Response(BODY.toReversed());
      case "/cut": {
        headers.set(
          "content-range",
          `bytes ${from}-${BODY.length - 1}/${BODY.length}`,
        );
        const part = BODY.subarray(from, from + 100_000);
        return new Response(part, { status: 206, headers });
      }
      case "/moved":
        return new Response(null, {
          status: 302,
          headers: { location: "/good" },
        });
      case "/nowhere":
        return new Response(null, { status: 304 });
      case "/slow":
        return new Response(
          new ReadableStream({ start: (c) => c.enqueue(BODY.slice(0, 9)) }),
        );
    }
    return new Response("not here", { status: 404 });
  });
  try {
    await use(`http://localhost:${server.addr.port}`, requests);
  } finally {
    await server.shutdown();
  }
}

async function names(folder: string): Promise<string[]> {
  const found = await Array.fromAsync(Deno.readDir(folder));
  return found.map((entry) => entry.name).sort();
}

Deno.test("downloadFile() lands the whole file and tells the progress", async () => {
  await withServer(async (base) => {
    for (const address of ["good", "plain", "moved"]) {
      await withFolder(async (folder) => {
        const path = `${folder}/new/file`;
        const progress: number[] = [];
        await downloadFile([`${base}/${address}`], path, {
          sha256: SHA256,
          md5: MD5,
          onProgress(done, total) {
            progress.push(done);
            assert.equal(total, BODY.length);
          },
        });
        assert.deepEqual(await Deno.readFile(path), BODY);
        assert.deepEqual(await names(`${folder}/new`), ["file"]);
        assert.equal(progress.at(-1), BODY.length);
        assert.deepEqual(progress, progress.toSorted((a, b) => a - b));
      });
    }
  });
});

Deno.test("downloadFile() continues a part", async () => {
  await withServer(async (base, requests) => {
    await withFolder(async (folder) => {
      const path = `${folder}/file`;
      for (
        const [have, request] of [
          [BODY.subarray(0, 120_000), "/good bytes=120000-"],
          [BODY, "/good bytes=300000-"], // complete: 416
        ] as const
      ) {
        await Deno.writeFile(`${path}.part`, have);
        requests.length = 0;
        await downloadFile([`${base}/good`], path, { sha256: SHA256 });
        assert.deepEqual(requests, [request]);
        assert.deepEqual(await Deno.readFile(path), BODY);
        await Deno.remove(path);
      }
      // Known to be complete by its size: no request.
      await Deno.writeFile(`${path}.part`, BODY);
      requests.length = 0;
      await downloadFile([`${base}/good`], path, {
        sha256: SHA256,
        sizeBytes: BODY.length,
      });
      assert.deepEqual(requests, []);
      assert.deepEqual(await names(folder), ["file"]);
    });
  });
});

Deno.test("downloadFile() starts over where a part is bad or cannot be continued", async () => {
  await withServer(async (base) => {
    for (const address of ["good", "plain"]) {
      for (const part of [pattern(1000, 7), pattern(400_000, 7)]) {
        await withFolder(async (folder) => {
          const path = `${folder}/file`;
          await Deno.writeFile(`${path}.part`, part);
          await downloadFile([`${base}/${address}`], path, { sha256: SHA256 });
          assert.deepEqual(await Deno.readFile(path), BODY);
        });
      }
    }
  });
});

Deno.test("downloadFile() asks again for the rest of a body that ends early", async () => {
  await withServer(async (base, requests) => {
    await withFolder(async (folder) => {
      await downloadFile([`${base}/cut`], `${folder}/file`, { md5: MD5 });
      assert.deepEqual(requests, [
        "/cut null",
        "/cut bytes=100000-",
        "/cut bytes=200000-",
      ]);
      assert.deepEqual(await Deno.readFile(`${folder}/file`), BODY);
    });
  });
});

Deno.test("downloadFile() goes on to the next address", async () => {
  await withServer(async (base) => {
    await withFolder(async (folder) => {
      const urls = ["absent", "nowhere", "corrupt", "good"].map((name) =>
        `${base}/${name}`
      );
      await downloadFile(urls, `${folder}/file`, { sha256: SHA256 });
      assert.deepEqual(await Deno.readFile(`${folder}/file`), BODY);
    });
  });
});

Deno.test("downloadFile() says why no address gave the file and leaves nothing wrong", async () => {
  await withServer(async (base) => {
    await withFolder(async (folder) => {
      const path = `${folder}/file`;
      const urls = ["absent", "corrupt"].map((name) => `${base}/${name}`);
      await assert.rejects(
        downloadFile(urls, path, { sha256: SHA256 }),
        /absent: HTTP 404 Not Found; .*corrupt: wrong checksum, so the part was deleted: sha256 is [0-9a-f]{64}, must be/,
      );
      assert.deepEqual(await names(folder), []);
      await assert.rejects(
        downloadFile([`${base}/slow`], path, { stallTimeMs: 100 }),
        /sent nothing for 100 ms/,
      );
      assert.deepEqual(await names(folder), ["file.part"]);
    });
  });
});

Deno.test("downloadFile() by two at once gives one file", async () => {
  await withServer(async (base, requests) => {
    await withFolder(async (folder) => {
      const path = `${folder}/file`;
      await Promise.all(
        [1, 2, 3].map(() =>
          downloadFile([`${base}/good`], path, { sha256: SHA256 })
        ),
      );
      assert.equal(requests.length, 1);
      assert.deepEqual(await names(folder), ["file"]);
    });
  });
});

Deno.test("loadMnist() tries the mirrors given and says what failed", async () => {
  await withServer(async (base) => {
    await withFolder(async (cacheDir) => {
      await assert.rejects(
        loadMnist("train", { cacheDir, mirrors: [`${base}/x/`] }),
        (error: Error) => {
          assert(error.cause instanceof Deno.errors.NotFound);
          assert(error.message.includes(`${cacheDir}/mnist`));
          assert.match(error.message, /HTTP 404.*--data-dir DIR/);
          return true;
        },
      );
    });
  });
});
