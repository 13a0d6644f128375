/* Every kernel of the engine's table against a slow reference, on ugly shapes drawn at random.
 *
 *   check CASES SEED                    on this computer; CASES for each layout and op
 *   check CASES SEED OP wrong|beyond    with a defect in that op's kernel, which must be found
 *
 * On a core without an operating system (bare.c) CASES and SEED are macros. Says how many cases passed of each op; or the first that
 * failed, and exits with 1. Kernels see their operands at any alignment that a file or an arena allows, between guard bytes that
 * must stay as they are; sanitizers see reads behind an operand, too. */
#include <stddef.h>
#include "pack.h"
#include "reference.h"

#if __STDC_HOSTED__
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static void put(const char *text) { fputs(text, stdout); }
#else
void put(const char *text);
void *memset(void *to, int value, size_t n);
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define POISON(from, n) ASAN_POISON_MEMORY_REGION(from, n)
#define UNPOISON(from, n) ASAN_UNPOISON_MEMORY_REGION(from, n)
#else
#define POISON(from, n) (void)0
#define UNPOISON(from, n) (void)0
#endif
#ifndef BLOCK
#define BLOCK (1 << 19) /* bytes for a case; one that needs more is left out */
#endif
#define GUARD 24 /* bytes around each operand */

static const char *const names[MBN_OPS] = {"conv", "depthwise", "max_pool", "average_pool", "add", "mean", "global_average", "softmax",
                                           "lookup", "tee", "keep", "recall", "again", "concat", "resize", "arg_max", "mul"};

static void put_number(const char *before, int32_t value) {
  char digits[12] = {0};
  int at = 11;
  uint32_t left = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
  do digits[--at] = (char)('0' + left % 10); while (left /= 10);
  if (value < 0) digits[--at] = '-';
  put(before), put(digits + at);
}

/* ---- chance ---- */

static uint32_t seed;

static uint32_t draw(void) { /* xorshift: its low bits are as good as its high ones */
  seed ^= seed << 13, seed ^= seed >> 17;
  return seed ^= seed << 5;
}

static int32_t between(int32_t low, int32_t high) { return low + (int32_t)(draw() % (uint32_t)(high - low + 1)); }
static int one_in(int32_t n) { return between(1, n) == 1; }
static int8_t any_byte(void) { return (int8_t)(one_in(8) ? one_in(2) ? -128 : 127 : between(-128, 127)); }
static int8_t zero_point(void) { return (int8_t)(one_in(3) ? one_in(2) ? -128 : 127 : one_in(4) ? 0 : between(-128, 127)); }
static int32_t channels(void) { return one_in(2) ? between(1, 5) : one_in(2) ? between(6, 20) : 8 * between(1, 5) + between(-1, 1); }
static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

static int32_t multiplier(void) {
  return one_in(12) ? 0 : one_in(8) ? INT32_MAX : one_in(8) ? 1 << 30 : (int32_t)(draw() >> 2 | 1u << 30);
}

/* ---- memory ---- */

static uint32_t block_words[BLOCK / 4]; /* aligned */
static uint8_t *const block = (uint8_t *)block_words;
static uint32_t used;

/* `n` bytes at `align` times anything plus chance, behind guard bytes; NULL if there is no room. */
static void *place(int64_t n, uint32_t align) {
  const uint32_t at = (used + GUARD + (align == 1 ? draw() % 8 : 0) + align - 1) / align * align;
  if (used == BLOCK || n + at + GUARD > BLOCK) { used = BLOCK; return 0; }
  POISON(block + used, at - used);
  used = at + (uint32_t)n;
  UNPOISON(block + at, n);
  POISON(block + used, GUARD);
  return block + at;
}

static int8_t *bytes(int64_t n) { /* drawn at random; some kinds are extreme throughout */
  int8_t *made = place(n, 1);
  const int kind = between(0, 9);
  for (int64_t i = 0; made && i < n; i++) made[i] = (int8_t)(kind == 0 ? -128 : kind == 1 ? 127 : any_byte());
  return made;
}

