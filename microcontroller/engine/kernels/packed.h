/* The layouts besides the portable one: which steps they pack, how weights and constants lie, what scratch their kernels use.
 * Python's twin is nbs/api/engine/01_layouts.ipynb; mbn_check.c asks this file what a packed step must look like.
 *
 * A kernel of a packed step may assume what holds here: no weight is -128, so that two fit where one and a bit would;
 * every shift is to the right, by 1 to 30; a depthwise step is 3x3 with one output per input and never below its zero point, or has one
 * input channel: then it is a CONV, and that is what CONV means below. */
#ifndef MBN_PACKED_H
#define MBN_PACKED_H
#include "../mbn_kernel.h"

/* Weights with a zero point. Of a DEPTHWISE step halfwords hold the weights less their zero point, which a byte does not: MVE, which has
 * none, doesn't pack it. Of a CONV a byte holds what is in the file, and the sum of all weights' inputs times the zero point is taken off:
 * as more taps behind a window's own, whose inputs are parts of that sum, and whose weights are all the negative zero point; -128 has none.
 * Inputs of DSP are halfwords. Those of V6M are such that two products fit in a halfword; where one pixel is made at a time, there are none.
 *
 * Weights of 4 bits (MBN_INT4, of a CONV; they have no zero point). Each layout has them in the order of its bytes, so that a kernel takes
 * them out of a word as it goes, and needs no memory for them. A nibble is the weight + 8, but where it says otherwise, and what that adds, 8 times the
 * sum of a window's inputs, is taken off each sum before the first product; nibbles of no tap are 8, and their inputs 0.
 * V6M: per 4 outputs, per 2 taps a word, a byte of each output: the first tap's nibble in its low half.
 * DSP: per 4 outputs, per 4 taps words {taps 0 2}, {taps 1 3}; of each halfword the lowest nibble is output 0's, the highest output 3's, the
 * weight itself. 4096 * 128 * the sum of an output's |weights| is below 2^31.
 * MVE: per 4 outputs, of the outputs 0 and 2, then of 1 and 3: per 16 taps 16 bytes 16 * weight(first) + weight(second); no weight is -8. */

/* Which layout this build is fast with. With -DMBN_PORTABLE_ONLY none; with -DMBN_EVERY_LAYOUT all, by kernels/unpacked.c, for tests. */
#if !defined(MBN_PORTABLE_ONLY) && !defined(MBN_EVERY_LAYOUT) && defined(__arm__) && defined(__thumb__) && __ARM_ARCH_PROFILE == 'M'
#if defined(__ARM_FEATURE_MVE)
#define MBN_HAS_MVE
#elif defined(__ARM_FEATURE_DSP)
#define MBN_HAS_DSP
#else
#define MBN_HAS_V6M
#endif
#endif
#if defined(MBN_HAS_MVE) || defined(MBN_HAS_DSP) || defined(MBN_HAS_V6M) || defined(MBN_EVERY_LAYOUT)
#define MBN_PACKS 1
#else
#define MBN_PACKS 0
#endif

/* The layout of a packed step: in most builds there is but one. */
#if defined(MBN_HAS_MVE)
#define MBN_LAYOUT(layout) ((void)(layout), MBN_MVE)
#elif defined(MBN_HAS_DSP)
#define MBN_LAYOUT(layout) ((void)(layout), MBN_DSP)
#elif defined(MBN_HAS_V6M)
#define MBN_LAYOUT(layout) ((void)(layout), MBN_V6M)
#else
#define MBN_LAYOUT(layout) (layout)
#endif

static inline int32_t mbn_up_to(int32_t n, int32_t multiple) { return (n + multiple - 1) / multiple * multiple; }
static inline int32_t mbn_taps_of(const mbn_step *s) { return s->kh * s->kw * (s->op == MBN_CONV ? s->in_c : 1); }
static inline int mbn_is_matrix(const mbn_step *s) { return s->op == MBN_CONV || s->in_c == 1; } /* each output sees all inputs of its window */
static inline int mbn_is_1x1(const mbn_step *s) { return s->kh == 1 && s->kw == 1; }

/* A ReLU's output never is below its zero point; then halves of negative sums may be rounded either way, since both become `low`. */
static inline int mbn_is_rectified(const mbn_step *s) { return s->low >= s->zero_out; }

/* V6M, CONV: per 4 outputs (the last may be none), per tap (likewise, up to a
 * multiple of 2) a word of the four's weights; where one pixel is made at a time, per output all its taps. constants: {bias,
 * multiplier, shift} per output.
 * DEPTHWISE: per channel halfwords for the taps column by column, and the shift; then {bias, multiplier}.
 * |bias| + 128 * the sum of a channel's |weights| is below 2^29. */
enum { MBN_V6M_CHANNEL = 20 + 8 }; /* bytes of such a channel */

/* Two pixels are made at once, unless there is no second one, or their taps would need too much memory. */
static inline int mbn_makes_two(const mbn_step *s) { return s->out_w > 1 && mbn_taps_of(s) <= 512; }

