/**
 * The kinds of model that `sample` knows.
 *
 * @module
 */
import { kebab, UsageError } from "./_cli.ts";
import { ddpmGenerator } from "./_ddpm_generator.ts";
import { ganGenerator } from "./_gan_generator.ts";
import {
  drawFlags,
  type Generator,
  type GeneratorKind,
  type GeneratorSource,
} from "./_generator.ts";
import { readCheckpoint } from "./_trainer.ts";
import { vaeGenerator } from "./_vae_generator.ts";

/** By the name of the model in a checkpoint. */
const GENERATORS: Readonly<Record<string, GeneratorKind>> = {
  ddpm: ddpmGenerator,
  joint: ddpmGenerator,
  gan: ganGenerator,
  vae: vaeGenerator,
};

/** All flags of `sample` that say what to draw and how. */
export const generatorFlags = {
  ...drawFlags,
  ...ddpmGenerator.flags,
  ...ganGenerator.flags,
  ...vaeGenerator.flags,
} as const;

/**
 * Makes a generator of a checkpoint of any kind.
 *
 * @param flags Values of `generatorFlags`.
 * @param given Those on the command line.
 * @throws {UsageError} If its model is none to draw from, or not by these flags.
 */
export async function openGenerator(
  source: GeneratorSource,
  flags: Readonly<Record<string, unknown>>,
  given: ReadonlySet<string>,
): Promise<Generator> {
  const { bytes, path } = source.checkpoint;
  const { model } = readCheckpoint(bytes, path);
  const kind = GENERATORS[model];
  if (!kind) {
    throw new UsageError(
      `Cannot use ${path} as it is a checkpoint of ${model}, not of ${
        listed(Object.keys(GENERATORS))
      }`,
    );
  }
  for (const name of given) {
    if (!(name in generatorFlags)) continue; // says where to write
    if (name in drawFlags || name in kind.flags) continue;
    const takers = Object.keys(GENERATORS)
      .filter((other) => name in GENERATORS[other]!.flags);
    throw new UsageError(
      `--${kebab(name)} is for runs of ${
        listed(takers)
      }: ${source.run.name} is one of ${model}`,
    );
  }
  return await kind.open(source, flags as Parameters<GeneratorKind["open"]>[1]);
}

/** `a, b or c` */
function listed(names: readonly string[]): string {
  return names.join(", ").replace(/, ([^,]*)$/, " or $1");
}
