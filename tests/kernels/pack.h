/* Weights and constants as a layout has them, from portable ones: written from what kernels/packed.h says, so that it and
 * nbs/api/engine/01_layouts.ipynb, which packs files, can be held against one another. */
#ifndef PACK_H
#define PACK_H
#include "../../microcontroller/engine/kernels/packed.h"

static const int32_t *bias_of(const int32_t *constants) { return constants; }
static const int32_t *multiplier_of(const mbn_step *s, const int32_t *constants) { return constants + s->out_c; }
static const int8_t *shift_of(const mbn_step *s, const int32_t *constants) { return (const int8_t *)(constants + 2 * s->out_c); }

/* Weight of output o and tap t of portable weights, as the file has it. */
static int32_t weight_of_tap(const mbn_step *s, const int8_t *w, int32_t o, int32_t t) {
  return s->op == MBN_CONV ? w[o * mbn_taps_of(s) + t] : w[t * s->out_c + o];
}

/* Shifts to the right by 1 to 30, no byte of -128, and sums that stay small: of DSP enough for 256 of them in 31 bits, of V6M for
 * a high product of halves. */
static int can_be_packed(int layout, const mbn_step *s, const int8_t *w, const int32_t *constants) {
  for (int32_t o = 0; o < s->out_c; o++) {
    int32_t sum = 0;
    for (int32_t t = 0; t < mbn_taps_of(s); t++) {
      const int32_t byte = weight_of_tap(s, w, o, t), v = byte - s->zero_other;
      if (layout == MBN_MVE && s->flags & MBN_INT4 && byte == -8) return 0;
      if (byte == -128 && (!s->zero_other || s->op == MBN_CONV || s->in_c == 1)) return 0; /* a halfword holds the difference */
      sum += v < 0 ? -v : v;
    }
    const int32_t bias = bias_of(constants)[o], shift = shift_of(s, constants)[o];
    if (layout == MBN_DSP && sum * 128 >= 1 << (s->flags & MBN_INT4 ? 19 : 23)) return 0;
    if (layout == MBN_V6M && (int64_t)sum * 128 + (bias < 0 ? -(int64_t)bias : bias) >= 1 << 29) return 0;
    if (shift > -1 || shift < -30 || bias >= 1 << 29 || bias <= -(1 << 29)) return 0;
  }
  return 1;
}

static void put_halfword(int8_t *at, int32_t v) { at[0] = (int8_t)(uint8_t)(v & 255), at[1] = (int8_t)(uint8_t)(v >> 8 & 255); }

static void put_scale(const mbn_step *s, const int32_t *constants, int32_t o, int32_t times, int32_t *at) {
  at[0] = bias_of(constants)[o] * times, at[1] = multiplier_of(s, constants)[o], at[2] = -shift_of(s, constants)[o];
}

/* Taps in the order in which kernels read a window: whole words of its rows, then what is left of them; -1: none. */
static int32_t tap_in_words(const mbn_step *s, int32_t i) {
  const int32_t line = s->kw * s->in_c, whole = line / 4 * 4, left = line - whole;
  if (i < s->kh * whole) return i / whole * line + i % whole;
  i -= s->kh * whole;
  return left && i < s->kh * left ? i / left * line + whole + i % left : -1;
}

/* A weight of 4 bits; of no output or tap 0. */
static int32_t weight_4(const mbn_step *s, const int8_t *w, int32_t o, int32_t t) {
  return o < s->out_c && t >= 0 && t < mbn_taps_of(s) ? weight_of_tap(s, w, o, t) : 0;
}

static void pack_v6m_4(const mbn_step *s, const int8_t *w, const int32_t *constants, int8_t *weights, int32_t *scales) {
  const int32_t pairs = (mbn_taps_of(s) + 1) / 2;
  for (int32_t o = 0; o < (s->out_c + 3) / 4 * 4; o++)
    for (int32_t i = 0; i < pairs; i++)
      weights[(o / 4 * pairs + i) * 4 + o % 4] = (int8_t)(uint8_t)((weight_4(s, w, o, 2 * i + 1) + 8) * 16 + weight_4(s, w, o, 2 * i) + 8);
  for (int32_t o = 0; o < s->out_c; o++) put_scale(s, constants, o, 1, scales + 3 * o);
}

