/* The portable kernels: what every faster one must equal. */
#include "fixedpoint.h"
#include "kernels.h"
#include "packed.h"

/* ---- the output of CONV and DEPTHWISE ---- */

typedef struct { const int32_t *bias, *multiplier; const int8_t *shift; } requant;

/* The output of channel o from its sum of products. The bias is added last, and may wrap: a channel of zero weights can have
 * one near the limit, while the products alone fit (MBN_MAX_TAPS). */
MBN_HOT static int8_t requantize(const mbn_step *s, const requant *q, int32_t o, int32_t sum) {
  return clamp(rescale((int32_t)((uint32_t)sum + (uint32_t)q->bias[o]), q->multiplier[o], q->shift[o]), s);
}

static inline requant requant_of(const mbn_call *c) {
  const int32_t n = c->step->out_c;
  const requant q = {c->constants, c->constants + n, (const int8_t *)(c->constants + 2 * n)};
  return q;
}

/* ---- convolutions ---- */

MBN_HOT static int32_t dot(const int8_t *x, const int8_t *w, int32_t n) {
  int32_t sum = 0;
  while (n--) sum += *x++ * *w++;
  return sum;
}

static int32_t byte_sum(const int8_t *w, int32_t n) {
  int32_t sum = 0;
  while (n--) sum += *w++;
  return sum;
}

/* Weights of 4 bits of output o, as bytes. */
MBN_HOT static const int8_t *unpacked(const mbn_call *c, int32_t o, int32_t taps) {
  const int8_t *from = c->weights + o * ((taps + 1) / 2);
  int8_t *const to = c->scratch; /* a multiple of 4 bytes */
  for (int32_t i = 0; i < taps; i += 2, from++) to[i] = (int8_t)(((*from & 15) ^ 8) - 8), to[i + 1] = (int8_t)(*from >> 4);
  return to;
}

/* The weights of output o. */
static inline const int8_t *filter(const mbn_call *c, int32_t o, int32_t taps) {
  return mbn_is_int4(c->step) ? unpacked(c, o, taps) : c->weights + o * taps;
}

/* 1x1: by far the most time is spent here. A weight is loaded once for four pixels. */
MBN_HOT static void pointwise(const mbn_call *c) {
  const mbn_step *s = c->step;
  const requant q = requant_of(c);
  const int32_t in = s->in_c, out = s->out_c;
  int32_t p = 0;
  for (; p + 4 <= c->n && !mbn_zero_w(s); p += 4) {
    const int8_t *w = c->weights, *x = c->row[0] + p * in; /* w: (out, in), x: (4, in) */
    int8_t *y = c->out + p * out;
    for (int32_t o = 0; o < out; o++) {
      int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
      if (mbn_is_int4(s)) w = unpacked(c, o, in);
      for (int32_t i = 0; i < in; i++) {
        const int32_t v = *w++;
        a0 += v * x[i], a1 += v * x[in + i], a2 += v * x[2 * in + i], a3 += v * x[3 * in + i];
      }
      y[o] = requantize(s, &q, o, a0);
      y[out + o] = requantize(s, &q, o, a1);
      y[2 * out + o] = requantize(s, &q, o, a2);
      y[3 * out + o] = requantize(s, &q, o, a3);
    }
  }
  for (; p < c->n; p++) {
    const int8_t *x = c->row[0] + p * in;
    const int32_t less = mbn_zero_w(s) ? mbn_zero_w(s) * byte_sum(x, in) : 0;
    for (int32_t o = 0; o < out; o++) c->out[p * out + o] = requantize(s, &q, o, dot(x, filter(c, o, in), in) - less);
  }
}

/* Kernel columns kx0 <= kx < kx1 of output p lie inside the map; tap 0 is at column `at`. */
typedef struct { int32_t at, kx0, kx1; } tap_range;

static tap_range taps_of(const mbn_call *c, int32_t p) {
  const int32_t at = c->column + p * c->step->sw, kw = c->step->kw;
  const tap_range r = {at, at < 0 ? -at : 0, c->width - at < kw ? c->width - at : kw};
  return r;
}

/* What the weights' zero point takes from all sums of a pixel: it times the sum of the window, those outside being zero_in. */
static int32_t less_of(const mbn_call *c, tap_range r) {
  const mbn_step *s = c->step;
  const int32_t in = s->in_c, rows = c->ky1 - c->ky0, columns = r.kx1 - r.kx0;
  int32_t sum = s->zero_in * (s->kh * s->kw - rows * columns) * in;
  for (int32_t ky = c->ky0; ky < c->ky1; ky++) sum += byte_sum(c->row[ky] + (r.at + r.kx0) * in, columns * in);
  return mbn_zero_w(s) * sum;
}

