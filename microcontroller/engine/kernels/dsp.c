/* Kernels for cores with the DSP extension: Cortex-M4, M7, M33. SMLAD makes two products of halfwords and adds both; SXTB16 makes
 * halfwords of every other byte of a word. The loops are functions in assembly, since compilers keep 13 registers busy badly.
 *
 * Sums. A halfword of the packed weights is 256 * odd + even, of two outputs; a product with it gives A = 256 * sum(odd) + sum(even),
 * one with its low byte S = sum(even), so that sum(odd) = (A - S) >> 8, which is exact while sum(|w|) * 128 < 2^23.
 * Rounding. SMMULR is the high product with its rounding; ASRS leaves in the carry the bit that rounds the shift, and ADC adds it
 * together with the zero point. Halves of negative numbers go away from zero if 1 is taken from those first. */
#include "kernels.h"
#include "window.h"
#ifdef MBN_HAS_DSP
#include "assembly.h"

/* ---- requantization: of register r by {2 * bias, multiplier, shift} in r8, r9, r10; r11 is the zero point ---- */

#define SIGNED(r) "add " r ", " r ", " r ", asr #31\n" /* halves of negative numbers away from zero */
#define RECTIFIED(r)                                   /* they become `low` either way */
#define REQUANTIZE(r, doubled, FIX) \
  "add " r ", r8, " r ", " doubled "\n smmulr " r ", " r ", r9\n" FIX(r) "asrs " r ", " r ", r10\n adc " r ", " r ", r11\n ssat " r ", #8, " r "\n"
#define JOIN(a, b, c, d) "bfi " a ", " b ", #8, #8\n bfi " a ", " c ", #16, #8\n bfi " a ", " d ", #24, #8\n" /* four bytes to one word */
#define MULTIPLY(d, x, w) "smuad " d ", " x ", " w "\n"
#define ACCUMULATE(d, x, w) "smlad " d ", " x ", " w ", " d "\n"

/* ---- products of a matrix: 4 outputs of 2 pixels, or of 1, at once ---- */

typedef struct {
  const uint32_t *taps, *taps_end; /* pairs of halfwords; of two pixels in turn */
  const int32_t *scales;           /* {2 * bias, multiplier, shift} */
  int32_t zero;
  int8_t *out;
  int32_t stride;                  /* from an output of the first pixel to that of the second */
  int8_t *out_end;                 /* of the first pixel, a multiple of 4 away */
  const uint32_t *weights;
} matrix_call;

/* r0 to r3: sums of four outputs for the first pixel, r4 to r7 for the second; odd ones as A above. lr: weights, r12: taps. */
#define TWO_PIXELS(OP) \
  "ldrd r8, r9, [lr], #8\n ldrd r10, r11, [r12], #8\n" \
  OP("r1", "r10", "r8") OP("r5", "r11", "r8") "sxtb16 r8, r8\n" OP("r0", "r10", "r8") OP("r4", "r11", "r8") \
  OP("r3", "r10", "r9") OP("r7", "r11", "r9") "sxtb16 r9, r9\n" OP("r2", "r10", "r9") OP("r6", "r11", "r9")
#define ONE_PIXEL(OP) \
  "ldrd r8, r9, [lr], #8\n ldr r10, [r12], #4\n" \
  OP("r1", "r10", "r8") "sxtb16 r8, r8\n" OP("r0", "r10", "r8") OP("r3", "r10", "r9") "sxtb16 r9, r9\n" OP("r2", "r10", "r9")
#define SCALES "ldm r12!, {r8, r9, r10}\n"
#define TWO_OUT(FIX) \
  "sub r1, r1, r0\n sub r3, r3, r2\n sub r5, r5, r4\n sub r7, r7, r6\n" /* 256 * sum(odd): shifted by 7 it is doubled, as the bias */ \
  SCALES REQUANTIZE("r0", "lsl #1", FIX) REQUANTIZE("r4", "lsl #1", FIX) SCALES REQUANTIZE("r1", "asr #7", FIX) REQUANTIZE("r5", "asr #7", FIX) \
  SCALES REQUANTIZE("r2", "lsl #1", FIX) REQUANTIZE("r6", "lsl #1", FIX) SCALES REQUANTIZE("r3", "asr #7", FIX) REQUANTIZE("r7", "asr #7", FIX) \
  JOIN("r0", "r1", "r2", "r3") JOIN("r4", "r5", "r6", "r7") "ldrd r8, r9, [sp, #16]\n str r4, [r8, r9]\n"
