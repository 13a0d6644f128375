/* One byte of a kernel's output, slowly, from TFLite's definitions: reference_integer_ops and gemmlowp's fixed point. Sums are of 64
 * bits. Nothing here is shared with the engine's kernels. */
#include "../../microcontroller/engine/mbn_kernel.h"

/* ---- gemmlowp ---- */

static int64_t bounded(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

static int32_t wrapped(int64_t x) { return (int32_t)(uint32_t)(uint64_t)x; }

static int32_t SaturatingRoundingDoublingHighMul(int32_t a, int32_t b) {
  const int64_t product = (int64_t)a * b;
  if (a == INT32_MIN && b == INT32_MIN) return INT32_MAX;
  return (int32_t)((product + (product >= 0 ? 1 << 30 : 1 - (1 << 30))) / ((int64_t)1 << 31));
}

static int32_t RoundingDivideByPOT(int32_t x, int exponent) { /* halves away from zero */
  const int64_t size = x < 0 ? -(int64_t)x : x, half = exponent ? (int64_t)1 << (exponent - 1) : 0;
  return (int32_t)(x < 0 ? -((size + half) / ((int64_t)1 << exponent)) : (size + half) / ((int64_t)1 << exponent));
}

static int32_t SaturatingRoundingMultiplyByPOT(int32_t x, int exponent) {
  return (int32_t)bounded((int64_t)x * ((int64_t)1 << exponent), INT32_MIN, INT32_MAX);
}

static int32_t MultiplyByQuantizedMultiplier(int32_t x, int32_t multiplier, int shift) {
  const int left = shift > 0 ? shift : 0, right = shift > 0 ? 0 : -shift;
  return RoundingDivideByPOT(SaturatingRoundingDoublingHighMul(wrapped((int64_t)x * ((int64_t)1 << left)), multiplier), right);
}

static int32_t one_over_one_plus_x_for_x_in_0_1(int32_t a) { /* Q0.31 */
  const int64_t sum = (int64_t)a + INT32_MAX;
  const int32_t half_denominator = (int32_t)((sum + (sum >= 0 ? 1 : -1)) / 2);
  int32_t x = 1515870810 + SaturatingRoundingDoublingHighMul(half_denominator, -1010580540); /* Q2.29 */
  for (int i = 0; i < 3; i++) {
    const int32_t one_minus = (1 << 29) - SaturatingRoundingDoublingHighMul(half_denominator, x);
    x += SaturatingRoundingMultiplyByPOT(SaturatingRoundingDoublingHighMul(x, one_minus), 2);
  }
  return SaturatingRoundingMultiplyByPOT(x, 1);
}

/* ---- ops ---- */

/* Tap (ky, kx) of output pixel p lies inside the map; then *x is channel ch of what it sees. */
static int tap(const mbn_call *c, int32_t p, int32_t ky, int32_t kx, int32_t ch, int32_t *x) {
  const int32_t at = c->column + p * c->step->sw + kx;
  if (ky < c->ky0 || ky >= c->ky1 || at < 0 || at >= c->width) return 0;
  *x = c->row[ky][at * c->step->in_c + ch];
  return 1;
}

/* Sum of products of output channel o, without bias: taps outside see the zero point, which is a real 0. `weights` are portable. */
static int64_t products(const mbn_call *c, const int8_t *weights, int32_t p, int32_t o) {
  const mbn_step *s = c->step;
  const int depthwise = s->op == MBN_DEPTHWISE;
  int64_t sum = 0;
  int32_t x;
  for (int32_t ky = 0; ky < s->kh; ky++)
    for (int32_t kx = 0; kx < s->kw; kx++)
      for (int32_t i = 0; i < (depthwise ? 1 : s->in_c); i++)
        if (tap(c, p, ky, kx, depthwise ? o / (s->out_c / s->in_c) : i, &x))
          sum += (int64_t)(x - s->zero_in) * (weights[depthwise ? (ky * s->kw + kx) * s->out_c + o : ((o * s->kh + ky) * s->kw + kx) * s->in_c + i] - s->zero_other);
  return sum;
}

/* Sum of the weights of output channel o, less their zero point. */
static int64_t weights_of(const mbn_step *s, const int8_t *weights, int32_t o) {
  const int32_t taps = s->kh * s->kw * (s->op == MBN_DEPTHWISE ? 1 : s->in_c);
  int64_t sum = 0;
  for (int32_t t = 0; t < taps; t++) sum += s->op == MBN_DEPTHWISE ? weights[t * s->out_c + o] : weights[o * taps + t];
  return sum - taps * s->zero_other;
}

static int64_t mean_of(const mbn_step *s, int64_t sum, int64_t count) {
  if (s->flags & MBN_UNSIGNED) return (sum + 128 * count + count / 2) / count - 128; /* reference_ops::AveragePool of uint8 */
  return (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
}

static int32_t pool_of(const mbn_call *c, int32_t p, int32_t ch) {
  const mbn_step *s = c->step;
  int64_t sum = 0, count = 0, largest = -128;
  for (int32_t ky = 0; ky < s->kh; ky++)
    for (int32_t kx = 0; kx < s->kw; kx++) {
      int32_t x = s->zero_in; /* what a PAD would have put there */
      if (!tap(c, p, ky, kx, ch, &x) && !(s->flags & MBN_COUNTS_PADS)) continue;
      sum += x, count++;
      if (x > largest) largest = x;
    }
  return (int32_t)bounded(s->op == MBN_MAX_POOL ? largest : mean_of(s, sum, count), s->low, s->high);
}

static int32_t add_of(const mbn_call *c, int32_t i) {
  const mbn_step *s = c->step;
  const int32_t *k = c->constants;
  const int32_t a = MultiplyByQuantizedMultiplier((c->row[0][i] - s->zero_in) * (1 << 20), k[0], k[1]);
  const int32_t b = MultiplyByQuantizedMultiplier((c->other[i] - s->zero_other) * (1 << 20), k[2], k[3]);
  return (int32_t)bounded((int64_t)MultiplyByQuantizedMultiplier(a + b, k[4], k[5]) + s->zero_out, s->low, s->high);
}

static int32_t softmax_of(const mbn_call *c, int32_t p, int32_t ch) {
  const int32_t depth = c->step->out_c, *exponent = c->constants;
  const int8_t *x = c->row[0] + p * depth;
  int32_t largest = -128, sum = 0, headroom = 0;
  for (int32_t i = 0; i < depth; i++) largest = x[i] > largest ? x[i] : largest;
  for (int32_t i = 0; i < depth; i++) sum += RoundingDivideByPOT(exponent[largest - x[i]], 12);
  while ((int64_t)sum << headroom < (int64_t)1 << 31) headroom++;
  const int32_t scale = one_over_one_plus_x_for_x_in_0_1((int32_t)(((int64_t)sum << headroom) - ((int64_t)1 << 31)));
  const int32_t shift = 12 - headroom + 31 - 8, product = SaturatingRoundingDoublingHighMul(scale, exponent[largest - x[ch]]);
  return (int32_t)bounded((int64_t)(shift > 31 ? 0 : RoundingDivideByPOT(product, shift)) - 128, -128, 127);
}

/* MEAN and GLOBAL_AVERAGE of `count` pixels that lie in row[0]. */
static int32_t sum_of(const mbn_call *c, int32_t count, int32_t ch) {
  const mbn_step *s = c->step;
  int64_t sum = 0;
  for (int32_t i = 0; i < count; i++) sum += c->row[0][i * s->in_c + ch];
  if (s->op == MBN_GLOBAL_AVERAGE) return (int32_t)bounded(mean_of(s, sum, count), s->low, s->high);
  const int32_t centred = (int32_t)(sum - (int64_t)s->zero_in * count);
  return (int32_t)bounded((int64_t)MultiplyByQuantizedMultiplier(centred, c->constants[0], c->constants[1]) + s->zero_out, s->low, s->high);
}