/* A step with MBN_ONCE: all taps lie inside. */
static void dense(const mbn_call *c) {
  const mbn_step *s = c->step;
  const requant q = requant_of(c);
  const int32_t line = s->kw * s->in_c, at = s->flags & MBN_HEAD ? c->column : 0; /* a head makes one pixel */
  int8_t *out = c->out;
  for (int32_t p = 0; p < c->n; p++) {
    const int8_t *w = c->weights; /* (out_c, kh, kw, in_c) */
    for (int32_t o = 0; o < s->out_c; o++) {
      int32_t sum = 0;
      for (int32_t ky = 0; ky < s->kh; ky++) {
        const int8_t *x = c->row[ky] + (at + p) * s->in_c;
        for (int32_t i = line; i; i--) sum += *x++ * (*w++ - mbn_zero_w(s));
      }
      *out++ = clamp(rescale_once((int32_t)((uint32_t)sum + (uint32_t)q.bias[o]), q.multiplier[o], q.shift[o]), s);
    }
  }
}

MBN_HOT void mbn_portable_conv(const mbn_call *c) {
  const mbn_step *s = c->step;
  const requant q = requant_of(c);
  const int32_t in = s->in_c, line = s->kw * in; /* line: bytes of one kernel row, contiguous in input and weights alike */
  if (mbn_has(s, MBN_ONCE)) { dense(c); return; }
  if (!(s->flags & MBN_HEAD)) { pointwise(c); return; }
  for (int32_t p = 0; p < c->n; p++) {
    const tap_range r = taps_of(c, p);
    const int32_t from = r.kx0 * in, to = r.kx1 * in, less = mbn_zero_w(s) ? less_of(c, r) : 0;
    const int inside = to - from == line && c->ky1 - c->ky0 == s->kh;
    for (int32_t o = 0; o < s->out_c; o++) {
      const int8_t *w = filter(c, o, s->kh * line); /* (kh, kw, in) */
      int32_t sum = 0;
      for (int32_t ky = c->ky0; ky < c->ky1; ky++) sum += dot(c->row[ky] + r.at * in + from, w + ky * line + from, to - from);
      if (!inside) {
        int32_t outside = byte_sum(w, c->ky0 * line) + byte_sum(w + c->ky1 * line, (s->kh - c->ky1) * line);
        for (int32_t ky = c->ky0; ky < c->ky1; ky++) outside += byte_sum(w + ky * line, from) + byte_sum(w + ky * line + to, line - to);
        sum += s->zero_in * outside;
      }
      c->out[p * s->out_c + o] = requantize(s, &q, o, sum - less);
    }
  }
}

/* Depthwise 3x3 where all taps lie inside, most pixels of a MobileNet: x[ky] and w[ky] are (3, n), with equal strides. */
MBN_HOT static void depthwise_3x3(const mbn_step *s, const requant *q, const int8_t *const x[3], const int8_t *weights, int8_t *out) {
  const int32_t n = s->out_c;
  const int8_t *x0 = x[0], *x1 = x[1], *x2 = x[2], *w0 = weights, *w1 = w0 + 3 * n, *w2 = w1 + 3 * n;
  for (int32_t i = 0, j = n, k = 2 * n; i < n; i++, j++, k++)
    out[i] = requantize(s, q, i, x0[i] * w0[i] + x0[j] * w0[j] + x0[k] * w0[k] + x1[i] * w1[i] + x1[j] * w1[j] + x1[k] * w1[k] +
                                  x2[i] * w2[i] + x2[j] * w2[j] + x2[k] * w2[k]);
}

/* One pixel from any taps: those inside have an input, those outside count as zero_in. */
MBN_HOT static void depthwise_any(const mbn_call *c, const requant *q, tap_range r, int8_t *out) {
  const mbn_step *s = c->step;
  const int32_t in = s->in_c, n = s->out_c, times = n / in;
  const int8_t *x[MBN_MAX_KERNEL * MBN_MAX_KERNEL], *w[MBN_MAX_KERNEL * MBN_MAX_KERNEL]; /* those inside first */
  int32_t inside = 0, taps = s->kh * s->kw;
  for (int32_t ky = c->ky0; ky < c->ky1; ky++)
    for (int32_t kx = r.kx0; kx < r.kx1; kx++) {
      x[inside] = c->row[ky] + (r.at + kx) * in;
      w[inside++] = c->weights + (ky * s->kw + kx) * n;
    }
  for (int32_t t = 0, last = inside; t < taps; t++) {
    const int32_t ky = t / s->kw, kx = t % s->kw;
    if (ky < c->ky0 || ky >= c->ky1 || kx < r.kx0 || kx >= r.kx1) w[last++] = c->weights + t * n;
  }
  for (int32_t o = 0, i = 0, left = times; o < n; o++) {
    int32_t sum = 0, outside = 0, t = 0;
    for (; t < inside; t++) sum += x[t][i] * w[t][o];
    for (; t < taps; t++) outside += w[t][o];
    if (mbn_zero_w(s)) {
      for (outside -= mbn_zero_w(s) * (taps - inside), t = 0; t < inside; t++) sum -= mbn_zero_w(s) * x[t][i];
    }
    out[o] = requantize(s, q, o, sum + s->zero_in * outside);
    if (--left == 0) i++, left = times;
  }
}

