import { strictEqual } from "node:assert/strict";
import { schedules } from "../../mod.ts";
import { assertClose } from "../_check.ts";

const exact = { rtol: 1e-14, atol: 1e-18 };
const rates = (schedule: schedules.Schedule, ...steps: number[]) =>
  steps.map(schedule);

Deno.test("constant() never changes", async () => {
  await assertClose(
    rates(schedules.constant(0.1), 0, 5, 1e6),
    [0.1, 0.1, 0.1],
    exact,
  );
});

Deno.test("linearWarmup() rises in equal steps and stays", async () => {
  const schedule = schedules.linearWarmup(2, {
    warmupSteps: 4,
    startFactor: 0.5,
  });
  await assertClose(
    rates(schedule, 0, 1, 2, 4, 9),
    [1, 1.25, 1.5, 2, 2],
    exact,
  );
  await assertClose(
    rates(schedules.linearWarmup(3, { warmupSteps: 2 }), 0, 1),
    [1, 2],
    exact,
  );
  strictEqual(schedules.linearWarmup(3, { warmupSteps: 0 })(0), 3);
});

Deno.test("cosine() goes from base to min and rises again", async () => {
  const schedule = schedules.cosine(1, { totalSteps: 6, min: 0.2 });
  await assertClose(rates(schedule, 0, 2, 3, 4, 6, 12), [
    1,
    0.8,
    0.6,
    0.4,
    0.2,
    1,
  ], exact);
});

Deno.test("warmupCosine() is as its formula says at every corner", async () => {
  const schedule = schedules.warmupCosine(1, {
    warmupSteps: 4,
    totalSteps: 10,
    min: 0.2,
  });
  await assertClose(
    rates(schedule, 0, 1, 3, 4, 6, 7, 10, 99),
    [0.25, 0.5, 1, 1, 0.8, 0.6, 0.2, 0.2],
    exact,
  );
  strictEqual(
    schedules.warmupCosine(1, { warmupSteps: 0, totalSteps: 2 })(0),
    1,
  );
});

Deno.test("stepDecay() and exponential() are powers", async () => {
  const steps = schedules.stepDecay(8, { stepSize: 3, gamma: 0.5 });
  await assertClose(rates(steps, 0, 2, 3, 5, 6), [8, 8, 4, 4, 2], exact);
  await assertClose(
    rates(schedules.stepDecay(1, { stepSize: 2 }), 2),
    [0.1],
    exact,
  );
  await assertClose(
    rates(schedules.exponential(8, 0.5), 0, 1, 3),
    [8, 4, 1],
    exact,
  );
});
