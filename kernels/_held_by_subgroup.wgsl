// held_by_subgroup: joined in front of a kernel whose invocations walk rows in step, has each
// invocation of a subgroup read one row, and hand it to the others. For the software driver, where
// a load takes some 300 instructions, at equal indices too, and handing round takes one a number.
fn held_count() -> u32 { return subgroupAdd(1u); } // rows at hand at a time
fn holder() -> u32 { return subgroupExclusiveAdd(1u); } // which of them this invocation reads
fn held_by(x: vec4f, j: u32) -> vec4f { return subgroupShuffle(x, j); } // of row j
fn is_needed(works: bool) -> bool { return subgroupAny(works); } // whether this invocation must stay
