import * as d from "../../mod.ts";
import { assertClose } from "../_check.ts";

const exactly = { atol: 0, rtol: 0 };

Deno.test("cast() goes towards zero and stays in range", async () => {
  const x = d.tensor([1.9, -1.9, 0, -0.5, 3e9, -3e9, 1e20]);
  const i32 = d.cast(x, "i32"), u32 = d.cast(x, "u32");
  await assertClose(
    i32,
    [1, -1, 0, 0, 2147483520, -2147483648, 2147483520],
    exactly,
  );
  await assertClose(u32, [1, 0, 0, 0, 3e9, 0, 4294967040], exactly);
});

Deno.test("cast() keeps whole numbers, and bits between signed and unsigned", async () => {
  const x = d.tensor(Int32Array.of(-7, 0, 16777216, -2147483648));
  await assertClose(d.cast(x, "f32"), [-7, 0, 16777216, -2147483648], exactly);
  const unsigned = d.cast(x, "u32");
  await assertClose(unsigned, [4294967289, 0, 16777216, 2147483648], exactly);
  await assertClose(d.cast(unsigned, "f32"), [
    4294967296,
    0,
    16777216,
    2147483648,
  ], exactly);
  await assertClose(d.cast(unsigned, "i32"), x, exactly);
});

Deno.test("cast() works past the workgroup, on scalars and on nothing", async () => {
  const x = d.tensor(Float32Array.from({ length: 131 }, (_, i) => i + 0.5));
  await assertClose(
    d.cast(x, "i32"),
    Array.from({ length: 131 }, (_, i) => i),
    exactly,
  );
  await assertClose(
    d.cast(d.full([], 3), "i32"),
    d.full([], 3, "i32"),
    exactly,
  );
  await assertClose(
    d.cast(d.zeros([2, 0]), "u32"),
    d.zeros([2, 0], "u32"),
    exactly,
  );
});