/* FNV of all of the block but the output and the scratch. */
static uint32_t hash_without(const int8_t *out, uint32_t n, const int8_t *scratch, uint32_t scratch_bytes) {
  uint32_t found = 2166136261u;
  const uint32_t from = (uint32_t)((const uint8_t *)out - block), also = scratch ? (uint32_t)((const uint8_t *)scratch - block) : 0;
  for (uint32_t i = 0; i < used + GUARD; i++) if (i - from >= n && i - also >= scratch_bytes) found = (found ^ block[i]) * 16777619u;
  return found;
}

/* ---- a case ---- */

typedef struct {
  mbn_step step;
  mbn_call call;
  int8_t *weights;          /* portable */
  int32_t *constants;
  int32_t pixels;           /* of MEAN and GLOBAL_AVERAGE */
} test;

static void bounds(mbn_step *s) {
  s->low = -128, s->high = 127;
  if (one_in(2)) s->low = s->zero_out;                                         /* RELU */
  if (one_in(3)) s->high = (int8_t)between(s->low, 127);                       /* RELU6 */
  if (one_in(10)) s->low = any_byte(), s->high = (int8_t)least(s->low + between(0, 2), 127);
}

/* The window of a head: some taps may lie outside on each side, but each output sees at least one that does not. */
static int window(test *t, int32_t kh, int32_t kw) {
  mbn_step *s = &t->step;
  mbn_call *c = &t->call;
  s->flags = MBN_HEAD, s->kh = (uint8_t)kh, s->kw = (uint8_t)kw, s->sh = (uint8_t)between(1, 3), s->sw = (uint8_t)between(1, 3);
  c->ky0 = one_in(2) ? 0 : between(0, kh - 1), c->ky1 = one_in(2) ? kh : between(c->ky0 + 1, kh);
  c->n = between(1, one_in(4) ? 17 : 6);
  c->column = one_in(2) ? 0 : -between(0, kw - 1);
  const int32_t last = c->column + (c->n - 1) * s->sw; /* tap 0 of the last output */
  c->width = one_in(3) ? last + kw + between(0, 3) : between(last + 1, last + kw);
  if (c->width < 1) c->width = 1;
  const int32_t columns = least(c->width, last + kw);   /* no more need be in memory */
  for (int32_t ky = c->ky0; ky < c->ky1; ky++)
    if (!(c->row[ky] = bytes((int64_t)columns * s->in_c))) return 0;
  s->in_w = (uint16_t)c->width, s->in_h = (uint16_t)kh, s->out_w = (uint16_t)c->n, s->out_h = 1;
  return 1;
}

/* The input of a step that is no head: a group of pixels. */
static int group(test *t, int32_t n) {
  mbn_step *s = &t->step;
  t->call.n = t->call.width = n, t->call.ky1 = 1;
  s->kh = s->kw = s->sh = s->sw = 1, s->in_h = s->out_h = 1, s->in_w = s->out_w = (uint16_t)n;
  return (t->call.row[0] = bytes((int64_t)n * s->in_c)) != 0;
}

static int8_t *weights(const test *t, int tame) { /* those that are packed are never -128, or, of 4 bits, rarely -8 */
  const int64_t n = (int64_t)mbn_taps_of(&t->step) * t->step.out_c;
  int8_t *made = bytes(n);
  for (int64_t i = 0; made && tame && i < n; i++) if (made[i] == -128) made[i] = -127;
  for (int64_t i = 0; made && t->step.flags & MBN_INT4 && i < n; i++) made[i] = (int8_t)bounded(made[i] / 16, tame && !one_in(50) ? -7 : -8, 7);
  return made;
}

/* Weights of 4 bits as portable files have them, and memory for an output's. */
static int nibbles(test *t) {
  const int32_t taps = mbn_taps_of(&t->step), each = (taps + 1) / 2;
  int8_t *made = place((int64_t)each * t->step.out_c, 1);
  for (int32_t i = 0; made && i < taps * t->step.out_c; i++) {
    const uint32_t bits = (uint32_t)t->weights[i] & 15;
    int8_t *at = made + i / taps * each + i % taps / 2;
    *at = (int8_t)(uint8_t)(i % taps % 2 ? ((uint32_t)(uint8_t)*at & 15) | bits << 4 : bits);
  }
  t->call.weights = made;
  return made && (t->call.scratch = place(mbn_scratch_bytes(MBN_PORTABLE, &t->step), 4)) != 0;
}