MBN_HOT void mbn_portable_depthwise(const mbn_call *c) {
  const mbn_step *s = c->step;
  const requant q = requant_of(c);
  const int is_3x3 = s->kh == 3 && s->kw == 3 && s->in_c == s->out_c && c->ky1 - c->ky0 == 3;
  for (int32_t p = 0; p < c->n; p++) {
    const tap_range r = taps_of(c, p);
    int8_t *out = c->out + p * s->out_c;
    if (is_3x3 && r.kx1 - r.kx0 == 3 && !mbn_zero_w(s)) {
      const int8_t *const x[3] = {c->row[0] + r.at * s->in_c, c->row[1] + r.at * s->in_c, c->row[2] + r.at * s->in_c};
      depthwise_3x3(s, &q, x, c->weights, out);
    } else depthwise_any(c, &q, r, out);
  }
}

/* ---- the rest ---- */

/* The largest or the mean of a window; both, since neither takes much time in a MobileNet. */
MBN_HOT void mbn_portable_pool(const mbn_call *c) {
  const mbn_step *s = c->step;
  const int32_t n = s->out_c, taps = s->kh * s->kw, pads = s->flags & MBN_COUNTS_PADS, up = mbn_has(s, MBN_UNSIGNED) ? 128 : 0; /* to unsigned bytes */
  for (int32_t p = 0; p < c->n; p++) {
    const tap_range r = taps_of(c, p);
    const int32_t inside = (c->ky1 - c->ky0) * (r.kx1 - r.kx0), count = pads ? taps : inside;
    for (int32_t i = 0; i < n; i++) {
      int32_t sum = (pads ? (taps - inside) * s->zero_in : 0) + up * count, top = pads && inside < taps ? s->zero_in : -128;
      for (int32_t ky = c->ky0; ky < c->ky1; ky++)
        for (int32_t kx = r.kx0; kx < r.kx1; kx++) {
          const int32_t x = c->row[ky][(r.at + kx) * n + i];
          sum += x, top = x > top ? x : top;
        }
      const int32_t mean = (sum + (sum > 0 ? count / 2 : -(count / 2))) / count;
      c->out[p * n + i] = clamp((s->op == MBN_MAX_POOL ? top : mean - up) - s->zero_out, s); /* scale and zero point stay */
    }
  }
}

/* Both inputs get 20 more bits, are brought to one scale, added, and brought to the output's. */
MBN_HOT void mbn_portable_add(const mbn_call *c) {
  const mbn_step *s = c->step;
  const int32_t *k = c->constants;
  for (int32_t i = 0; i < c->n * s->out_c; i++) {
    const int32_t a = rescale((c->row[0][i] - s->zero_in) * (1 << 20), k[0], k[1]);
    const int32_t b = rescale((c->other[i] - s->zero_other) * (1 << 20), k[2], k[3]);
    c->out[i] = clamp(rescale(a + b, k[4], k[5]), s);
  }
}

/* 1 / (1 + x) of 0 <= x < 1 in Q0.31, by Newton and Raphson: one_over_one_plus_x_for_x_in_0_1. */
static int32_t reciprocal(int32_t x) {
  const int32_t half = (int32_t)(((int64_t)x + INT32_MAX + 1) >> 1); /* (x + 1) / 2 */
  int32_t y = 1515870810 + high_mul(half, -1010580540);              /* Q2.29: 48/17 - 32/17 * half */
  for (int i = 0; i < 3; i++) y += times_pot(high_mul(y, (1 << 29) - high_mul(half, y)), 2);
  return times_pot(y, 1); /* halved as a number, then from Q2 to Q0 */
}

