/* The portable kernels: what every faster one must equal. Right shifts of negative numbers are arithmetic, as on every
 * compiler that matters. */
#include "mbn.h"

/* ---- fixed point, as gemmlowp and TFLM's reference kernels round ---- */

/* a * b / 2^31, halves up: SaturatingRoundingDoublingHighMul, whose nudge and truncation come to the same. */
static int32_t high_mul(int32_t a, int32_t b) {
  if (a == INT32_MIN && b == INT32_MIN) return INT32_MAX;
  return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/* x / 2^shift, halves away from zero: RoundingDivideByPOT. */
static int32_t divide_pot(int32_t x, int32_t shift) {
  const int32_t mask = (int32_t)((1u << shift) - 1);
  return (x >> shift) + ((x & mask) > (mask >> 1) + (x < 0));
}

/* x * 2^shift, saturated. */
static int32_t times_pot(int32_t x, int32_t shift) {
  const int32_t limit = INT32_MAX >> shift;
  return x > limit ? INT32_MAX : x < -limit - 1 ? INT32_MIN : (int32_t)((uint32_t)x << shift);
}

/* x * multiplier * 2^(shift - 31), rounded twice: MultiplyByQuantizedMultiplier. */
static int32_t scale(int32_t x, int32_t multiplier, int32_t shift) {
  return shift > 0 ? high_mul((int32_t)((uint32_t)x << shift), multiplier) : divide_pot(high_mul(x, multiplier), -shift);
}

/* Compared before the zero point is added, so that nothing overflows. */
static int8_t clamp(int32_t x, const mbn_step *s) {
  return (int8_t)(x < s->low - s->zero_out ? s->low : x > s->high - s->zero_out ? s->high : x + s->zero_out);
}

/* ---- convolutions ---- */

typedef struct { const int32_t *bias, *multiplier; const int8_t *shift; } channels;

/* The output of channel o from its sum of products. The bias is added last, and may wrap: a channel of zero weights can have
 * one near the limit, while the products alone fit (MBN_MAX_TAPS). */
static int8_t requantized(const mbn_step *s, const channels *q, int32_t o, int32_t sum) {
  return clamp(scale((int32_t)((uint32_t)sum + (uint32_t)q->bias[o]), q->multiplier[o], q->shift[o]), s);
}

static channels per_channel(const mbn_call *c) {
  const int32_t n = c->step->out_c;
  const channels q = {c->constants, c->constants + n, (const int8_t *)(c->constants + 2 * n)};
  return q;
}

static int32_t dot(const int8_t *x, const int8_t *w, int32_t n) {
  int32_t sum = 0;
  while (n--) sum += *x++ * *w++;
  return sum;
}

static int32_t total(const int8_t *w, int32_t n) {
  int32_t sum = 0;
  while (n--) sum += *w++;
  return sum;
}

/* 1x1: by far the most time is spent here. A weight is loaded once for four pixels. */
static void pointwise(const mbn_call *c) {
  const mbn_step *s = c->step;
  const channels q = per_channel(c);
  const int32_t in = s->in_c, out = s->out_c;
  int32_t p = 0;
  for (; p + 4 <= c->n; p += 4) {
    const int8_t *w = c->weights, *x = c->row[0] + p * in; /* w: (out, in), x: (4, in) */
    int8_t *y = c->out + p * out;
    for (int32_t o = 0; o < out; o++) {
      int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
      for (int32_t i = 0; i < in; i++) {
        const int32_t v = *w++;
        a0 += v * x[i], a1 += v * x[in + i], a2 += v * x[2 * in + i], a3 += v * x[3 * in + i];
      }
      y[o] = requantized(s, &q, o, a0);
      y[out + o] = requantized(s, &q, o, a1);
      y[2 * out + o] = requantized(s, &q, o, a2);
      y[3 * out + o] = requantized(s, &q, o, a3);
    }
  }
  for (; p < c->n; p++)
    for (int32_t o = 0; o < out; o++)
      c->out[p * out + o] = requantized(s, &q, o, dot(c->row[0] + p * in, c->weights + o * in, in));
}

static void conv(const mbn_call *c) {
  const mbn_step *s = c->step;
  const channels q = per_channel(c);
  const int32_t in = s->in_c, line = s->kw * in; /* line: bytes of one kernel row, contiguous in input and weights alike */
  if (!(s->flags & MBN_HEAD)) { pointwise(c); return; }
  for (int32_t p = 0; p < c->n; p++) {
    const int32_t at = c->column + p * s->sw;
    const int32_t kx0 = at < 0 ? -at : 0, kx1 = c->width - at < s->kw ? c->width - at : s->kw;
    for (int32_t o = 0; o < s->out_c; o++) {
      const int8_t *w = c->weights + o * s->kh * line;
      int32_t sum = 0, outside = 0;
      for (int32_t ky = 0; ky < s->kh; ky++, w += line) {
        if (ky < c->ky0 || ky >= c->ky1) { outside += total(w, line); continue; }
        sum += dot(c->row[ky] + (at + kx0) * in, w + kx0 * in, (kx1 - kx0) * in);
        outside += total(w, kx0 * in) + total(w + kx1 * in, (s->kw - kx1) * in);
      }
      c->out[p * s->out_c + o] = requantized(s, &q, o, sum + s->zero_in * outside);
    }
  }
}

static void depthwise(const mbn_call *c) {
  const mbn_step *s = c->step;
  const channels q = per_channel(c);
  const int32_t in = s->in_c, out = s->out_c, times = out / in;
  for (int32_t p = 0; p < c->n; p++) {
    const int32_t at = c->column + p * s->sw;
    const int32_t kx0 = at < 0 ? -at : 0, kx1 = c->width - at < s->kw ? c->width - at : s->kw;
    for (int32_t o = 0, i = 0, left = times; o < out; o++) {
      const int8_t *w = c->weights + o;
      int32_t sum = 0;
      for (int32_t ky = 0; ky < s->kh; ky++, w += s->kw * out) {
        const int outside = ky < c->ky0 || ky >= c->ky1;
        const int32_t from = outside ? s->kw : kx0, to = outside ? s->kw : kx1;
        int32_t kx = 0;
        for (; kx < from; kx++) sum += s->zero_in * w[kx * out];
        for (; kx < to; kx++) sum += c->row[ky][(at + kx) * in + i] * w[kx * out];
        for (; kx < s->kw; kx++) sum += s->zero_in * w[kx * out];
      }
      c->out[p * out + o] = requantized(s, &q, o, sum);
      if (--left == 0) i++, left = times;
    }
  }
}

/* ---- the rest ---- */

/* Both inputs get 20 more bits, are brought to one scale, added, and brought to the output's. */
static void add(const mbn_call *c) {
  const mbn_step *s = c->step;
  const int32_t *k = c->constants;
  for (int32_t i = 0; i < c->n * s->out_c; i++) {
    const int32_t a = scale((c->row[0][i] - s->zero_in) * (1 << 20), k[0], k[1]);
    const int32_t b = scale((c->other[i] - s->zero_other) * (1 << 20), k[2], k[3]);
    c->out[i] = clamp(scale(a + b, k[4], k[5]), s);
  }
}

/* 1 / (1 + x) of 0 <= x < 1 in Q0.31, by Newton and Raphson: one_over_one_plus_x_for_x_in_0_1. */
static int32_t reciprocal(int32_t x) {
  const int32_t half = (int32_t)(((int64_t)x + INT32_MAX + 1) >> 1); /* (x + 1) / 2 */
  int32_t y = 1515870810 + high_mul(half, -1010580540);              /* Q2.29: 48/17 - 32/17 * half */
  for (int i = 0; i < 3; i++) y += times_pot(high_mul(y, (1 << 29) - high_mul(half, y)), 2);
  return times_pot(y, 1); /* halved as a number, then from Q2 to Q0 */
}

static void softmax(const mbn_call *c) {
  const int32_t depth = c->step->out_c;
  for (int32_t p = 0; p < c->n; p++) {
    const int8_t *x = c->row[0] + p * depth;
    int32_t top = x[0], sum = 0, clz = 0;
    for (int32_t i = 1; i < depth; i++) top = x[i] > top ? x[i] : top;
    for (int32_t i = 0; i < depth; i++) sum += divide_pot(c->constants[top - x[i]], 12); /* Q12.19 */
    while (!((uint32_t)sum << clz & 0x80000000u)) clz++; /* sum >= 1: the largest value gave 2^19 */
    const int32_t per = reciprocal((int32_t)(((uint32_t)sum << clz) - 0x80000000u));
    const int32_t shift = 12 - clz + 31 - 8 > 31 ? 31 : 12 - clz + 31 - 8; /* beyond 31 all is 0, and TFLM refuses */
    for (int32_t i = 0; i < depth; i++) {
      const int32_t y = divide_pot(high_mul(per, c->constants[top - x[i]]), shift) - 128;
      c->out[p * depth + i] = (int8_t)(y > 127 ? 127 : y);
    }
  }
}

void mbn_pool_add(int32_t *sums, const int8_t *pixels, int32_t n, int32_t channels) {
  for (; n; n--) for (int32_t i = 0; i < channels; i++) sums[i] += *pixels++;
}

void mbn_pool_end(const mbn_step *s, const int32_t *k, const int32_t *sums, int8_t *out) {
  const int32_t count = s->in_h * s->in_w;
  for (int32_t i = 0; i < s->out_c; i++) {
    const int32_t x = sums[i];
    if (s->op == MBN_MEAN) out[i] = clamp(scale(x - s->zero_in * count, k[0], k[1]), s);
    else out[i] = clamp((x + (x > 0 ? count / 2 : -(count / 2))) / count - s->zero_out, s); /* keeps scale and zero point */
  }
}

const mbn_kernel mbn_kernels[1][MBN_OPS] = {{conv, depthwise, add, 0, 0, softmax, 0}};