/* Bias, multiplier and shift of each channel. Sums stay inside 32 bits, where TFLM is defined, but may come close to the ends; so does
 * what a shift to the left makes of them. Most shifts bring sums to 8 bits, so that outputs are no constants. */
static int requantization(test *t, int tame) {
  const mbn_step *s = &t->step;
  const int32_t n = s->out_c;
  int32_t *bias = t->constants = place(9 * (int64_t)n, 4), *scale = bias + n;
  int8_t *shift = (int8_t *)(scale + n);
  if (!bias) return 0;
  for (int32_t o = 0; o < n; o++) {
    int64_t low = INT64_MAX, high = INT64_MIN, real;
    for (int32_t p = 0; p < t->call.n; p++) {
      const int64_t sum = products(&t->call, t->weights, p, o);
      low = sum < low ? sum : low, high = sum > high ? sum : high;
    }
    real = one_in(10) ? INT32_MAX - high : one_in(10) ? INT32_MIN - low : one_in(4) ? -(low + high) / 2 : between(-5000, 5000);
    if (tame) real = one_in(4) ? -(low + high) / 2 : between(-5000, 5000);
    else if (one_in(20)) real = bounded(wrapped(draw()), INT32_MIN - low, INT32_MAX - high);
    bias[o] = wrapped(real - s->zero_in * weights_of(s, t->weights, o));
    int64_t largest = bounded(low + real, 0, INT32_MAX) > high + real ? low + real : high + real;
    if (-(low + real) > largest) largest = -(low + real);
    int32_t most = 0, fit = 0;
    while (most < 30 && largest << (most + 1) <= INT32_MAX) most++; /* to the left */
    while (largest >> fit > 127) fit++;
    scale[o] = multiplier();
    shift[o] = (int8_t)(one_in(8) ? between(-31, most) : one_in(12) ? most : one_in(12) ? -31 : fit ? -(fit - between(0, 1)) : least(most, between(0, 3)));
    if (tame && shift[o] > -1) shift[o] = -1;
    if (tame && shift[o] < -30) shift[o] = -30;
  }
  return 1;
}

/* Packs weights and constants where the layout takes the step. 0: no room. */
static int32_t packed_cases;

static int packed(test *t, int layout) {
  mbn_step *s = &t->step;
  mbn_call *c = &t->call;
  const mbn_extent e = mbn_packed_extent(layout, s);
  if (!e.weights || !can_be_packed(layout, s, t->weights, t->constants)) return 1;
  s->packed = 1, packed_cases++;
  int8_t *weights = place((int64_t)e.weights, 4);
  int32_t *scales = place((int64_t)e.constants, 4);
  if (!weights || !scales) return 0;
  pack[layout](s, t->weights, t->constants, weights, scales);
  c->weights = weights, c->constants = scales;
  return (c->scratch = place(mbn_scratch_bytes(layout, s), 4)) != 0;
}