#define ONE_OUT(FIX) \
  "sub r1, r1, r0\n sub r3, r3, r2\n" \
  SCALES REQUANTIZE("r0", "lsl #1", FIX) SCALES REQUANTIZE("r1", "asr #7", FIX) SCALES REQUANTIZE("r2", "lsl #1", FIX) SCALES REQUANTIZE("r3", "asr #7", FIX) \
  JOIN("r0", "r1", "r2", "r3") "ldr r8, [sp, #16]\n"
#define MATRIX(name, PIXELS, OUT, FIX) \
  FUNCTION(name, \
    "push {r4-r11, lr}\n ldm r0, {r0-r7}\n mov lr, r7\n push {r0-r6}\n" /* frame: as matrix_call */ \
    "1: ldr r12, [sp]\n" PIXELS(MULTIPLY) PIXELS(ACCUMULATE) PIXELS(ACCUMULATE) PIXELS(ACCUMULATE) \
    "ldr r8, [sp, #4]\n cmp r12, r8\n beq 3f\n" \
    "2:" PIXELS(ACCUMULATE) PIXELS(ACCUMULATE) PIXELS(ACCUMULATE) PIXELS(ACCUMULATE) "ldr r8, [sp, #4]\n cmp r12, r8\n bne 2b\n" \
    "3: ldrd r12, r11, [sp, #8]\n" OUT(FIX) \
    "str r0, [r8], #4\n str r8, [sp, #16]\n str r12, [sp, #8]\n ldr r10, [sp, #24]\n cmp r8, r10\n bne 1b\n" \
    "add sp, sp, #28\n pop {r4-r11, pc}\n"); \
  void name(const matrix_call *)
MATRIX(mbn_dsp_two_rectified, TWO_PIXELS, TWO_OUT, RECTIFIED);
MATRIX(mbn_dsp_one_rectified, ONE_PIXEL, ONE_OUT, RECTIFIED);
MATRIX(mbn_dsp_two_signed, TWO_PIXELS, TWO_OUT, SIGNED);
MATRIX(mbn_dsp_one_signed, ONE_PIXEL, ONE_OUT, SIGNED);

#if MBN_MINOR > 1
/* The same of weights of 4 bits. Before the taps lie what the sums begin with. Of a halfword B3 is a product with all four nibbles, B2 with those of
 * the outputs 2 and 0, B1 of 1 and 0, B0 of 0: 4096 * sum(3) = B3 - B2 - (B1 - B0), 256 * sum(2) = B2 - B0, 16 * sum(1) = B1 - B0. */
#define TWO_PIXELS_4 \
  "ldr r8, [lr], #4\n ldrd r10, r11, [r12], #8\n" ACCUMULATE("r3", "r10", "r8") ACCUMULATE("r7", "r11", "r8") \
  "and r9, r8, #0x0f0f0f0f\n" ACCUMULATE("r2", "r10", "r9") ACCUMULATE("r6", "r11", "r9") \
  "uxtb16 r9, r8\n" ACCUMULATE("r1", "r10", "r9") ACCUMULATE("r5", "r11", "r9") \
  "and r8, r8, #0x000f000f\n" ACCUMULATE("r0", "r10", "r8") ACCUMULATE("r4", "r11", "r8")
#define ONE_PIXEL_4 \
  "ldr r8, [lr], #4\n ldr r10, [r12], #4\n" ACCUMULATE("r3", "r10", "r8") "and r9, r8, #0x0f0f0f0f\n" ACCUMULATE("r2", "r10", "r9") \
  "uxtb16 r9, r8\n" ACCUMULATE("r1", "r10", "r9") "and r8, r8, #0x000f000f\n" ACCUMULATE("r0", "r10", "r8")
