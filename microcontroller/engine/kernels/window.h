/* What kernels of packed steps share: windows at the edges of a map, and the bounds of outputs. */
#ifndef MBN_WINDOW_H
#define MBN_WINDOW_H
#include "packed.h"

MBN_HOT static inline void clamp_all(const mbn_step *s, int8_t *out, int32_t n) {
  if (s->low == -128 && s->high == 127) return;
  for (int32_t i = 0; i < n; i++) out[i] = out[i] < s->low ? s->low : out[i] > s->high ? s->high : out[i];
}

/* Outputs of a matrix; those that another core makes are its own to write. */
#if MBN_CORES > 1
MBN_HOT static inline void clamp_outputs(const mbn_call *c) {
  for (int32_t p = 0; p < c->n; p++) clamp_all(c->step, c->out + p * c->step->out_c + c->first, c->last - c->first);
}
#else
#define clamp_outputs(c) clamp_all((c)->step, (c)->out, (c)->n * (c)->step->out_c)
#endif

/* The rows of one pixel's window: in the map, or a copy at an edge. */
MBN_HOT static inline void window_of(const mbn_call *c, int32_t p, int8_t *copy, const int8_t *row[]) {
  const mbn_step *s = c->step;
  const int32_t in = s->in_c, line = s->kw * in, at = c->column + p * s->sw;
  const int32_t from = at < 0 ? -at * in : 0, to = c->width - at < s->kw ? (c->width - at) * in : line;
  for (int32_t ky = 0; ky < s->kh; ky++) {
    const int inside = ky >= c->ky0 && ky < c->ky1;
    const int8_t *x = inside ? c->row[ky] + at * in : 0;
    if (inside && to - from == line) { row[ky] = x; continue; }
    row[ky] = copy;
    for (int32_t i = 0; i < line; i++) *copy++ = inside && i >= from && i < to ? x[i] : s->zero_in;
  }
}
#endif