/* Draws a case of an op, without its output; 0: no room. */
static int made(test *t, int op, int layout) {
  mbn_step *s = &t->step;
  mbn_call *c = &t->call;
  memset(t, 0, sizeof *t);
  used = 0;
  c->step = s, s->op = (uint8_t)op, s->zero_in = zero_point(), s->zero_out = zero_point(), s->zero_other = zero_point();
  if (op != MBN_ADD && !one_in(3)) s->zero_other = 0; /* of the weights: none */
  s->in_c = s->out_c = (uint16_t)channels();
  bounds(s);
  const int tame = layout && !one_in(4); /* weights, shifts and bounds are such as layouts pack; otherwise few are */
  switch (op) {
    case MBN_CONV: {
      const int32_t kernel = one_in(3) ? 3 : between(1, MBN_MAX_KERNEL), pointwise = one_in(2);
      if (one_in(3)) s->in_c = (uint16_t)between(1, 4); /* the first layer's */
      s->out_c = (uint16_t)channels();
      if (pointwise && one_in(25)) s->out_c = 1000, s->in_c = (uint16_t)(one_in(2) ? 1 : channels());
      if (pointwise && tame && one_in(20)) s->in_c = (uint16_t)between(500, 530);
      if (pointwise ? !group(t, s->out_c == 1000 ? 1 : between(1, 9)) : !window(t, one_in(8) ? 1 : kernel, kernel)) return 0;
      if (MBN_MINOR > 1 && !s->zero_other && one_in(3)) s->flags |= MBN_INT4;
      if (!(t->weights = weights(t, tame)) || !requantization(t, tame)) return 0;
      break;
    }
    case MBN_DEPTHWISE: {
      const int one = tame && one_in(6); /* channel in, which a layout may take for a convolution */
      const int32_t kernel = (tame && !one) || one_in(2) ? 3 : between(1, MBN_MAX_KERNEL);
      if (tame && one_in(2)) s->in_c = s->out_c = (uint16_t)mbn_up_to(s->in_c, one_in(2) ? 16 : 4);
      if (tame && s->low < s->zero_out) s->low = s->zero_out, s->high = (int8_t)(s->high < s->low ? 127 : s->high);
      if (one) s->in_c = 1, bounds(s);
      if (!tame && one_in(4)) s->in_c = (uint16_t)between(1, 7), s->out_c = (uint16_t)(s->in_c * between(1, 5));
      if (tame && one_in(8)) s->in_c = 1, s->out_c = (uint16_t)channels();
      if (!window(t, !tame && one_in(8) ? 1 : kernel, kernel) || !(t->weights = weights(t, tame)) || !requantization(t, tame)) return 0;
      break;
    }
    case MBN_MAX_POOL:
    case MBN_AVERAGE_POOL:
      if (!window(t, between(1, MBN_MAX_KERNEL), between(1, MBN_MAX_KERNEL))) return 0;
      if (one_in(2)) s->flags |= MBN_COUNTS_PADS;
      if (one_in(3)) s->flags |= MBN_UNSIGNED;
      break;
    case MBN_ADD:
      if (!group(t, between(1, 9)) || !(c->other = bytes((int64_t)c->n * s->in_c)) || !(t->constants = place(24, 4))) return 0;
      for (int i = 0; i < 6; i += 2) t->constants[i] = multiplier(), t->constants[i + 1] = one_in(4) ? between(-31, 0) : -between(0, 6);
      if (one_in(2)) t->constants[5] = -between(14, 20); /* back from 20 more bits */
      for (int i = 0; i < 4; i += 2) if (one_in(2)) t->constants[i] = 1 << 30, t->constants[i + 1] = 0; /* the input with the larger scale */
      break;
    case MBN_MUL:
      if (!group(t, between(1, 9)) || !(c->other = bytes((int64_t)c->n * s->in_c)) || !(t->constants = place(8, 4))) return 0;
      t->constants[0] = multiplier(), t->constants[1] = one_in(4) ? between(-31, 14) : -between(0, 12);
      break;
    case MBN_ARG_MAX:
      s->in_c = (uint16_t)between(1, 256), s->out_c = 1;
      if (!group(t, between(1, 9))) return 0;
      break;
    case MBN_SOFTMAX:
      s->in_c = s->out_c = (uint16_t)(one_in(3) ? between(1, 3) : one_in(30) ? 1000 : channels());
      if (!group(t, s->out_c == 1000 ? 1 : between(1, 4)) || !(t->constants = place(1024, 4))) return 0;
      t->constants[0] = INT32_MAX;
      for (int i = 1, steep = between(0, 20); i < 256; i++) { /* falls as an exponential does */
        const int32_t before = t->constants[i - 1];
        t->constants[i] = steep == 20 ? 0 : before - (before >> steep) - (before && steep ? between(0, 1) : 0);
      }
      break;
    case MBN_LOOKUP:
      if (!group(t, between(1, 9)) || !(t->constants = (int32_t *)(void *)bytes(256))) return 0;
      break;
    default: { /* MBN_MEAN, MBN_GLOBAL_AVERAGE */
      s->in_h = (uint16_t)between(1, 9), s->in_w = (uint16_t)between(1, 9), s->out_h = s->out_w = 1, s->flags = MBN_HEAD | (op == MBN_GLOBAL_AVERAGE && one_in(3) ? MBN_UNSIGNED : 0);
      s->kh = s->kw = s->sh = s->sw = 1, t->pixels = s->in_h * s->in_w, c->n = 1;
      if (!(c->row[0] = bytes((int64_t)t->pixels * s->in_c)) || !(t->constants = place(8, 4))) return 0;
      t->constants[0] = multiplier(), t->constants[1] = one_in(3) ? between(-31, 8) : -between(0, 8);
    }
  }
  c->constants = t->constants, c->weights = t->weights;
  if (t->weights && pack[layout] && !packed(t, layout)) return 0;
  return s->packed || !(s->flags & MBN_INT4) || nibbles(t);
}