#define APART(b0, b1, b2, b3) "sub " b3 ", " b3 ", " b2 "\n sub " b1 ", " b1 ", " b0 "\n sub " b2 ", " b2 ", " b0 "\n sub " b3 ", " b3 ", " b1 "\n"
#define TWO_OUT_4(FIX) \
  APART("r0", "r1", "r2", "r3") APART("r4", "r5", "r6", "r7") \
  SCALES REQUANTIZE("r0", "lsl #1", FIX) REQUANTIZE("r4", "lsl #1", FIX) SCALES REQUANTIZE("r1", "asr #3", FIX) REQUANTIZE("r5", "asr #3", FIX) \
  SCALES REQUANTIZE("r2", "asr #7", FIX) REQUANTIZE("r6", "asr #7", FIX) SCALES REQUANTIZE("r3", "asr #11", FIX) REQUANTIZE("r7", "asr #11", FIX) \
  JOIN("r0", "r1", "r2", "r3") JOIN("r4", "r5", "r6", "r7") "ldrd r8, r9, [sp, #16]\n str r4, [r8, r9]\n"
#define ONE_OUT_4(FIX) \
  APART("r0", "r1", "r2", "r3") \
  SCALES REQUANTIZE("r0", "lsl #1", FIX) SCALES REQUANTIZE("r1", "asr #3", FIX) SCALES REQUANTIZE("r2", "asr #7", FIX) SCALES REQUANTIZE("r3", "asr #11", FIX) \
  JOIN("r0", "r1", "r2", "r3") "ldr r8, [sp, #16]\n"
#define MATRIX_4(name, BEGIN, PIXELS, OUT, FIX) \
  FUNCTION(name, \
    "push {r4-r11, lr}\n ldm r0, {r0-r7}\n mov lr, r7\n push {r0-r6}\n" \
    "1: ldr r12, [sp]\n ldm r12!, " BEGIN "\n" \
    "2:" PIXELS PIXELS PIXELS PIXELS "ldr r8, [sp, #4]\n cmp r12, r8\n bne 2b\n" \
    "ldrd r12, r11, [sp, #8]\n" OUT(FIX) \
    "str r0, [r8], #4\n str r8, [sp, #16]\n str r12, [sp, #8]\n ldr r10, [sp, #24]\n cmp r8, r10\n bne 1b\n" \
    "add sp, sp, #28\n pop {r4-r11, pc}\n"); \
  void name(const matrix_call *)
MATRIX_4(mbn_dsp_two_rectified_4, "{r0-r7}", TWO_PIXELS_4, TWO_OUT_4, RECTIFIED);
MATRIX_4(mbn_dsp_one_rectified_4, "{r0-r3}", ONE_PIXEL_4, ONE_OUT_4, RECTIFIED);
MATRIX_4(mbn_dsp_two_signed_4, "{r0-r7}", TWO_PIXELS_4, TWO_OUT_4, SIGNED);
MATRIX_4(mbn_dsp_one_signed_4, "{r0-r3}", ONE_PIXEL_4, ONE_OUT_4, SIGNED);

/* Sums of the taps of two pixels that lie there as pairs of halfwords, a multiple of 8. */
FUNCTION(mbn_dsp_sums,
  "push {r4-r8, lr}\n mov r12, #0x10001\n movs r3, #0\n movs r4, #0\n"
  "1: ldm r0!, {r5-r8}\n smlad r3, r5, r12, r3\n smlad r4, r6, r12, r4\n smlad r3, r7, r12, r3\n smlad r4, r8, r12, r4\n"
  "ldm r0!, {r5-r8}\n smlad r3, r5, r12, r3\n smlad r4, r6, r12, r4\n smlad r3, r7, r12, r3\n smlad r4, r8, r12, r4\n cmp r0, r1\n bne 1b\n"
  "strd r3, r4, [r2]\n pop {r4-r8, pc}\n");
