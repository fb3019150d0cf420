// pack4: joined in front of a kernel written for `Pack`, lets it take elements four at a time; for
// rows whose length is a multiple of four.
alias Pack = vec4f;
const WIDTH = 4u;
fn total(v: Pack) -> f32 { return (v.x + v.y) + (v.z + v.w); }