static int32_t expected(const test *t, int32_t i) {
  const mbn_step *s = &t->step;
  const mbn_call *c = &t->call;
  const int32_t p = i / s->out_c, o = i % s->out_c;
  switch (s->op) {
    case MBN_CONV:
    case MBN_DEPTHWISE: {
      const int32_t *bias = t->constants, *scale = bias + s->out_c;
      const int8_t *shift = (const int8_t *)(scale + s->out_c);
      const int64_t folded = s->zero_in * weights_of(s, t->weights, o); /* the file's bias has it subtracted */
      const int32_t sum = wrapped(products(c, t->weights, p, o) + bias[o] + folded);
      return (int32_t)bounded((int64_t)MultiplyByQuantizedMultiplier(sum, scale[o], shift[o]) + s->zero_out, s->low, s->high);
    }
    case MBN_MAX_POOL:
    case MBN_AVERAGE_POOL: return pool_of(c, p, o);
    case MBN_ADD: return add_of(c, i);
    case MBN_MUL: {
      const int32_t product = (c->row[0][i] - s->zero_in) * (c->other[i] - s->zero_other);
      return (int32_t)bounded((int64_t)MultiplyByQuantizedMultiplier(product, t->constants[0], (int)t->constants[1]) + s->zero_out, s->low, s->high);
    }
    case MBN_ARG_MAX: {
      const int8_t *x = c->row[0] + p * s->in_c;
      int32_t first = s->in_c - 1;
      for (int32_t k = first; k >= 0; k--) if (x[k] >= x[first]) first = k;
      return first - 128;
    }
    case MBN_SOFTMAX: return softmax_of(c, p, o);
    case MBN_LOOKUP: return ((const int8_t *)c->constants)[c->row[0][i] + 128];
    default: return sum_of(c, t->pixels, o);
  }
}

/* MEAN and GLOBAL_AVERAGE get their pixels in groups, as they come. */
static int summed(const test *t, int32_t *sums) {
  const mbn_step *s = &t->step;
  memset(sums, 0, 4u * s->in_c);
  for (int32_t at = 0, n; at < t->pixels; at += n) {
    n = least(between(1, 5), t->pixels - at);
    mbn_sum_add(sums, t->call.row[0] + at * s->in_c, n, s->in_c);
  }
  mbn_sum_end(s, t->constants, sums, t->call.out);
  return 1;
}

static int failed(const test *t, int layout, const char *why, int32_t at, int32_t wanted, int32_t found) {
  const mbn_step *s = &t->step;
  const mbn_call *c = &t->call;
  put_number("FAILED: layout ", layout), put(", "), put(names[s->op]), put_number(", kernel ", s->kh), put_number("x", s->kw);
  put_number(", rows inside ", c->ky0), put_number(" to ", c->ky1), put_number(", column ", c->column), put_number(" of ", c->width);
  put_number(", stride ", s->sw), put_number(", channels ", s->in_c), put_number(" -> ", s->out_c), put_number(", pixels ", c->n);
  put_number(", zero points ", s->zero_in), put_number(" ", s->zero_other), put_number(" ", s->zero_out), put_number(", bounds ", s->low);
  put_number(" ", s->high), put_number(", flags ", s->flags), put(s->packed ? ", packed: " : ": "), put(why);
  if (at >= 0) put_number(" at pixel ", at / s->out_c), put_number(", channel ", at % s->out_c), put_number(": wanted ", wanted), put_number(", found ", found);
  put("\n");
  return -1;
}

