/* Every layout on every computer: a weight at a time is taken out of the packed ones. Slow, and so short that it is the layouts' definition;
 * compiled with -DMBN_EVERY_LAYOUT only, where files for other cores are checked and fuzzed. */
#include "kernels.h"
#include "packed.h"
#ifdef MBN_EVERY_LAYOUT
#include "fixedpoint.h"

/* The weight of output o and tap t: (ky, kx, channel) of CONV, (ky, kx) of DEPTHWISE. */
typedef int32_t (*weight_of)(const mbn_step *s, const int8_t *w, int32_t o, int32_t t);

/* Where a tap stands when whole words of the window's rows come first. */
static int32_t words_first(const mbn_step *s, int32_t t) {
  const int32_t line = s->kw * s->in_c, whole = line & ~3, ky = t / line, i = t % line;
  return i < whole ? ky * whole + i : s->kh * whole + ky * (line - whole) + i - whole;
}

static int32_t halfword(const int8_t *w, int32_t i) { return (int16_t)((uint8_t)w[2 * i] | (uint32_t)(uint8_t)w[2 * i + 1] << 8); }

static int32_t nibble(const int8_t *w, int32_t i) { return (uint8_t)w[i / 2] >> i % 2 * 4 & 15; }

static int32_t v6m_weight(const mbn_step *s, const int8_t *w, int32_t o, int32_t t) {
  const int32_t taps = mbn_taps_of(s);
  if (mbn_is_int4(s)) return nibble(w + o / 4 * 4 * mbn_pairs_of(s) + t / 2 * 4 + o % 4, t % 2) - 8;
  if (!mbn_is_matrix(s)) return halfword(w + o * MBN_V6M_CHANNEL, t % 3 * 3 + t / 3);
  return mbn_makes_two(s) ? w[o / 4 * 4 * mbn_v6m_taps(s) + 4 * t + o % 4] : w[o * taps + t];
}

static int32_t dsp_weight(const mbn_step *s, const int8_t *w, int32_t o, int32_t t) {
  if (!mbn_is_matrix(s)) {
    static const int8_t pair[9] = {3, 0, 0, 3, 1, 1, 4, 2, 2}, second[9] = {0, 0, 1, 1, 0, 1, 0, 0, 1};
    const int32_t channel = o % 4;
    w += o / 4 * MBN_DSP_QUAD;
    return t == 6 ? halfword(w, 32 + (channel & 1) * 2 + channel / 2) : halfword(w, (pair[t] * 4 + channel) * 2 + second[t]);
  }
  const int32_t i = words_first(s, t), all = mbn_dsp_taps(s);
  if (mbn_is_int4(s)) {
    const int32_t n = nibble(w + o / 4 * 2 * all + i / 4 * 8 + (i & 1) * 4 + (i >> 1 & 1) * 2, o % 4);
    return o % 4 < 3 ? n - 8 : (n ^ 8) - 8;
  }
  const int32_t both = halfword(w, o / 4 * all * 2 + i / 4 * 8 + (i & 1) * 4 + (o & 2) + (i >> 1 & 1)); /* 256 * odd + even */
  const int32_t low = (int8_t)(uint8_t)(both & 255);
  return o & 1 ? (both - low) / 256 : low;
}

static int32_t mve_weight(const mbn_step *s, const int8_t *w, int32_t o, int32_t t) {
  if (!mbn_is_matrix(s)) return w[o / 16 * MBN_MVE_BLOCK + 16 * t + o % 16];
  const int32_t taps = mbn_up_to(mbn_taps_of(s), 16);
  if (mbn_is_int4(s)) {
    const int32_t both = w[o / 4 * 2 * taps + (o & 1) * taps + t], second = ((both & 15) ^ 8) - 8;
    return o & 2 ? second : (both - second) / 16;
  }
  return w[o / 4 * 4 * taps + (o & 1) * 2 * taps + t / 16 * 32 + (o >> 1 & 1) * 16 + t % 16];
}

static void unpacked(const mbn_call *c, int layout, weight_of weight) {
  const mbn_step *s = c->step;
  const int conv = mbn_is_matrix(s), head = s->flags & MBN_HEAD, zero = conv ? mbn_zero_w(s) : 0;
  for (int32_t p = 0; p < c->n; p++)
    for (int32_t o = MBN_FIRST(c); o < MBN_LAST(c, s->out_c); o++) {
      const mbn_scale k = mbn_packed_scale(layout, s, c->weights, c->constants, o);
      int32_t sum = 0, t = 0;
      for (int32_t ky = 0; ky < s->kh; ky++)
        for (int32_t kx = 0; kx < s->kw; kx++)
          for (int32_t i = conv ? 0 : o, last = conv ? s->in_c - 1 : o; i <= last; i++, t++) {
            const int32_t at = head ? c->column + p * s->sw + kx : p;
            const int inside = !head || (ky >= c->ky0 && ky < c->ky1 && at >= 0 && at < c->width);
            sum += (inside ? c->row[ky][at * s->in_c + i] : s->zero_in) * (weight(s, c->weights, o, t) - zero);
          }
      c->out[p * s->out_c + o] = clamp(rescale((int32_t)((uint32_t)sum + (uint32_t)k.bias), k.multiplier, -k.right), s);
    }
}

static void any(const mbn_call *c, int layout, weight_of weight) {
  if (c->step->packed) unpacked(c, layout, weight);
  else (c->step->op == MBN_CONV ? mbn_portable_conv : mbn_portable_depthwise)(c);
}

void mbn_unpacked_v6m(const mbn_call *c) { any(c, MBN_V6M, v6m_weight); }
void mbn_unpacked_dsp(const mbn_call *c) { any(c, MBN_DSP, dsp_weight); }
void mbn_unpacked_mve(const mbn_call *c) { any(c, MBN_MVE, mve_weight); }
#else
typedef int mbn_none_unpacked; /* a translation unit of C is not empty */
#endif
