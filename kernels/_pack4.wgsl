// pack4: joined in front of a kernel written for `Pack`, lets it take elements four at a time; for
// rows whose length is a multiple of four.
alias Pack = vec4f;
const WIDTH = 4u;
fn total(v: Pack) -> f32 { return (v.x + v.y) + (v.z + v.w); }
fn largest(v: Pack) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }
fn smallest(v: Pack) -> f32 { return min(min(v.x, v.y), min(v.z, v.w)); }
