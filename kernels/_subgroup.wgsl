// subgroup: 32 x 32 sums of a subgroup of 8 invocations, for software drivers with vectors of 8.
//   sum[row, column] += over four terms k of a[row, k] * b[k, column]
// There a load from a buffer costs some ten times a multiplication, as its bounds are checked for
// each invocation and element, and a value that is carried through a loop is blended with a mask
// at its end. So all 8 invocations share what each of them loads, loads are vectors of four, and
// four terms are added at once.
// An invocation holds four columns of all 32 rows. Of a it holds rows 4 * lane + (0 to 3), each a
// vector of four terms; of b its own columns, a vector of them for each of the four terms.
// Sums are named, as indexed ones would leave the registers.
var<private> sum00: vec4f; var<private> sum01: vec4f; var<private> sum02: vec4f; var<private> sum03: vec4f;
var<private> sum04: vec4f; var<private> sum05: vec4f; var<private> sum06: vec4f; var<private> sum07: vec4f;
var<private> sum08: vec4f; var<private> sum09: vec4f; var<private> sum10: vec4f; var<private> sum11: vec4f;
var<private> sum12: vec4f; var<private> sum13: vec4f; var<private> sum14: vec4f; var<private> sum15: vec4f;
var<private> sum16: vec4f; var<private> sum17: vec4f; var<private> sum18: vec4f; var<private> sum19: vec4f;
var<private> sum20: vec4f; var<private> sum21: vec4f; var<private> sum22: vec4f; var<private> sum23: vec4f;
var<private> sum24: vec4f; var<private> sum25: vec4f; var<private> sum26: vec4f; var<private> sum27: vec4f;
var<private> sum28: vec4f; var<private> sum29: vec4f; var<private> sum30: vec4f; var<private> sum31: vec4f;

const ROWS = 32u;
const COLUMNS = 32u; // 4 per invocation
const WORKGROUP_SIZE = 8u; // one subgroup

fn plus(sum: vec4f, a: vec4f, lane: u32, b0: vec4f, b1: vec4f, b2: vec4f, b3: vec4f) -> vec4f {
  let terms = subgroupShuffle(a, lane);
  return fma(vec4f(terms.w), b3, fma(vec4f(terms.z), b2,
    fma(vec4f(terms.y), b1, fma(vec4f(terms.x), b0, sum))));
}

fn add_terms(a0: vec4f, a1: vec4f, a2: vec4f, a3: vec4f,
             b0: vec4f, b1: vec4f, b2: vec4f, b3: vec4f) {
  sum00 = plus(sum00, a0, 0u, b0, b1, b2, b3);
  sum01 = plus(sum01, a1, 0u, b0, b1, b2, b3);
  sum02 = plus(sum02, a2, 0u, b0, b1, b2, b3);
  sum03 = plus(sum03, a3, 0u, b0, b1, b2, b3);
  sum04 = plus(sum04, a0, 1u, b0, b1, b2, b3);
  sum05 = plus(sum05, a1, 1u, b0, b1, b2, b3);
  sum06 = plus(sum06, a2, 1u, b0, b1, b2, b3);
  sum07 = plus(sum07, a3, 1u, b0, b1, b2, b3);
  sum08 = plus(sum08, a0, 2u, b0, b1, b2, b3);
  sum09 = plus(sum09, a1, 2u, b0, b1, b2, b3);
  sum10 = plus(sum10, a2, 2u, b0, b1, b2, b3);
  sum11 = plus(sum11, a3, 2u, b0, b1, b2, b3);
  sum12 = plus(sum12, a0, 3u, b0, b1, b2, b3);
  sum13 = plus(sum13, a1, 3u, b0, b1, b2, b3);
  sum14 = plus(sum14, a2, 3u, b0, b1, b2, b3);
  sum15 = plus(sum15, a3, 3u, b0, b1, b2, b3);
  sum16 = plus(sum16, a0, 4u, b0, b1, b2, b3);
  sum17 = plus(sum17, a1, 4u, b0, b1, b2, b3);
  sum18 = plus(sum18, a2, 4u, b0, b1, b2, b3);
  sum19 = plus(sum19, a3, 4u, b0, b1, b2, b3);
  sum20 = plus(sum20, a0, 5u, b0, b1, b2, b3);
  sum21 = plus(sum21, a1, 5u, b0, b1, b2, b3);
  sum22 = plus(sum22, a2, 5u, b0, b1, b2, b3);
  sum23 = plus(sum23, a3, 5u, b0, b1, b2, b3);
  sum24 = plus(sum24, a0, 6u, b0, b1, b2, b3);
  sum25 = plus(sum25, a1, 6u, b0, b1, b2, b3);
  sum26 = plus(sum26, a2, 6u, b0, b1, b2, b3);
  sum27 = plus(sum27, a3, 6u, b0, b1, b2, b3);
  sum28 = plus(sum28, a0, 7u, b0, b1, b2, b3);
  sum29 = plus(sum29, a1, 7u, b0, b1, b2, b3);
  sum30 = plus(sum30, a2, 7u, b0, b1, b2, b3);
  sum31 = plus(sum31, a3, 7u, b0, b1, b2, b3);
}

fn one_of(j: u32, s0: vec4f, s1: vec4f, s2: vec4f, s3: vec4f,
          s4: vec4f, s5: vec4f, s6: vec4f, s7: vec4f) -> vec4f {
  let odd = (j & 1u) == 1u;
  let low = select(select(s0, s1, odd), select(s2, s3, odd), (j & 2u) == 2u);
  let high = select(select(s4, s5, odd), select(s6, s7, odd), (j & 2u) == 2u);
  return select(low, high, j >= 4u);
}

// The sums of rows 4 * j + (0 to 3). Stores in a loop over j compile in a fraction of the time.
fn sums_of(j: u32) -> mat4x4f {
  return mat4x4f(
    one_of(j, sum00, sum04, sum08, sum12, sum16, sum20, sum24, sum28),
    one_of(j, sum01, sum05, sum09, sum13, sum17, sum21, sum25, sum29),
    one_of(j, sum02, sum06, sum10, sum14, sum18, sum22, sum26, sum30),
    one_of(j, sum03, sum07, sum11, sum15, sum19, sum23, sum27, sum31));
}
