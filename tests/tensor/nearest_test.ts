import assert from "node:assert/strict";
import { nearest } from "../../tensor/nearest.ts";

Deno.test("nearest() finds the word meant", () => {
  const words = ["learningRate", "batchSize", "cat", "frog", "cifar10"];
  assert.equal(nearest("lerningRate", words), "learningRate");
  assert.equal(nearest("BATCHSIZE", words), "batchSize");
  assert.equal(nearest("act", words), "cat"); // a swap is one error
  assert.equal(nearest("cifar", words), "cifar10");
  assert.equal(nearest("cats", words), "cat");
});

Deno.test("nearest() finds nothing for a word that is far from all", () => {
  assert.equal(nearest("elephant", ["cat", "frog"]), undefined);
  assert.equal(nearest("x", ["cat", "7"]), undefined);
  assert.equal(nearest("", ["cat"]), undefined);
  assert.equal(nearest("cat", []), undefined);
});