static void pack_v6m(const mbn_step *s, const int8_t *w, const int32_t *constants, int8_t *weights, int32_t *scales) {
  const int32_t taps = mbn_taps_of(s), even = taps + (taps & 1), size = s->zero_other < 0 ? -s->zero_other : s->zero_other, all = (s->out_c + 3) / 4 * 4;
  int32_t words = even;                                                                   /* behind which lie parts of the sum of up to 128 * taps, */
  if (s->flags & MBN_INT4) { pack_v6m_4(s, w, constants, weights, scales); return; }
  if (size) for (int32_t held = 0; held < 128 * taps || words & 1; words++) held += 32767 / 2 / size; /* two of which times the zero point are a halfword */
  if (s->op == MBN_DEPTHWISE && s->in_c > 1) {
    for (int32_t o = 0; o < s->out_c; o++, weights += 28) {
      for (int32_t x = 0; x < 3; x++)
        for (int32_t y = 0; y < 3; y++) put_halfword(weights + 6 * x + 2 * y, weight_of_tap(s, w, o, 3 * y + x) - s->zero_other);
      put_halfword(weights + 18, -shift_of(s, constants)[o]);
      ((int32_t *)(void *)(weights + 20))[0] = bias_of(constants)[o], ((int32_t *)(void *)(weights + 20))[1] = multiplier_of(s, constants)[o];
    }
    return;
  }
  for (int32_t o = 0; o < all; o++)
    if (s->out_w == 1 || taps > 512)
      for (int32_t t = 0; t < taps; t++) weights[o * taps + t] = (int8_t)(o < s->out_c ? weight_of_tap(s, w, o, t) : 0);
    else
      for (int32_t t = 0; t < words; t++)
        weights[o / 4 * words * 4 + 4 * t + o % 4] = (int8_t)(o >= s->out_c ? 0 : t < taps ? weight_of_tap(s, w, o, t) : t < even ? 0 : -s->zero_other);
  for (int32_t o = 0; o < s->out_c; o++) put_scale(s, constants, o, 1, scales + 3 * o);
}

static void pack_dsp(const mbn_step *s, const int8_t *w, const int32_t *constants, int8_t *weights, int32_t *scales) {
  if (s->op == MBN_DEPTHWISE && s->in_c != 1) {
    static const int order[8] = {1, 2, 4, 5, 7, 8, 0, 3};
    for (int32_t o = 0; o < s->out_c; o++) {
      int8_t *quad = weights + o / 4 * MBN_DSP_QUAD;
      for (int i = 0; i < 8; i++) put_halfword(quad + i / 2 * 16 + o % 4 * 4 + i % 2 * 2, weight_of_tap(s, w, o, order[i]) - s->zero_other);
      put_halfword(quad + 64 + o % 2 * 4 + o % 4 / 2 * 2, weight_of_tap(s, w, o, 6) - s->zero_other);
      put_scale(s, constants, o, 2, (int32_t *)(void *)(quad + 72) + o % 4 * 3);
    }
    return;
  }
  const int32_t own = (mbn_taps_of(s) + 3) / 4 * 4, parts = s->zero_other ? (mbn_taps_of(s) + 1023) / 1024 * 4 : 0, taps = (own + parts + 7) / 8 * 8;
  for (int32_t four = 0; s->flags & MBN_INT4 && four < s->out_c; four += 4)
    for (int32_t i = 0; i < taps; i++) {
      int32_t n = 0;
      for (int32_t k = 0; k < 4; k++) n |= (weight_4(s, w, four + k, tap_in_words(s, i)) + (k == 3 ? 0 : 8)) * (1 << 4 * k);
      put_halfword(weights + four / 4 * 2 * taps + i / 4 * 8 + i % 2 * 4 + i % 4 / 2 * 2, n);
    }
  for (int32_t o = 0; !(s->flags & MBN_INT4) && o < mbn_up_to(s->out_c, 4); o += 2)
    for (int32_t i = 0; i < taps; i++) {
      const int32_t t = tap_in_words(s, i), within = i % 4;
      const int32_t part = i >= own && i < own + parts ? -s->zero_other : 0; /* what a part of the sum meets */
      const int32_t even = o >= s->out_c ? 0 : t < 0 ? part : weight_of_tap(s, w, o, t), odd = o + 1 >= s->out_c ? 0 : t < 0 ? part : weight_of_tap(s, w, o + 1, t);
      put_halfword(weights + o / 4 * 4 * taps + i / 4 * 16 + within % 2 * 8 + o % 4 / 2 * 4 + within / 2 * 2, 256 * odd + even);
    }
  for (int32_t o = 0; o < mbn_up_to(s->out_c, 4); o++)
    if (o < s->out_c) put_scale(s, constants, o, 2, scales + 3 * o);
    else scales[3 * o] = scales[3 * o + 1] = 0, scales[3 * o + 2] = 1;
}

