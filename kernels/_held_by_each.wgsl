// held_by_each: joined in front of a kernel whose invocations walk rows in step, has each of them read
// every row itself: equal indices, which GPUs read once.
fn held_count() -> u32 { return 1u; } // rows at hand at a time
fn holder() -> u32 { return 0u; } // which of them this invocation reads
fn held_by(x: vec4f, j: u32) -> vec4f { return x; } // of row j
fn is_needed(works: bool) -> bool { return works; } // whether this invocation must stay