/* 1: passed; 0: left out, since it needs more room than there is; -1: failed. */
static int checked(int layout, int op, int defect) {
  static test t;
  const mbn_kernel kernel = mbn_kernels[layout][op];
  UNPOISON(block, BLOCK);
  if (!made(&t, op, layout)) return 0;
  const uint32_t n = (uint32_t)t.call.n * t.step.out_c;
  int32_t *sums = kernel ? 0 : place(4 * (int64_t)t.step.in_c, 4);
  t.call.out = place(n, 1);
  if (!t.call.out) return 0;
  memset(t.call.out, 0x55, n);
  if (sums) summed(&t, sums); /* once before, so that the sums are no change */
  UNPOISON(block, BLOCK);
  const uint32_t scratch = t.call.scratch ? mbn_scratch_bytes(layout, &t.step) : 0;
  const uint32_t before = hash_without(t.call.out, n, t.call.scratch, scratch);
  POISON(t.call.out + n, GUARD);
  if (kernel) kernel(&t.call);
  else summed(&t, sums);
  UNPOISON(block, BLOCK);
  if (defect == 1 && n > 2 && n % 2) t.call.out[n - 1] ^= 1;
  if (defect == 2 && n % 2) t.call.out[n] ^= 1;
  for (uint32_t i = 0; i < n; i++) {
    const int32_t wanted = expected(&t, (int32_t)i);
    if (t.call.out[i] != wanted) return failed(&t, layout, "the first difference is", (int32_t)i, wanted, t.call.out[i]);
  }
  return hash_without(t.call.out, n, t.call.scratch, scratch) == before ? 1 : failed(&t, layout, "something else than the output was written", -1, 0, 0);
}

static int check(int32_t cases, uint32_t from, int defective, int defect) {
  for (int layout = 0; layout < MBN_LAYOUTS; layout++) {
    if (layout && mbn_kernels[layout][MBN_CONV] && !pack[layout]) return put_number("FAILED: nothing here packs weights for layout ", layout), put("\n"), 1;
    for (int op = 0; op < MBN_OPS; op++) {
      int32_t passed = 0, left_out = 0;
      packed_cases = 0;
      if (!mbn_kernels[layout][op] && (layout || (op != MBN_MEAN && op != MBN_GLOBAL_AVERAGE))) continue;
      for (int32_t i = 0; i < cases; i++) {
        seed = (from * 4096u + (uint32_t)op) * 65536u + (uint32_t)i + 1u; /* each case can be repeated alone */
        for (int k = 0; k < 8; k++) draw();
        const int result = checked(layout, op, op == defective ? defect : 0);
        if (result < 0) return put_number("case ", i), put("\n"), 1;
        passed += result, left_out += !result;
      }
      put_number("layout ", layout), put(" "), put(names[op]), put_number(" ", passed), put_number(" passed, too large ", left_out), put_number(", packed ", packed_cases), put("\n");
    }
  }
  return 0;
}

#if __STDC_HOSTED__
int main(int argc, char **argv) {
  int op = MBN_OPS;
  if (argc == 5) for (op = 0; op < MBN_OPS && strcmp(names[op], argv[3]);) op++;
  if (argc != 3 && (argc != 5 || op == MBN_OPS)) return 2;
  return check(atoi(argv[1]), (uint32_t)atoi(argv[2]), op, argc == 5 ? 1 + !strcmp(argv[4], "beyond") : 0);
}
#else
int run(void) { return check(CASES, SEED, MBN_OPS, 0); }
#endif