/* The scale of output o as words that lie `apart`, with its shift to the left; no output: one that does no harm. */
static void put_left(const mbn_step *s, const int32_t *constants, int32_t o, int32_t apart, int32_t *at) {
  const int none = o >= s->out_c;
  at[0] = none ? 0 : bias_of(constants)[o], at[apart] = none ? 0 : multiplier_of(s, constants)[o], at[2 * apart] = none ? -1 : shift_of(s, constants)[o];
}

static void pack_mve(const mbn_step *s, const int8_t *w, const int32_t *constants, int8_t *weights, int32_t *scales) {
  static const int order[4] = {0, 2, 1, 3};
  if (s->op == MBN_DEPTHWISE && s->in_c != 1) {
    for (int32_t block = 0; block < s->out_c; block += 16, weights += MBN_MVE_BLOCK)
      for (int32_t lane = 0; lane < 16; lane++) {
        const int32_t o = s->out_c == 8 ? lane % 8 : block + lane;
        for (int32_t t = 0; t < 9; t++) weights[16 * t + lane] = (int8_t)(o < s->out_c ? weight_of_tap(s, w, o, t) : 0);
        for (int32_t i = 0; i < 4; i++) if (order[i] == lane % 4) put_left(s, constants, o, 4, (int32_t *)(void *)(weights + 144) + 12 * i + lane / 4);
      }
    return;
  }
  const int32_t taps = mbn_taps_of(s), rows = mbn_up_to(taps, 16);
  for (int32_t four = 0; four < s->out_c; four += 4)
    for (int32_t i = 0; i < 4; i++) {
      const int32_t o = four + order[i];
      for (int32_t t = 0; s->flags & MBN_INT4 && t < rows && i % 2 == 0; t++)
        weights[four / 2 * rows + i / 2 * rows + t] = (int8_t)(16 * weight_4(s, w, o, t) + weight_4(s, w, o + 2, t));
      for (int32_t t = 0; !(s->flags & MBN_INT4) && t < rows; t++)
        weights[four * rows + i / 2 * 2 * rows + t / 16 * 32 + i % 2 * 16 + t % 16] = (int8_t)(o < s->out_c && t < taps ? weight_of_tap(s, w, o, t) : 0);
      if (taps <= 16) put_left(s, constants, o, 1, scales + 3 * (four + i));
      else put_left(s, constants, o, 4, scales + 3 * four + order[i]);
    }
}

typedef void (*packer)(const mbn_step *s, const int8_t *w, const int32_t *constants, int8_t *weights, int32_t *scales);
static const packer pack[MBN_LAYOUTS] = {[MBN_V6M] = pack_v6m, [MBN_DSP] = pack_dsp, [MBN_MVE] = pack_mve};
#endif