/* The largest part of a window's sum that is the input of one more tap. */
static inline int32_t mbn_v6m_part(const mbn_step *s) { return 32767 / 2 / (mbn_zero_w(s) < 0 ? -mbn_zero_w(s) : mbn_zero_w(s)); }

/* Words of taps of two pixels; those from mbn_up_to(mbn_taps_of(s), 2) on are parts of the sum. */
static inline int32_t mbn_v6m_taps(const mbn_step *s) {
  const int32_t taps = mbn_taps_of(s), more = mbn_zero_w(s) ? (128 * taps + mbn_v6m_part(s) - 1) / mbn_v6m_part(s) : 0;
  return mbn_up_to(taps, 2) + mbn_up_to(more, 2);
}

/* DSP, CONV: per 4 outputs (the last may be none), per 4 taps (likewise, up to a multiple of 8): words {o0 o1: taps 0 2}, {o2 o3: taps 0 2},
 * {o0 o1: taps 1 3}, {o2 o3: taps 1 3}, each halfword 256 * w(odd output) + w(even output). Taps: all whole words of the window's
 * rows, then the 0 to 3 bytes that each row leaves. constants: {2 * bias, multiplier, shift} per output.
 * DEPTHWISE: per 4 channels, for the taps 1 2, 4 5, 7 8, 0 3 (row by row) 4 words {channel's two taps as halfwords}; tap 6 of the channels
 * 0 2, then 1 3; then {2 * bias, multiplier, shift} of each. */
enum { MBN_DSP_QUAD = 30 * 4 }; /* bytes of 4 channels of DEPTHWISE */

/* Halfwords of taps; those from mbn_up_to(mbn_taps_of(s), 4) on are parts of the sum. */
static inline int32_t mbn_dsp_taps(const mbn_step *s) {
  const int32_t taps = mbn_taps_of(s), more = mbn_zero_w(s) ? (taps + 255) / 256 : 0; /* 256 * 128 is what a halfword holds */
  return mbn_up_to(mbn_up_to(taps, 4) + mbn_up_to(more, 4), 8);
}

/* MVE, CONV: per 4 outputs (the last may be none), of the outputs 0 and 2, then of 1 and 3: per 16 taps (likewise) 16 bytes of the one,
 * 16 of the other. constants: per 4 outputs 4 biases, 4 multipliers, 4 shifts to the left; of up to 16 taps {bias, multiplier, shift to the left} of
 * the outputs 0, 2, 1, 3.
 * DEPTHWISE: per 16 channels (the last may be none; of 8 channels all come twice), 16 bytes for each tap; then for the channels 0 4 8 12, those
 * that are 2, 1 and 3 more, 4 biases, 4 multipliers, 4 shifts to the left. */
enum { MBN_MVE_BLOCK = 9 * 16 + 16 * 12 }; /* bytes of 16 channels of DEPTHWISE */

/* How many pixels' windows are in the scratch of an MVE step that is not 1x1. */
static inline int32_t mbn_mve_columns(const mbn_step *s) {
  const int32_t taps = mbn_taps_of(s), most = taps <= 32 ? 4 : taps <= 512 ? 3 : 1;
  return s->out_w < most ? s->out_w : most;
}

/* Of a step with MBN_INT4: two taps each. */
static inline int32_t mbn_pairs_of(const mbn_step *s) { return (mbn_taps_of(s) + 1) / 2; }

typedef struct { uint64_t weights, constants; } mbn_extent; /* bytes */

/* Extents of a packed step in the file. All zero: such a step isn't packed in this layout. */
static inline mbn_extent mbn_packed_extent(int any, const mbn_step *s) {
  const int layout = MBN_LAYOUT(any);
  mbn_extent e = {0, 0};
  const int conv = mbn_is_matrix(s), fits = conv || (s->kh == 3 && s->kw == 3 && s->in_c == s->out_c && mbn_is_rectified(s));
  if (!fits || (mbn_zero_w(s) && (layout == MBN_MVE || (conv && mbn_zero_w(s) == -128)))) return e;
  if (layout == MBN_V6M && conv) e.weights = (uint64_t)mbn_up_to(s->out_c, 4) * (uint32_t)(mbn_makes_two(s) ? mbn_v6m_taps(s) : mbn_taps_of(s)), e.constants = 12u * s->out_c;
  if (layout == MBN_V6M && !conv) e.weights = s->out_c * (uint64_t)MBN_V6M_CHANNEL;
  if (layout == MBN_DSP && conv) e.weights = (uint64_t)mbn_up_to(s->out_c, 4) * (uint32_t)mbn_dsp_taps(s), e.constants = 12u * (uint32_t)mbn_up_to(s->out_c, 4);
  if (layout == MBN_DSP && !conv && s->out_c % 4 == 0) e.weights = s->out_c / 4u * MBN_DSP_QUAD;
  if (layout == MBN_MVE && conv) e.weights = (uint64_t)mbn_up_to(s->out_c, 4) * (uint32_t)mbn_up_to(mbn_taps_of(s), 16), e.constants = 12u * (uint32_t)mbn_up_to(s->out_c, 4);
  if (layout == MBN_MVE && !conv) e.weights = (uint32_t)mbn_up_to(s->out_c, 16) / 16u * MBN_MVE_BLOCK;
  if (mbn_is_int4(s)) e.weights = layout == MBN_V6M ? (uint64_t)mbn_up_to(s->out_c, 4) * (uint32_t)mbn_pairs_of(s) : e.weights / 2;
  return e;
}

