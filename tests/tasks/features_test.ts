/**
 * Sources of images and their features, with an extractor that is no network.
 *
 * @module
 */
import assert from "node:assert/strict";
import { loadSharp } from "../../datasets/_sharp.ts";
import {
  type FeatureExtractor,
  loadDigits,
  parseSelector,
  selectClasses,
  takeImages,
} from "../../mod.ts";
import { featuresOf } from "../../tasks/_features.ts";
import {
  arraySource,
  datasetSource,
  folderSource,
  type ImageSource,
  Interrupted,
  loadSelected,
  part,
  pick,
  shuffled,
} from "../../tasks/_image_source.ts";
import { saveImages } from "../../tasks/_images.ts";
import { inFolder } from "./_subprocess.ts";

const QUIET = { quiet: true };
const DIGITS = takeImages(loadDigits("test"), 20);

/** Mean and first byte of each image, twice the first one as logits; counts the images it sees. */
function fake(sha256 = "0f"): FeatureExtractor & { seen: number } {
  return {
    name: "fake",
    prefix: "Fake-",
    sha256,
    resize: "none",
    dimensions: 2,
    seen: 0,
    extract(images, { channels, height, width }) {
      const size = channels * height * width, n = images.length / size;
      this.seen += n;
      const features = new Float32Array(2 * n), logits = new Float32Array(n);
      for (let i = 0; i < n; i++) {
        const image = images.subarray(i * size, (i + 1) * size);
        features[2 * i] = image.reduce((sum, v) => sum + v) / size;
        features[2 * i + 1] = image[0]!;
        logits[i] = 2 * image[0]!;
      }
      return Promise.resolve({ features, logits });
    },
  };
}

/** All bytes of a source. */
const bytesOf = (source: ImageSource) => source.read(0, source.count);

Deno.test("folderSource() reads what saveImages() wrote, and knows a folder by its pixels", async () => {
  await inFolder(async (folder) => {
    await saveImages(`${folder}/a`, DIGITS.images, DIGITS);
    await saveImages(`${folder}/b/deep`, DIGITS.images, DIGITS);
    const cache = `${folder}/cache`;
    const a = await folderSource(`${folder}/a`, { ...QUIET, cache });
    assert.equal(a.count, 20);
    assert.deepEqual(a.shape, { channels: 1, height: 8, width: 8 });
    assert.deepEqual(await bytesOf(a), DIGITS.images);
    assert.deepEqual(await a.read(3, 2), DIGITS.images.slice(192, 320));
    assert.match(a.nameOf(3), /a\/00003\.png$/);
    const b = await folderSource(`${folder}/b`, QUIET);
    assert.equal(a.checksum, b.checksum);
    // From what was noted at the first call, until a file changes.
    const again = await folderSource(`${folder}/a`, { ...QUIET, cache });
    assert.equal(again.checksum, a.checksum);
    await saveImages(`${folder}/a`, DIGITS.images.slice(64, 128), DIGITS);
    const changed = await folderSource(`${folder}/a`, { ...QUIET, cache });
    assert.notEqual(changed.checksum, a.checksum);
  });
});

