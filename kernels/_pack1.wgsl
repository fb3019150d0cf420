// pack1: joined in front of a kernel written for `Pack`, lets it take elements one by one.
alias Pack = f32;
const WIDTH = 1u;
fn total(v: Pack) -> f32 { return v; }
fn largest(v: Pack) -> f32 { return v; }
fn smallest(v: Pack) -> f32 { return v; }