typedef struct { int32_t bias, multiplier, right; } mbn_scale;

/* What output channel o is scaled by. */
static inline mbn_scale mbn_packed_scale(int any, const mbn_step *s, const int8_t *weights, const int32_t *constants, int32_t o) {
  const int layout = MBN_LAYOUT(any), depthwise = !mbn_is_matrix(s);
  int32_t apart = 1; /* words from the bias to the multiplier */
  if (layout == MBN_MVE) {
    const int32_t turn = (o & 1) * 2 + (o >> 1 & 1); /* outputs 0 2 1 3 */
    if (depthwise) constants = (const int32_t *)(const void *)(weights + o / 16 * MBN_MVE_BLOCK + 9 * 16) + turn * 12 + o % 16 / 4, apart = 4;
    else if (mbn_taps_of(s) <= 16) constants += o / 4 * 12 + 3 * turn;
    else constants += o / 4 * 12 + o % 4, apart = 4;
  } else if (depthwise && layout == MBN_V6M) constants = (const int32_t *)(const void *)(weights + o * MBN_V6M_CHANNEL) + 5;
  else if (depthwise) constants = (const int32_t *)(const void *)(weights + o / 4 * MBN_DSP_QUAD) + 18 + o % 4 * 3;
  else constants += 3 * o;
  mbn_scale found = {layout == MBN_DSP ? constants[0] / 2 : constants[0], constants[apart], 0};
  if (layout == MBN_V6M && depthwise) found.right = constants[-1] >> 16;
  else found.right = layout == MBN_MVE ? (int32_t)(0u - (uint32_t)constants[2 * apart]) : constants[2 * apart];
  return found;
}

/* Bytes of scratch that the kernel of a step uses. V6M: a word for a tap of two pixels, and the windows of both at an edge, or of one;
 * of a depthwise step a row of zero_in. DSP: two pixels' taps as pairs of halfwords, one pixel's where there is no second
 * or they'd be many, and the windows of both at an edge; of a depthwise step a row of zero_in. MVE: the windows of a few pixels; likewise.
 * Weights of 4 bits: portable kernels unpack one output's; DSP has what four sums begin with before the taps of each pixel. */
static inline uint32_t mbn_kernel_scratch(int any, const mbn_step *s) {
  const int layout = MBN_LAYOUT(any);
  if (!MBN_PACKS || !s->packed) return mbn_is_int4(s) ? (uint32_t)mbn_up_to(mbn_taps_of(s), 4) : 0;
  const uint32_t taps = (uint32_t)mbn_taps_of(s);
  if (layout == MBN_V6M && mbn_is_matrix(s)) {
    const uint32_t window = mbn_is_1x1(s) ? 0 : (uint32_t)mbn_up_to((int32_t)taps, 4);
    return mbn_makes_two(s) ? 4 * (uint32_t)mbn_v6m_taps(s) + 2 * window : window;
  }
  if (layout == MBN_V6M) return (uint32_t)mbn_up_to(s->out_c, 4);
  if (layout == MBN_DSP && mbn_is_matrix(s))
    return (mbn_makes_two(s) ? 4 : 2) * ((uint32_t)mbn_dsp_taps(s) + (mbn_is_int4(s) ? 8 : 0)) + (mbn_is_1x1(s) ? 0 : 2 * (uint32_t)mbn_up_to((int32_t)taps, 4));
  if (layout == MBN_MVE && mbn_is_matrix(s)) return mbn_is_1x1(s) ? 0 : (uint32_t)mbn_up_to(mbn_mve_columns(s) * (int32_t)taps, 4);
  if (layout == MBN_DSP || layout == MBN_MVE) return (uint32_t)mbn_up_to(s->out_c, 4);
  return 0;
}

/* Behind it the taps of a dilated step are gathered. */
static inline uint32_t mbn_gathered_at(int layout, const mbn_step *s) {
  const mbn_step dense = mbn_dense(s);
  return mbn_kernel_scratch(layout, &dense);
}

static inline uint32_t mbn_scratch_bytes(int layout, const mbn_step *s) {
  if (!mbn_is_dilated(s)) return mbn_kernel_scratch(layout, s);
  const mbn_step dense = mbn_dense(s);
  return mbn_kernel_scratch(layout, &dense) + (uint32_t)mbn_up_to(dense.kh * dense.kw * s->in_c, 4);
}
#endif