void mbn_dsp_sums(const uint32_t *from, const uint32_t *end, int32_t sums[2]);

/* What four sums begin with, of two pixels or one: the weights come with 8 more, but the highest nibbles. */
MBN_HOT static void begin_sums(uint32_t *taps, const uint32_t *end, int two) {
  int32_t sums[2] = {0, 0};
  uint32_t *const from = taps + (two ? 8 : 4);
  if (two) mbn_dsp_sums(from, end, sums);
  else for (const uint32_t *x = from; x < end; x++) __asm__("smlad %0, %1, %2, %0" : "+r"(sums[0]) : "r"(*x), "r"(0x10001));
  for (int32_t p = 0; p <= two; p++, taps += 4) {
    const uint32_t less = 0u - 8u * (uint32_t)sums[p];
    taps[0] = less, taps[1] = 17 * less, taps[2] = 257 * less, taps[3] = 273 * less;
  }
}
#define RUN_4(two, s) ((two) ? mbn_is_rectified(s) ? mbn_dsp_two_rectified_4 : mbn_dsp_two_signed_4 : mbn_is_rectified(s) ? mbn_dsp_one_rectified_4 : mbn_dsp_one_signed_4)
#else
#define RUN_4(two, s) 0
#define begin_sums(taps, end, two) (void)0
#endif

/* Four outputs at a time; those that a last, incomplete four has too many go elsewhere. */
MBN_HOT static void matrix(const mbn_call *c, int two, int32_t words, int8_t *out) {
  const mbn_step *s = c->step;
  const int32_t first = MBN_FIRST(c), whole = MBN_LAST(c, s->out_c) & ~3, rest = MBN_LAST(c, s->out_c) & 3;
  void (*const run)(const matrix_call *) = mbn_is_int4(s) ? RUN_4(two, s) : two ? mbn_is_rectified(s) ? mbn_dsp_two_rectified : mbn_dsp_two_signed
                                               : mbn_is_rectified(s) ? mbn_dsp_one_rectified : mbn_dsp_one_signed;
  const uint32_t *taps = (const uint32_t *)(const void *)c->scratch, *weights = (const uint32_t *)(const void *)c->weights;
  matrix_call m = {taps, taps + (mbn_is_int4(s) ? two ? 8 : 4 : 0) + words, c->constants + 3 * first, s->zero_out, out + first, s->out_c, out + whole, weights};
  if (MBN_FIRST(c)) m.weights += (two ? words / 2 : words) / (mbn_is_int4(s) ? 4 : 2) * first;
  if (whole != first) run(&m);
  if (!rest) return;
  int8_t last[8];
  m.scales += 3 * (whole - first), m.out = last, m.stride = 4, m.out_end = last + 4;
  m.weights += (two ? words / 2 : words) / (mbn_is_int4(s) ? 4 : 2) * (whole - first); /* two weights a word, or four, two taps a word of taps */
  run(&m);
  for (int32_t i = 0; i < rest; i++) {
    out[whole + i] = last[i];
    if (two) out[s->out_c + whole + i] = last[4 + i];
  }
}

/* ---- taps as pairs of halfwords: bytes 0 2, then 1 3, of every word ---- */

static inline uint32_t word_at(const void *p) { uint32_t v; __builtin_memcpy(&v, p, 4); return v; }
static inline uint32_t even(uint32_t x) { uint32_t r; __asm__("sxtb16 %0, %1" : "=r"(r) : "r"(x)); return r; }
static inline uint32_t odd(uint32_t x) { uint32_t r; __asm__("sxtb16 %0, %1, ror #8" : "=r"(r) : "r"(x)); return r; }

static inline uint32_t bytes_at(const int8_t *x, int32_t n) { /* fewer than 4 */
  uint32_t v = 0;
  while (n--) v = v << 8 | (uint8_t)x[n];
  return v;
}

/* Where the next pair goes. */
typedef struct { uint32_t *at; int two; } expansion;

