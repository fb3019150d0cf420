/**
 * A task that does nothing but what its flags say, for tests of exit codes.
 *
 * @module
 */
import {
  defineCommand,
  onInterrupt,
  runTask,
  UsageError,
  userPath,
} from "../../tasks/_cli.ts";

/** All kinds of flags. */
export const command = defineCommand({
  name: "fixture",
  summary: "Does what its flags say",
  positionals: [{
    name: "model",
    description: "The model",
    choices: ["ddpm", "vae"],
  }],
  flags: {
    steps: { type: "integer", min: 1, default: 10, description: "Steps" },
    eta: { type: "number", min: 0, max: 1, description: "Noise" },
    sampler: {
      type: "string",
      choices: ["ddpm", "ddim"],
      default: "ddpm",
      description: "The sampler",
    },
    batchSize: { type: "integer", min: 1, description: "Images per step" },
    class: { type: "list", description: "Classes" },
    set: {
      type: "list",
      split: false,
      placeholder: "a.b=VALUE",
      description: "Sets a key",
    },
    resume: {
      type: "string",
      optionalValue: true,
      placeholder: "DIR",
      description: "Continues a run",
    },
    conditional: { type: "boolean", description: "Learns the classes" },
    how: {
      type: "string",
      choices: ["throw", "usage", "reject", "code", "wait", "path"],
      description: "How to end",
    },
  },
  examples: ["deno task fixture ddpm"],
});

if (import.meta.main) {
  await runTask(command, async ({ flags }) => {
    switch (flags.how) {
      case "throw":
        throw new Error("Cannot go on");
      case "usage":
        throw new UsageError("Cannot want that");
      case "reject":
        Promise.reject(new Error("Nobody listens"));
        await new Promise((resolve) => setTimeout(resolve, 5000));
        break;
      case "code":
        return 3;
      case "path":
        console.log(userPath("runs/a"));
        break;
      case "wait": {
        let interrupted = false;
        using _ = onInterrupt(() => {
          interrupted = true;
          console.log("saving");
        });
        console.log("ready");
        for (let i = 0; i < 1000 && !interrupted; i++) {
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        // With --conditional it never gets done saving.
        if (flags.conditional) {
          await new Promise((resolve) => setTimeout(resolve, 10_000));
        }
        console.log("saved");
      }
    }
  });
}