Deno.test("folderSource() names what is wrong with a folder", async () => {
  await inFolder(async (folder) => {
    const options = { ...QUIET, cache: `${folder}/.cache` };
    const open = (skipBad = false) =>
      folderSource(folder, { ...options, skipBad });
    await assert.rejects(open, /no images in it \(\.avif/);
    await assert.rejects(
      folderSource(`${folder}/none`, QUIET),
      /no such folder/,
    );
    await saveImages(folder, DIGITS.images, DIGITS);
    await Deno.writeTextFile(`${folder}/notes.txt`, "no image");
    const whole = await Deno.readFile(`${folder}/00007.png`);
    await Deno.writeFile(`${folder}/00007.png`, whole.slice(0, 90));
    await Deno.symlink(`${folder}/gone.png`, `${folder}/link.png`);
    await assert.rejects(open, {
      name: "UsageError",
      message:
        /3 of 22 files.*notes\.txt \(not an image\), 00007\.png \(.*link\.png \(.*--skip-bad/,
    });
    const rest = await open(true);
    assert.equal(rest.count, 19);
    assert.match(rest.warnings[0]!, /left out as 3 of 22/);
    assert.match(rest.nameOf(7), /00008/);

    const sharp = await loadSharp();
    await sharp(whole).resize(9, 6).toFile(`${folder}/z.jpg`);
    await assert.rejects(open(true), /19 of 8×8, 1 of 9×6/);
  });
});

Deno.test("folderSource() takes a colour image among grey ones as a reason for RGB, and warns of JPEG", async () => {
  await inFolder(async (folder) => {
    const grey = { width: 4, height: 4, channels: 3, background: "#808080" };
    const sharp = await loadSharp();
    const paint = (background: string, file: string) =>
      sharp({ create: { ...grey, channels: 3, background } })
        .toFile(`${folder}/${file}`);
    await paint("#808080", "a.png");
    await paint("#ff8000", "b.jpg");
    const source = await folderSource(folder, QUIET);
    assert.equal(source.shape.channels, 3);
    assert.match(source.warnings[0]!, /1 of 2 images are JPEG/);
    const bytes = await bytesOf(source);
    assert.ok(bytes.subarray(0, 48).every((v) => v === 128));
  });
});

Deno.test("datasetSource() is named by what is in it", async () => {
  const test = loadDigits("test");
  assert.equal(datasetSource(test).name, "digits/test");
  const some = datasetSource(selectClasses(test, "3,4"));
  assert.equal(some.name, "digits/test:3,4");
  assert.deepEqual(new Set(some.labels), new Set([3, 4]));
  const loaded = await loadSelected(parseSelector("digits/test:4,3"), {}, true);
  assert.equal(datasetSource(loaded).checksum, some.checksum);
  await assert.rejects(
    loadSelected(parseSelector("digits/test:11"), {}, true),
    { name: "UsageError", message: /Unknown class/ },
  );
});

Deno.test("pick() and part() take disjoint images at random, a few of many first", async () => {
  const source = datasetSource(DIGITS);
  assert.equal(pick(source, 20, 1), source);
  const mixed = shuffled(source, 1);
  const [few, more] = [pick(source, 5, 1), pick(source, 9, 1)];
  assert.equal(few.checksum, more.checksum);
  assert.deepEqual(await bytesOf(few), (await bytesOf(more)).slice(0, 5 * 64));
  const rest = part(mixed, 5, 15);
  assert.notEqual(rest.checksum, few.checksum);
  const found = [...few.labels!, ...rest.labels!].sort();
  assert.deepEqual(found, [...source.labels!].sort());
  const images = (bytes: Uint8Array) =>
    Array.from(
      { length: 20 },
      (_, i) => bytes.slice(64 * i, 64 * i + 64).join(),
    )
      .sort();
  const joined = new Uint8Array([
    ...await bytesOf(few),
    ...await bytesOf(rest),
  ]);
  assert.deepEqual(images(joined), images(DIGITS.images));
  assert.throws(() => part(source, 15, 6), RangeError);
});

Deno.test("featuresOf() is the same in pieces of any size, and later from disk", async () => {
  await inFolder(async (cache) => {
    const whole = arraySource(DIGITS.images, { name: "digits", shape: DIGITS });
    const want = await featuresOf(whole, fake(), QUIET);
    assert.deepEqual(want.features.shape, [20, 2]);
    assert.deepEqual(want.logits!.shape, [20, 1]);
    assert.equal(want.spatial, undefined);
    assert.deepEqual(want.range, [0, 255]);
    assert.equal(want.features.data[3], DIGITS.images[64]);

    const options = { ...QUIET, cache, pieceSize: 7 };
    const first = fake();
    assert.deepEqual(
      await featuresOf(whole, first, options),
      want,
    );
    assert.equal(first.seen, 20);
    const second = fake();
    assert.deepEqual(
      await featuresOf(whole, second, options),
      want,
    );
    assert.equal(second.seen, 0);
    // Of another extractor, or of fewer images, of which the first pieces are there.
    const other = fake("f0");
    await featuresOf(whole, other, options);
    assert.equal(other.seen, 20);
    await featuresOf(part(whole, 0, 15), second, options);
    assert.equal(second.seen, 1);
  });
});

Deno.test("featuresOf() goes on where it was stopped, and computes a damaged piece again", async () => {
  await inFolder(async (cache) => {
    const options = { ...QUIET, cache, pieceSize: 4 };
    const source = arraySource(DIGITS.images, {
      name: "digits",
      shape: DIGITS,
    });
    const first = fake();
    const isCancelled = () => first.seen >= 8;
    await assert.rejects(
      featuresOf(source, first, { ...options, isCancelled }),
      (error) =>
        error instanceof Interrupted &&
        /features of 8 of 20 images of digits are kept/.test(error.message),
    );
    const second = fake();
    const want = await featuresOf(source, second, options);
    assert.equal(second.seen, 12);

    const [{ name }] = await Array.fromAsync(Deno.readDir(cache)) as [
      Deno.DirEntry,
    ];
    const piece = (from: number) => `${cache}/${name}/${from}-4.safetensors`;
    const cut = await Deno.readFile(piece(0));
    await Deno.writeFile(piece(0), cut.slice(0, -3));
    const flipped = await Deno.readFile(piece(8));
    flipped[flipped.length - 1]! ^= 1;
    await Deno.writeFile(piece(8), flipped);
    const third = fake();
    assert.deepEqual(
      await featuresOf(source, third, options),
      want,
    );
    assert.equal(third.seen, 8);
  });
});

Deno.test("featuresOf() names the image whose features are not finite", async () => {
  const source = datasetSource(DIGITS);
  const bad = fake();
  const { extract } = bad;
  bad.extract = async function (images, shape) {
    const found = await extract.call(this, images, shape);
    if (this.seen > 8) found.features[6] = NaN;
    return found;
  };
  await assert.rejects(
    featuresOf(source, bad, { ...QUIET, pieceSize: 8 }),
    /fake on image 11 of digits\/test as its features must be finite: one is NaN/,
  );
});