static inline void expand(expansion *e, uint32_t x, uint32_t y) {
  uint32_t *d = e->at;
  if (e->two) d[0] = even(x), d[1] = even(y), d[2] = odd(x), d[3] = odd(y), e->at = d + 4;
  else d[0] = even(x), d[1] = odd(x), e->at = d + 2;
}

/* Two parts of a sum, or what is left of it. */
static uint32_t two_parts(int32_t *sum) {
  uint32_t both = 0;
  for (int i = 0; i < 32; i += 16) {
    int32_t part;
    __asm__("ssat %0, #16, %1" : "=r"(part) : "r"(*sum));
    both |= (uint32_t)(uint16_t)part << i, *sum -= part;
  }
  return both;
}

/* The sum of a window as more taps, which meet the weights' zero point. */
MBN_HOT static void expand_sum(expansion *e, const uint32_t *from, int32_t taps) {
  int32_t x = 0, y = 0;
  for (; from < e->at; from += 1 + e->two) {
    __asm__("smlad %0, %1, %2, %0" : "+r"(x) : "r"(from[0]), "r"(0x10001));
    if (e->two) __asm__("smlad %0, %1, %2, %0" : "+r"(y) : "r"(from[1]), "r"(0x10001));
  }
  for (int32_t i = 0, pairs = mbn_up_to((taps + 255) / 256, 4) / 2; i < pairs; i++) {
    *e->at++ = two_parts(&x);
    if (e->two) *e->at++ = two_parts(&y);
  }
}

/* Behind what the sums of weights of 4 bits begin with. */
static inline expansion begin_expansion(const mbn_call *c, int two) {
  const expansion e = {(uint32_t *)(void *)c->scratch + (mbn_is_int4(c->step) ? two ? 8 : 4 : 0), two};
  return e;
}

/* Zeros up to a multiple of 8 taps. Returns how many words there are. */
static int32_t end_expansion(expansion *e, const mbn_call *c, int32_t all) {
  uint32_t *const start = begin_expansion(c, e->two).at, *const end = start + (all >> (e->two ? 0 : 1));
  if (mbn_zero_w(c->step)) expand_sum(e, start, mbn_taps_of(c->step));
  while (e->at < end) *e->at++ = 0;
  if (mbn_is_int4(c->step)) begin_sums((uint32_t *)(void *)c->scratch, end, e->two);
  return (int32_t)(end - start);
}

MBN_HOT static void expand_line(expansion *e, const int8_t *x, const int8_t *y, int32_t n) {
  uint32_t *d = e->at;
  if (e->two)
    for (; n >= 4; n -= 4, x += 4, y += 4, d += 4) {
      const uint32_t a = word_at(x), b = word_at(y);
      d[0] = even(a), d[1] = even(b), d[2] = odd(a), d[3] = odd(b);
    }
  else
    for (; n >= 4; n -= 4, x += 4, d += 2) {
      const uint32_t a = word_at(x);
      d[0] = even(a), d[1] = odd(a);
    }
  e->at = d;
}

/* ---- CONV ---- */

MBN_HOT static void conv_1x1(const mbn_call *c) {
  const mbn_step *s = c->step;
  const int32_t in = s->in_c, all = mbn_dsp_taps(s), most = mbn_makes_two(s) ? 2 : 1;
  const int8_t *x = c->row[0];
  int8_t *out = c->out;
  for (int32_t p = c->n; p > 0;) {
    const int32_t n = p < most ? p : most, left = in & 3;
    expansion e = begin_expansion(c, n == 2);
    expand_line(&e, x, x + in, in);
    if (left) expand(&e, bytes_at(x + in - left, left), n == 2 ? bytes_at(x + 2 * in - left, left) : 0);
    matrix(c, n == 2, end_expansion(&e, c, all), out);
    p -= n, x += n * in, out += n * s->out_c;
  }
}

