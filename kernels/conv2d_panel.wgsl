// conv2d_panel: the products of conv2d (_conv2d.wgsl says which), for a processor whose vectors hold
// four numbers: an invocation keeps 12 vectors of sums, and nothing is tested while it adds.
// To that end images are written down once with zeros around them, and weights in panels of six rows:
//   packed x   a plane for each residue of the step, so that pixels that follow each other in a sum
//              follow each other in memory: plane[Y, X] = x[step * (Y - lead) + residue]
//   packed w   [group, panel, tap, channel, 6], zeros in rows that there are not; the last panels may
//              be narrow ones of four rows, as most numbers of channels are sums of sixes and fours
//   plan       for each phase: how many taps have a part in it; each tap's number, and where it lies
//              in packed x, as seen from the first pixel
// convolve     6 or 4 rows x 2 quads: four pixels that follow each other in a line; the last quad of a line
//              overlaps the one before. A line of fewer than four is read as one of four
// weight_gradient  2 rows x 6 columns. Its packed x and dy hold [channel, image], planes of equal size
//              without zeros on the right: what a tap reads there are the zeros that begin the next
//              line. So a sum is one walk through both, a piece of which belongs to a split. Where
//              taps see no neighbours, x and dy are read in place instead, a walk for each image
// dispatch     one invocation to a workgroup
struct Params {
  batch: u32, groups: u32, rows: u32, channels: u32, // rows and channels: of one group
  weight_group: u32, weight_row: u32, weight_channel: u32, // strides
  has_bias: u32,
  panels: u32, wide_panels: u32, // of a group
  // weight_gradient: a split takes one of the pieces of each of some walks
  splits: u32, pieces: u32, piece: u32, walk: u32, // words of a piece, and of a walk
  walks: u32, walks_per_split: u32,
  x_walk: u32, dy_walk: u32, dy_channel: u32, // strides from a walk, or a channel, to the next
  taps: vec2u, size: vec2u, out_size: vec2u, // height, width
  origin: vec2i, spacing: vec2i, phases: vec2u, step: vec2u, // as in _conv2d.wgsl
  lead: vec2u, padded: vec2u, // zeros before an image, and its size with those around it
  to_image: u32, to_channel: u32, to_residue: u32, // strides of packed x
  tail: u32, // zeros after the last image
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read> plan: array<u32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
@group(0) @binding(7) var<storage, read_write> plan_out: array<u32>;
const ROWS = 6u;
const NARROW_ROWS = 4u;
const PANELS = 4u; // of convolve, one after another
const GRADIENT_ROWS = 2u;
const GRADIENT_RUN = 8u; // rows of weight_gradient, two after two
const GRADIENT_COLUMNS = 6u;

fn place_four(at: u32, four: vec4f) {
  out[at] = four.x;
  out[at + 1u] = four.y;
  out[at + 2u] = four.z;
  out[at + 3u] = four.w;
}

fn first_row_of(panel: u32) -> u32 {
  return panel * ROWS - (ROWS - NARROW_ROWS) * (max(panel, params.wide_panels) - params.wide_panels);
}

@compute @workgroup_size(1)
fn pack_weight(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let taps = params.taps.x * params.taps.y;
  let panel = wg.x + wg.y * grid.x; // of all groups
  if (panel >= params.groups * params.panels) { return; }
  let row = first_row_of(panel % params.panels);
  let start = panel / params.panels * params.weight_group;
  for (var t = 0u; t < ROWS; t++) {
    let inside = row + t < params.rows;
    let source = start + min(row + t, params.rows - 1u) * params.weight_row;
    for (var tap = 0u; tap < taps; tap++) {
      var at = source + tap;
      var to = (panel * taps + tap) * params.channels * ROWS + t;
      for (var c = 0u; c < params.channels; c++) {
        out[to] = select(0.0, weight[at], inside);
        at += params.weight_channel;
        to += ROWS;
      }
    }
  }
}

@compute @workgroup_size(1)
fn make_plan(@builtin(workgroup_id) wg: vec3u) {
  if (wg.x > 0u) { return; }
  let phases = vec2i(params.phases);
  var to = 0u;
  for (var phase_y = 0; phase_y < phases.x; phase_y++) {
    for (var phase_x = 0; phase_x < phases.y; phase_x++) {
      var count = 0u;
      for (var tap_y = 0u; tap_y < params.taps.x; tap_y++) {
        for (var tap_x = 0u; tap_x < params.taps.y; tap_x++) {
          let offset = params.origin + vec2i(phase_y, phase_x) +
            params.spacing * vec2i(vec2u(tap_y, tap_x));
          if (offset.x % phases.x != 0 || offset.y % phases.y != 0) { continue; }
          let start = vec2u(offset / phases) + params.lead * params.step;
          let residue = start % params.step;
          let place = start / params.step;
          plan_out[to + 1u + 2u * count] = tap_y * params.taps.y + tap_x;
          plan_out[to + 2u + 2u * count] =
            (residue.x * params.step.y + residue.y) * params.to_residue +
            place.x * params.padded.y + place.y;
          count++;
        }
      }
      plan_out[to] = count;
      to += 1u + 2u * params.taps.x * params.taps.y;
    }
  }
}

fn clear(first: u32, count: u32) {
  var to = first;
  for (var i = 0u; i < count / 4u; i++) {
    place_four(to, vec4f());
    to += 4u;
  }
  for (var i = 0u; i < count % 4u; i++) { out[to + i] = 0.0; }
}

@compute @workgroup_size(1)
fn pack_image(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = wg.x + wg.y * grid.x;
  let residues = params.step.x * params.step.y;
  let residue = vec2u(i % residues / params.step.y, i % params.step.y);
  let plane = i / residues;
  let channels = params.groups * params.channels;
  let n = plane / channels;
  if (n >= params.batch) { return; }
  let start = n * params.to_image + plane % channels * params.to_channel + i % residues * params.to_residue;
  clear(start, params.padded.x * params.padded.y + select(0u, params.tail, n + 1u == params.batch));
  let width = (params.size.y + params.step.y - 1u - residue.y) / params.step.y;
  let copied = min(width, params.padded.y - params.lead.y);
  if (residues == 1u && copied % 4u == 0u && copied == width) {
    // In one loop, as the lines of small images are too short for one each.
    let lines = min(params.size.x, params.padded.x - params.lead.x);
    var to = start + params.lead.x * params.padded.y + params.lead.y;
    var at = plane * params.size.x * params.size.y;
    var in_line = 0u;
    for (var q = 0u; q < lines * width / 4u; q++) {
      place_four(to, vec4f(x[at], x[at + 1u], x[at + 2u], x[at + 3u]));
      at += 4u;
      to += 4u;
      in_line += 4u;
      if (in_line == width) {
        in_line = 0u;
        to += params.padded.y - width;
      }
    }
    return;
  }
  let quads = select(0u, copied / 4u, params.step.y == 1u);
  let rest = copied - 4u * quads;
  var y = residue.x;
  for (var line = params.lead.x; line < params.padded.x && y < params.size.x; line++) {
    var to = start + line * params.padded.y + params.lead.y;
    var at = (plane * params.size.x + y) * params.size.y + residue.y;
    for (var q = 0u; q < quads; q++) {
      place_four(to, vec4f(x[at], x[at + 1u], x[at + 2u], x[at + 3u]));
      at += 4u;
      to += 4u;
    }
    for (var q = 0u; q < rest; q++) {
      out[to] = x[at];
      at += params.step.y;
      to++;
    }
    y += params.step.x;
  }
}

// Four pixels that follow each other.
struct Quad { n: u32, y: u32, x: u32, valid: bool }

fn quad_of(i: u32, size: vec2u) -> Quad {
  let quads = (size.y + 3u) / 4u;
  let line = i / quads;
  let inside = min(line, params.batch * size.x - 1u);
  let n = inside / size.x;
  return Quad(n, inside - n * size.x,
    min(i % quads * 4u, max(size.y, 4u) - 4u), line < params.batch * size.x);
}

// A quad's sums of one row, in which its first pixel lies at `at`.
fn store(at: u32, quad: Quad, phase: vec2u, width: u32, sums: vec4f) {
  let step = params.phases.y;
  if (!quad.valid || quad.y * params.phases.x + phase.x >= params.out_size.x) { return; }
  if (step == 1u && width >= 4u) {
    place_four(at, sums);
    return;
  }
  // Of the last pixels of a phase, some may lie outside.
  let x = quad.x * step + phase.y;
  let end = params.out_size.y;
  if (x < end) { out[at] = sums.x; }
  if (x + step < end) { out[at + step] = sums.y; }
  if (x + 2u * step < end) { out[at + 2u * step] = sums.z; }
  if (x + 3u * step < end) { out[at + 3u * step] = sums.w; }
}

@compute @workgroup_size(1)
fn convolve(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  var tile = wg.x + wg.y * grid.x;
  let runs = (params.panels + PANELS - 1u) / PANELS;
  let first = tile % runs * PANELS;
  tile /= runs;
  let group = tile % params.groups;
  tile /= params.groups;
  let phase = vec2u(tile / params.phases.y % params.phases.x, tile % params.phases.y);
  tile /= params.phases.x * params.phases.y;
  let size = (params.out_size + params.phases - 1u) / params.phases;
  let left = quad_of(2u * tile, size);
  let right = quad_of(2u * tile + 1u, size);
  if (!left.valid) { return; }
  let start = group * params.channels * params.to_channel;
  let l_at = start + left.n * params.to_image + left.y * params.padded.y + left.x;
  let r_at = start + right.n * params.to_image + right.y * params.padded.y + right.x;

  let taps = params.taps.x * params.taps.y;
  let plan_at = (phase.x * params.phases.y + phase.y) * (1u + 2u * taps);
  let count = plan[plan_at];
  let out_plane = params.out_size.x * params.out_size.y;
  for (var panel = first; panel < min(first + PANELS, params.panels); panel++) {
    let row = first_row_of(panel);
    let wide = panel < params.wide_panels;
    var l: array<vec4f, ROWS>;
    var r: array<vec4f, ROWS>;
    for (var tap = 0u; tap < count; tap++) {
      let number = plan[plan_at + 1u + 2u * tap];
      let place = plan[plan_at + 2u + 2u * tap];
      var w = ((group * params.panels + panel) * taps + number) * params.channels * ROWS;
      var i = l_at + place;
      var j = r_at + place;
      if (wide) {
        for (var c = 0u; c < params.channels; c++) {
          let xl = vec4f(x[i], x[i + 1u], x[i + 2u], x[i + 3u]);
          let xr = vec4f(x[j], x[j + 1u], x[j + 2u], x[j + 3u]);
          for (var t = 0u; t < ROWS; t++) {
            let factor = vec4f(weight[w + t]);
            l[t] = fma(factor, xl, l[t]);
            r[t] = fma(factor, xr, r[t]);
          }
          i += params.to_channel;
          j += params.to_channel;
          w += ROWS;
        }
      } else {
        for (var c = 0u; c < params.channels; c++) {
          let xl = vec4f(x[i], x[i + 1u], x[i + 2u], x[i + 3u]);
          let xr = vec4f(x[j], x[j + 1u], x[j + 2u], x[j + 3u]);
          for (var t = 0u; t < NARROW_ROWS; t++) {
            let factor = vec4f(weight[w + t]);
            l[t] = fma(factor, xl, l[t]);
            r[t] = fma(factor, xr, r[t]);
          }
          i += params.to_channel;
          j += params.to_channel;
          w += ROWS;
        }
      }
    }
    let first_row = group * params.rows + row;
    let l_row = left.n * params.groups * params.rows + first_row;
    let r_row = right.n * params.groups * params.rows + first_row;
    let l_out = l_row * out_plane +
      (left.y * params.phases.x + phase.x) * params.out_size.y + left.x * params.phases.y + phase.y;
    let r_out = r_row * out_plane +
      (right.y * params.phases.x + phase.x) * params.out_size.y + right.x * params.phases.y + phase.y;
    // Rows that there are not are computed, too. Short loops, as only such are unrolled, and sums are
    // to stay in registers.
    for (var t = 0u; t < ROWS; t++) {
      var b = 0.0;
      if (params.has_bias == 1u) { b = bias[first_row + t]; }
      l[t] += b;
      r[t] += b;
    }
    let pixels = params.phases.y * vec4u(0u, 1u, 2u, 3u);
    for (var t = 0u; t < ROWS; t++) {
      l[t] = finish(l[t], l_out + t * out_plane + pixels, vec4u(l_row + t));
    }
    for (var t = 0u; t < ROWS; t++) {
      r[t] = finish(r[t], r_out + t * out_plane + pixels, vec4u(r_row + t));
    }
    for (var t = 0u; t < ROWS; t++) {
      if (row + t < params.rows && (wide || t < NARROW_ROWS)) {
        store(l_out + t * out_plane, left, phase, size.y, l[t]);
        store(r_out + t * out_plane, right, phase, size.y, r[t]);
      }
    }
  }
}

fn total(v: vec4f) -> f32 {
  return (v.x + v.y) + (v.z + v.w);
}

@compute @workgroup_size(1)
fn weight_gradient(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  var tile = wg.x + wg.y * grid.x;
  let taps = params.taps.x * params.taps.y;
  let count = params.channels * taps;
  let column_tiles = (count + GRADIENT_COLUMNS - 1u) / GRADIENT_COLUMNS;
  let column = tile % column_tiles * GRADIENT_COLUMNS;
  tile /= column_tiles;
  let runs = (params.rows + GRADIENT_RUN - 1u) / GRADIENT_RUN;
  let first_row = tile % runs * GRADIENT_RUN;
  tile /= runs;
  let group = tile % params.groups;
  let split = tile / params.groups;
  if (split >= params.splits) { return; }

  let first = split % params.pieces * params.piece;
  let end = min(first + params.piece, params.walk);
  let first_walk = split / params.pieces * params.walks_per_split;
  let last_walk = min(first_walk + params.walks_per_split, params.walks);
  var starts: array<u32, GRADIENT_COLUMNS>;
  var channel = column / taps;
  var tap = column - channel * taps;
  for (var t = 0u; t < GRADIENT_COLUMNS; t++) {
    starts[t] = (group * params.channels + min(channel, params.channels - 1u)) * params.to_channel +
      plan[2u + 2u * tap] + first;
    tap++;
    if (tap == taps) {
      tap = 0u;
      channel++;
    }
  }
  let last_row = min(first_row + GRADIENT_RUN, params.rows);
  for (var row = first_row; row < last_row; row += GRADIENT_ROWS) {
    let next = min(row + 1u, params.rows - 1u);
    var sums0: array<vec4f, GRADIENT_COLUMNS>;
    var sums1: array<vec4f, GRADIENT_COLUMNS>;
    for (var walk = first_walk; walk < last_walk; walk++) {
      var at: array<u32, GRADIENT_COLUMNS>;
      for (var t = 0u; t < GRADIENT_COLUMNS; t++) { at[t] = starts[t] + walk * params.x_walk; }
      let start = walk * params.dy_walk + first;
      var d0 = (group * params.rows + row) * params.dy_channel + start;
      var d1 = (group * params.rows + next) * params.dy_channel + start;
      for (var q = first; q < end; q += 4u) {
        let y0 = vec4f(dy[d0], dy[d0 + 1u], dy[d0 + 2u], dy[d0 + 3u]);
        let y1 = vec4f(dy[d1], dy[d1 + 1u], dy[d1 + 2u], dy[d1 + 3u]);
        for (var t = 0u; t < GRADIENT_COLUMNS; t++) {
          let j = at[t];
          let four = vec4f(x[j], x[j + 1u], x[j + 2u], x[j + 3u]);
          sums0[t] = fma(four, y0, sums0[t]);
          sums1[t] = fma(four, y1, sums1[t]);
          at[t] += 4u;
        }
        d0 += 4u;
        d1 += 4u;
      }
    }
    let to = ((split * params.groups + group) * params.rows + row) * count + column;
    for (var t = 0u; t < GRADIENT_COLUMNS; t++) {
      if (column + t < count) {
        out[to + t] = total(sums0[t]);
        if (next > row) { out[to + count + t] = total(sums1[t]); }
      }
    }
  }
}