#if MBN_MINOR > 1
int mbn_softmax_fits(const mbn_call *c) {
  const int32_t depth = c->step->out_c;
  const int8_t *x = c->row[0];
  for (int32_t p = 0; p < c->n; p++, x += depth) {
    int32_t top = x[0];
    uint32_t sum = 0; /* of up to 65,535 channels: it goes through 2^31 before it wraps */
    for (int32_t i = 1; i < depth; i++) top = x[i] > top ? x[i] : top;
    for (int32_t i = 0; i < depth; i++) {
      sum += (uint32_t)divide_pot(c->constants[top - x[i]], 12);
      if (sum >> 31) return 0;
    }
  }
  return 1;
}
#endif

void mbn_portable_softmax(const mbn_call *c) {
  const int32_t depth = c->step->out_c;
  for (int32_t p = 0; p < c->n; p++) {
    const int8_t *x = c->row[0] + p * depth;
    int32_t top = x[0], sum = 0, clz = 0;
    for (int32_t i = 1; i < depth; i++) top = x[i] > top ? x[i] : top;
    for (int32_t i = 0; i < depth; i++) sum += divide_pot(c->constants[top - x[i]], 12); /* Q12.19 */
    while (!((uint32_t)sum << clz & 0x80000000u)) clz++; /* sum >= 1: the largest value gave 2^19 */
    const int32_t per = reciprocal((int32_t)(((uint32_t)sum << clz) - 0x80000000u));
    const int32_t shift = 12 - clz + 31 - 8; /* beyond 31 all is 0; TFLM aborts there, from 512 equal classes on */
    for (int32_t i = 0; i < depth; i++) {
      /* a file may let the output overlap the input, and top be no longer the largest: (uint8_t) keeps inside the table */
      const int32_t y = (shift > 31 ? 0 : divide_pot(high_mul(per, c->constants[(uint8_t)(top - x[i])]), shift)) - 128;
      c->out[p * depth + i] = (int8_t)(y > 127 ? 127 : y);
    }
  }
}

MBN_HOT void mbn_portable_lookup(const mbn_call *c) {
  const int8_t *table = (const int8_t *)c->constants + 128;
  for (int32_t i = 0; i < c->n * c->step->out_c; i++) c->out[i] = table[c->row[0][i]];
}

MBN_HOT void mbn_portable_mul(const mbn_call *c) {
  const mbn_step *s = c->step;
  for (int32_t i = 0; i < c->n * s->out_c; i++)
    c->out[i] = clamp(rescale((c->row[0][i] - s->zero_in) * (c->other[i] - s->zero_other), c->constants[0], c->constants[1]), s);
}

void mbn_portable_arg_max(const mbn_call *c) {
  const int32_t depth = c->step->in_c;
  for (int32_t p = 0; p < c->n; p++) {
    const int8_t *x = c->row[0] + p * depth;
    int32_t top = 0;
    for (int32_t i = 1; i < depth; i++) if (x[i] > x[top]) top = i;
    c->out[p] = (int8_t)(top - 128);
  }
}

/* 1024ths of a row times 1024ths of a column; halves away from zero, or of unsigned bytes up. */
void mbn_resize(const mbn_step *s, const int8_t *low, const int8_t *high, int32_t share, const int16_t *column, int32_t n, int8_t *out) {
  for (; n; n--, column += 2) {
    const int32_t at = column[0] * s->in_c, next = at + (column[1] ? s->in_c : 0), right = column[1];
    for (int32_t i = 0; i < s->in_c; i++) {
      const int32_t sum = (1024 - share) * ((1024 - right) * low[at + i] + right * low[next + i]) + share * ((1024 - right) * high[at + i] + right * high[next + i]);
      *out++ = (int8_t)(mbn_has(s, MBN_UNSIGNED) ? (sum + (1 << 19)) >> 20 : (sum + (sum > 0 ? 1 << 19 : -(1 << 19))) / (1 << 20));
    }
  }
}

#ifndef MBN_HAS_MVE /* has its own */
MBN_HOT void mbn_sum_add(int32_t *sums, const int8_t *pixels, int32_t n, int32_t channels) {
  for (; n; n--) for (int32_t i = 0; i < channels; i++) sums[i] += *pixels++;
}
#endif

void mbn_sum_end(const mbn_step *s, const int32_t *k, const int32_t *sums, int8_t *out) {
  const int32_t count = s->in_h * s->in_w, up = mbn_has(s, MBN_UNSIGNED) ? 128 : 0; /* to unsigned bytes */
  for (int32_t i = 0; i < s->out_c; i++) {
    const int32_t x = sums[i] + up * count;
    if (s->op == MBN_MEAN) out[i] = clamp(rescale(x - s->zero_in * count, k[0], k[1]), s);
    else out[i] = clamp((x + (x > 0 ? count / 2 : -(count / 2))) / count - up - s->zero_out, s); /* keeps scale and zero point */
  }
}