/* Whole words of the rows first, then what they leave, four bytes of all rows at a time. */
MBN_HOT static void expand_window(expansion *e, const mbn_step *s, const int8_t *const x[], const int8_t *const y[]) {
  const int32_t line = s->kw * s->in_c, left = line & 3;
  for (int32_t ky = 0; ky < s->kh; ky++) expand_line(e, x[ky], y[ky], line);
  if (!left) return;
  int32_t n = 0;
  uint32_t a = 0, b = 0;
  for (int32_t ky = 0; ky < s->kh; ky++)
    for (int32_t i = line - left; i < line; i++) {
      a |= (uint32_t)(uint8_t)x[ky][i] << 8 * n, b |= (uint32_t)(uint8_t)y[ky][i] << 8 * n;
      if (++n == 4) { expand(e, a, b); n = 0, a = b = 0; }
    }
  if (n) expand(e, a, b);
}

MBN_HOT static void conv_window(const mbn_call *c) {
  const mbn_step *s = c->step;
  const int32_t taps = mbn_taps_of(s), all = mbn_dsp_taps(s), most = mbn_makes_two(s) ? 2 : 1;
  int8_t *const copy = c->scratch + (most == 2 ? 4 : 2) * (all + (mbn_is_int4(s) ? 8 : 0));
  const int8_t *x[MBN_MAX_KERNEL], *y[MBN_MAX_KERNEL];
  for (int32_t p = 0, n; p < c->n; p += n) {
    n = c->n - p < most ? 1 : most;
    expansion e = begin_expansion(c, n == 2);
    window_of(c, p, copy, x);
    window_of(c, p + n - 1, copy + mbn_up_to(taps, 4), y);
    expand_window(&e, s, x, y);
    matrix(c, n == 2, end_expansion(&e, c, all), c->out + p * s->out_c);
  }
}

MBN_HOT void mbn_dsp_conv(const mbn_call *c) {
  if (!c->step->packed) { mbn_portable_conv(c); return; }
  if (mbn_is_1x1(c->step) && c->step->sw == 1) conv_1x1(c);
  else conv_window(c);
  clamp_outputs(c);
}

/* ---- DEPTHWISE 3x3, four channels at a time: PKHBT and PKHTB pair the bytes of two taps ---- */

typedef struct {
  const int8_t *row[3];
  int32_t channels;
  const uint32_t *weights;
  int32_t zero;
  int8_t *out;
  int32_t n, skip;          /* pixels; bytes from one to the next, less the channels */
} inside_call;

/* r0 to r3: sums; lr: weights. X and Y load the same four channels of two taps. */
#define TAPS(OP, X, Y) \
  X("r8") Y("r9") "pkhbt r10, r8, r9, lsl #16\n pkhtb r9, r9, r8, asr #16\n ldrd r11, r12, [lr], #8\n sxtb16 r8, r10\n sxtb16 r10, r10, ror #8\n" \
  OP("r0", "r8", "r11") OP("r1", "r10", "r12") \
  "ldrd r11, r12, [lr], #8\n sxtb16 r8, r9\n sxtb16 r10, r9, ror #8\n" OP("r2", "r8", "r11") OP("r3", "r10", "r12")
#define LAST_TAP(X) \
  X("r8") "ldrd r11, r12, [lr], #8\n sxtb16 r9, r8\n sxtb16 r10, r8, ror #8\n" \
  "smlabb r0, r9, r11, r0\n smlatt r2, r9, r11, r2\n smlabb r1, r10, r12, r1\n smlatt r3, r10, r12, r3\n"
#define REQUANTIZE_NEXT(r) "ldm lr!, {r8, r9, r10}\n" REQUANTIZE(r, "lsl #1", RECTIFIED)
#define FOUR_OUT /* frame: zero, out */ \
  "ldr r11, [sp]\n" REQUANTIZE_NEXT("r0") REQUANTIZE_NEXT("r1") REQUANTIZE_NEXT("r2") REQUANTIZE_NEXT("r3") \
  JOIN("r0", "r1", "r2", "r3") "ldr r12, [sp, #4]\n str r0, [r12], #4\n str r12, [sp, #4]\n"

/* All taps inside: r4, r5, r6 are rows, r7 the bytes of a pixel. */
#define ROW0_0(r) "ldr " r ", [r4], #4\n"
#define ROW0_1(r) "ldr " r ", [r4, r7]\n"
#define ROW0_2(r) "ldr " r ", [r4, r7, lsl #1]\n"
#define ROW1_0(r) "ldr " r ", [r5], #4\n"
#define ROW1_1(r) "ldr " r ", [r5, r7]\n"
#define ROW1_2(r) "ldr " r ", [r5, r7, lsl #1]\n"
#define ROW2_0(r) "ldr " r ", [r6], #4\n"
#define ROW2_1(r) "ldr " r ", [r6, r7]\n"
#define ROW2_2(r) "ldr " r ", [r6, r7, lsl #1]\n"
FUNCTION(mbn_dsp_3x3_inside, /* frame: zero, out, n, skip, weights, end of the channels */
  "push {r4-r11, lr}\n sub sp, sp, #24\n ldm r0!, {r4-r7}\n ldm r0, {r8-r12}\n str r8, [sp, #16]\n strd r9, r10, [sp]\n strd r11, r12, [sp, #8]\n"
  "1: add r8, r4, r7\n str r8, [sp, #20]\n ldr lr, [sp, #16]\n"
  "2:" TAPS(MULTIPLY, ROW0_1, ROW0_2) TAPS(ACCUMULATE, ROW1_1, ROW1_2) TAPS(ACCUMULATE, ROW2_1, ROW2_2) TAPS(ACCUMULATE, ROW0_0, ROW1_0) LAST_TAP(ROW2_0) FOUR_OUT
  "ldr r8, [sp, #20]\n cmp r4, r8\n bne 2b\n"
  "ldrd r8, r9, [sp, #8]\n add r4, r4, r9\n add r5, r5, r9\n add r6, r6, r9\n subs r8, r8, #1\n str r8, [sp, #8]\n bne 1b\n"
  "add sp, sp, #24\n pop {r4-r11, pc}\n");
void mbn_dsp_3x3_inside(const inside_call *);

/* One pixel of any nine taps: r4 is the channel, r7 how many there are. */
typedef struct {
  int32_t zero;
  int8_t *out;
  const int8_t *tap[9];
  int32_t channels;
  const uint32_t *weights;
} edge_call;

#define TAP(r, k) "ldr " r ", [sp, #8 + 4 * " #k "]\n ldr " r ", [" r ", r4]\n"
#define TAP0(r) TAP(r, 0)
#define TAP1(r) TAP(r, 1)
#define TAP2(r) TAP(r, 2)
#define TAP3(r) TAP(r, 3)
#define TAP4(r) TAP(r, 4)
#define TAP5(r) TAP(r, 5)
#define TAP6(r) TAP(r, 6)
#define TAP7(r) TAP(r, 7)
#define TAP8(r) TAP(r, 8)
FUNCTION(mbn_dsp_3x3_edge, /* frame: as edge_call, up to the taps */
  "push {r4-r11, lr}\n ldr r7, [r0, #44]\n ldr lr, [r0, #48]\n ldm r0, {r0-r6, r8-r11}\n push {r0-r6, r8-r11}\n movs r4, #0\n"
  "2:" TAPS(MULTIPLY, TAP1, TAP2) TAPS(ACCUMULATE, TAP4, TAP5) TAPS(ACCUMULATE, TAP7, TAP8) TAPS(ACCUMULATE, TAP0, TAP3) LAST_TAP(TAP6) FOUR_OUT
  "adds r4, #4\n cmp r4, r7\n bne 2b\n add sp, sp, #44\n pop {r4-r11, pc}\n");
void mbn_dsp_3x3_edge(const edge_call *);

MBN_HOT void mbn_dsp_depthwise(const mbn_call *c) {
  const mbn_step *s = c->step;
  const int32_t n = s->out_c;
  if (!s->packed) { mbn_portable_depthwise(c); return; }
  if (mbn_is_matrix(s)) { mbn_dsp_conv(c); return; }
  const uint32_t *const weights = (const uint32_t *)(const void *)c->weights;
  int zeros = 0;
  for (int32_t p = 0, run; p < c->n; p += run) {
    const int32_t at = c->column + p * s->sw;
    int8_t *out = c->out + p * n;
    run = 1;
    if (at >= 0 && at + 3 <= c->width && c->ky1 - c->ky0 == 3) {
      while (p + run < c->n && at + run * s->sw + 3 <= c->width) run++;
      const inside_call m = {{c->row[0] + at * n, c->row[1] + at * n, c->row[2] + at * n}, n, weights, s->zero_out, out, run, (s->sw - 1) * n};
      mbn_dsp_3x3_inside(&m);
      continue;
    }
    edge_call m = {s->zero_out, out, {0}, n, weights};
    if (!zeros) for (; zeros < n; zeros += 4) *(uint32_t *)(void *)(c->scratch + zeros) = (uint8_t)s->zero_in * 0x01010101u;
    for (int32_t ky = 0; ky < 3; ky++)
      for (int32_t kx = 0; kx < 3; kx++)
        m.tap[3 * ky + kx] = ky < c->ky0 || ky >= c->ky1 || at + kx < 0 || at + kx >= c->width ? c->scratch : c->row[ky] + (at + kx) * n;
    mbn_dsp_3x3_edge(&m);
  }
  clamp_all(s, c->out, c->n * n);
}

/* ---- ADD ---- */

static inline int32_t high_mul_doubled(int32_t a, int32_t b) { int32_t r; __asm__("smmulr %0, %1, %2" : "=r"(r) : "r"(a), "r"(b)); return r; }

static inline int32_t shifted(int32_t x, int32_t shift, int32_t zero) { /* shift >= 1 */
  __asm__("add %0, %0, %0, asr #31\n asrs %0, %0, %1\n adc %0, %0, %2" : "+r"(x) : "r"(shift), "r"(zero) : "cc");
  return x;
}

/* Both inputs get 20 more bits, and one more for SMMULR; less than 2^30 before and after their scales. The input with the larger scale
 * is halved, no more: TFLM gives it the multiplier 1/2 and no shift. */
MBN_HOT void mbn_dsp_add(const mbn_call *c) {
  const mbn_step *s = c->step;
  const int32_t *k = c->constants;
  const int first_is_halved = k[0] == 1 << 30 && !k[1], second_is_halved = k[2] == 1 << 30 && !k[3];
  const int8_t *x = c->row[0], *y = c->other;
  int32_t zero_x = s->zero_in, zero_y = s->zero_other, multiplier = k[2], shift = -k[3];
  if (!first_is_halved && second_is_halved) x = c->other, y = c->row[0], zero_x = s->zero_other, zero_y = s->zero_in, multiplier = k[0], shift = -k[1];
  const int32_t out_multiplier = k[4], out_shift = -k[5], zero_out = s->zero_out, n = c->n * s->out_c;
  const int both = first_is_halved && second_is_halved;
  if ((!first_is_halved && !second_is_halved) || (!both && shift < 1) || out_shift < 1) { mbn_portable_add(c); return; }
  const int32_t offset_x = zero_x * (1 << 20), offset_y = zero_y * (both ? 1 << 20 : 1 << 21);
  int8_t *out = c->out;
  for (int32_t i = 0; i < n; i++) {
    const int32_t b = both ? y[i] * (1 << 20) - offset_y : shifted(high_mul_doubled(y[i] * (1 << 21) - offset_y, multiplier), shift, 0) * 2;
    int32_t v = shifted(high_mul_doubled(x[i] * (1 << 20) - offset_x + b, out_multiplier), out_shift, zero_out);
    __asm__("ssat %0, #8, %0" : "+r"(v));
    out[i] = (int8_t)v;
  }
  clamp_all(s, c->out, n);
}
#else
typedef int mbn_no_dsp; /* a translation unit of C is not empty */
#endif
