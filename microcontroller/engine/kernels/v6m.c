/* Kernels for cores that have Armv6-M's instructions only, Cortex-M0 and M0+, and for the M3, which has no more that would help. The loops
 * are functions in assembly, since compilers keep 13 registers, of which most instructions know only eight, busy badly.
 *
 * Two pixels in one multiplication. A word of taps is X = 65536 * second + first, and X * w has the first pixel's product in its low half,
 * the second's in its high half, less 1 if the low one is negative. Two such products still fit, as no weight is -128. ASRS by 16 leaves
 * the low half's sign in the carry, and ADCS adds the high half together with that: exact. The first pixel's sum is what remains of the
 * sum of all such words when 65536 times the second's is subtracted.
 * Rounding. x * m / 2^31 comes from four products of halves: x = 2^15 * a + b, m = 2^16 * c + d, so it is
 * a * c + (2 * b * c + a * d + b * d / 2^15) / 2^16, and |x| < 2^29 keeps all of it in 32 bits. After LSRS or ASRS the carry is the bit
 * that rounds; ADCS adds it, the second time together with the zero point. Halves of negative numbers go away from zero if 1 is taken
 * from those first. */
#include "kernels.h"
#include "window.h"
#ifdef MBN_HAS_V6M

#ifdef MBN_IN_RAM
#define SECTION ".section .mbn_hot,\"ax\",%progbits\n"
#else
#define SECTION ".text\n"
#endif
#define FUNCTION(name, text) \
  __asm__(".syntax unified\n.thumb\n" SECTION ".balign 4\n.global " #name "\n.hidden " #name "\n.thumb_func\n.type " #name ", %function\n" #name ":\n" text ".size " #name ", . - " #name "\n.text\n")
#define ENTER "push {r4-r7, lr}\n mov r4, r8\n mov r5, r9\n mov r6, r10\n mov r7, r11\n push {r4-r7}\n"
#define LEAVE "pop {r4-r7}\n mov r8, r4\n mov r9, r5\n mov r10, r6\n mov r11, r7\n pop {r4-r7, pc}\n"

/* ---- requantization ----
 * Of r3, bias included, by the multiplier 2^16 * r5 + r4, the shift r6 and the zero point r7; r1 and r2 are lost. A sum beyond an int8
 * goes to `far`, and a negative one of a rectified output, which is its zero point whatever its size, to `below`; both return to `done`. */

#define HIGH_MUL(x, c, d, b, t) /* as above, of a signed x; in b and t are things meanwhile */ \
  "lsls " b ", " x ", #17\n asrs " b ", " b ", #17\n subs " x ", " x ", " b "\n asrs " x ", " x ", #15\n" \
  "movs " t ", " d "\n muls " t ", " b ", " t "\n asrs " t ", " t ", #15\n muls " b ", " c ", " b "\n lsls " b ", " b ", #1\n adds " t ", " t ", " b "\n" \
  "movs " b ", " d "\n muls " b ", " x ", " b "\n adds " t ", " t ", " b "\n muls " x ", " c ", " x "\n asrs " t ", " t ", #16\n adcs " x ", " t "\n"
#define RECTIFIED(below, far, done) \
  "bmi " #below "f\n lsls r1, r3, #17\n lsrs r1, r1, #17\n lsrs r3, r3, #15\n" \
  "movs r2, r4\n muls r2, r1, r2\n lsrs r2, r2, #15\n muls r1, r5, r1\n lsls r1, r1, #1\n adds r2, r2, r1\n movs r1, r4\n muls r1, r3, r1\n adds r2, r2, r1\n" \
  "muls r3, r5, r3\n lsrs r2, r2, #16\n adcs r3, r2\n asrs r3, r6\n adcs r3, r7\n cmp r3, #127\n bgt " #far "f\n" #done ":"
#define RECTIFIED_ENDS(below, far, done) #below ": movs r3, r7\n b " #done "b\n" #far ": movs r3, #127\n b " #done "b\n"
#define SIGNED(below, far, done) \
  HIGH_MUL("r3", "r5", "r4", "r1", "r2") "asrs r2, r3, #31\n adds r3, r3, r2\n asrs r3, r6\n adcs r3, r7\n sxtb r2, r3\n cmp r2, r3\n bne " #far "f\n" #done ":"
#define SIGNED_ENDS(below, far, done) #far ": asrs r3, r3, #31\n movs r2, #127\n eors r3, r2\n b " #done "b\n"

/* ---- products of a matrix: an output of 2 pixels, or of 1, at once ---- */

typedef struct {
  const int32_t *scales;        /* {bias, multiplier, shift} */
  int32_t zero;
  int32_t stride;               /* from an output of the first pixel to that of the second */
  int8_t *out_end;              /* of the first pixel */
  int32_t to_next_four;         /* from the byte behind those of four outputs' first taps to the next four's weights */
  int8_t *out;
  const uint32_t *taps, *taps_end; /* an even number of words */
  uintptr_t weights;            /* as seen from the third tap: their address less that */
  int32_t skip;                 /* bytes of the loop that the first round leaves out */
} matrix_call;

/* Two taps. r0: taps, r1 and r2: from there to the two's weights; r7: sum of the second pixel, r8: of the words. */
#define TWO_PIXELS \
  "ldm r0!, {r3, r4}\n ldrsb r5, [r1, r0]\n ldrsb r6, [r2, r0]\n muls r5, r3, r5\n muls r6, r4, r6\n adds r5, r5, r6\n asrs r6, r5, #16\n adcs r7, r6\n add r8, r5\n"
#define ONE_PIXEL /* r7: its sum */ \
  "ldm r0!, {r3, r4}\n ldrsb r5, [r1, r0]\n ldrsb r6, [r2, r0]\n muls r5, r3, r5\n muls r6, r4, r6\n adds r7, r7, r5\n adds r7, r7, r6\n"
enum { ROUND = 8, TWO_PIXELS_BYTES = 9 * 2, ONE_PIXEL_BYTES = 7 * 2 }; /* times two taps in a round of the loop; bytes of code of each */

/* r0: the second pixel's sum, r3: the first's; r4 to r7 for REQUANTIZE. */
#define SCALES "ldr r0, [sp]\n ldm r0!, {r1, r5, r6}\n str r0, [sp]\n uxth r4, r5\n lsrs r5, r5, #16\n"
#define TWO_OUT(REQUANTIZE) \
  SCALES "lsls r2, r7, #16\n mov r3, r8\n subs r3, r3, r2\n adds r0, r7, r1\n ldr r7, [sp, #4]\n adds r3, r3, r1\n" REQUANTIZE(40, 41, 42) "mov r1, r12\n strb r3, [r1]\n" \
  "movs r3, r0\n" REQUANTIZE(50, 51, 52) "mov r1, r12\n ldr r2, [sp, #8]\n strb r3, [r1, r2]\n"
#define TWO_ENDS(ENDS) ENDS(40, 41, 42) ENDS(50, 51, 52)
#define ONE_OUT(REQUANTIZE) SCALES "mov r3, r7\n ldr r7, [sp, #4]\n adds r3, r3, r1\n" REQUANTIZE(40, 41, 42) "mov r1, r12\n strb r3, [r1]\n"
#define ONE_ENDS(ENDS) ENDS(40, 41, 42)

/* r9: end of taps, r10: where the first round begins, r11: taps, r12: output, lr: to the weights of its first tap. Those of four outputs
 * lie in a word, so that lr is a multiple of 4 again behind them. */
#define MATRIX(name, PIXELS, BYTES, OUT, ENDS, REQUANTIZE) \
  FUNCTION(name, \
    ENTER "ldm r0!, {r1-r5}\n push {r1-r5}\n ldm r0!, {r1-r5}\n mov r12, r1\n mov r11, r2\n mov r9, r3\n mov lr, r4\n adr r4, 2f\n adds r4, r4, r5\n mov r10, r4\n" \
    "1: mov r0, r11\n mov r1, lr\n adds r2, r1, #4\n movs r7, #0\n mov r8, r7\n mov pc, r10\n" \
    ".balign 4\n 2:" PIXELS PIXELS PIXELS PIXELS PIXELS PIXELS PIXELS PIXELS "3: cmp r0, r9\n bne 2b\n" \
    ".if 3b - 2b - 8 * " #BYTES "\n .error \"an instruction isn't 2 bytes long\"\n .endif\n" \
    OUT(REQUANTIZE) "adds r1, #1\n mov r12, r1\n ldr r2, [sp, #12]\n cmp r1, r2\n beq 9f\n" \
    "mov r2, lr\n adds r2, #1\n mov lr, r2\n lsls r2, r2, #30\n beq 4f\n b 1b\n" \
    "4: ldr r2, [sp, #16]\n add lr, r2\n b 1b\n" \
    "9: add sp, #20\n" LEAVE ENDS(REQUANTIZE##_ENDS)); \
  void name(const matrix_call *)
MATRIX(mbn_v6m_two_rectified, TWO_PIXELS, 18, TWO_OUT, TWO_ENDS, RECTIFIED);
MATRIX(mbn_v6m_one_rectified, ONE_PIXEL, 14, ONE_OUT, ONE_ENDS, RECTIFIED);
MATRIX(mbn_v6m_two_signed, TWO_PIXELS, 18, TWO_OUT, TWO_ENDS, SIGNED);
MATRIX(mbn_v6m_one_signed, ONE_PIXEL, 14, ONE_OUT, ONE_ENDS, SIGNED);

#if MBN_MINOR > 1
/* ---- the same of weights of 4 bits ----
 * A byte of two weights is u = 16 * u1 + u0, each of 0 to 15, and x0 * u0 + x1 * u1 = x0 * u + (x1 - 16 * x0) * u1, so that the taps are x0 and
 * x1 - 16 * x0. The products of sixteen taps fit in a halfword: only then the second pixel's is taken out. */
typedef struct {
  const int32_t *scales;
  int32_t zero, stride;
  int8_t *out_end;
  int32_t to_next_four;
  int32_t second, words;        /* what the second pixel's sum, and that of the words, begin with; of one pixel its sum, and nothing */
  int8_t *out;
  const uint32_t *taps, *taps_end;
  uintptr_t weights;            /* of the loop's first two taps, if the first round left out none */
  int32_t skip;
} matrix_call_4;

#define TAPS_4(k, sum) "ldm r0!, {r3, r4}\n ldrb.n r6, [r1, #4 * " #k "]\n lsrs r5, r6, #4\n muls r6, r3, r6\n muls r5, r4, r5\n adds " sum ", " sum ", r6\n adds " sum ", " sum ", r5\n"
#define ROUND_4(sum) TAPS_4(0, sum) TAPS_4(1, sum) TAPS_4(2, sum) TAPS_4(3, sum) TAPS_4(4, sum) TAPS_4(5, sum) TAPS_4(6, sum) TAPS_4(7, sum)
enum { TAPS_4_BYTES = 7 * 2 };
#define TWO_ROUND_4 ROUND_4("r2") "3: asrs r6, r2, #16\n adcs r7, r6\n add r8, r2\n movs r2, #0\n"
#define ONE_ROUND_4 ROUND_4("r7") "3:"
#define MATRIX_4(name, ROUND, OUT, ENDS, REQUANTIZE) \
  FUNCTION(name, \
    ENTER "ldm r0!, {r1-r7}\n push {r1-r7}\n ldm r0!, {r1-r5}\n mov r12, r1\n mov r11, r2\n mov r9, r3\n mov lr, r4\n adr r4, 2f\n adds r4, r4, r5\n mov r10, r4\n" \
    "1: mov r0, r11\n mov r1, lr\n movs r2, #0\n ldr r7, [sp, #24]\n mov r8, r7\n ldr r7, [sp, #20]\n mov pc, r10\n" \
    ".balign 4\n 2:" ROUND "adds r1, #32\n cmp r0, r9\n bne 2b\n" \
    ".if 3b - 2b - 8 * 14\n .error \"an instruction isn't 2 bytes long\"\n .endif\n" \
    OUT(REQUANTIZE) "adds r1, #1\n mov r12, r1\n ldr r2, [sp, #12]\n cmp r1, r2\n beq 9f\n" \
    "mov r2, lr\n adds r2, #1\n mov lr, r2\n lsls r2, r2, #30\n beq 4f\n b 1b\n" \
    "4: ldr r2, [sp, #16]\n add lr, r2\n b 1b\n" \
    "9: add sp, #28\n" LEAVE ENDS(REQUANTIZE##_ENDS)); \
  void name(const matrix_call_4 *)
MATRIX_4(mbn_v6m_two_rectified_4, TWO_ROUND_4, TWO_OUT, TWO_ENDS, RECTIFIED);
MATRIX_4(mbn_v6m_one_rectified_4, ONE_ROUND_4, ONE_OUT, ONE_ENDS, RECTIFIED);
MATRIX_4(mbn_v6m_two_signed_4, TWO_ROUND_4, TWO_OUT, TWO_ENDS, SIGNED);
MATRIX_4(mbn_v6m_one_signed_4, ONE_ROUND_4, ONE_OUT, ONE_ENDS, SIGNED);

/* Taps as words, up to `end`, and their sums on the way: x1 - 16 * x0 instead of x1. */
MBN_HOT static void matrix_4(const mbn_call *c, int two, uint32_t *words, uint32_t *end, int8_t *out) {
  const mbn_step *s = c->step;
  const int32_t pairs = mbn_pairs_of(s), skipped = (ROUND - pairs % ROUND) % ROUND;
  uint32_t first = 0, second = 0;
  if (mbn_taps_of(s) & 1) end[-1] = 0;
  for (uint32_t *x = words; x < end; x += 2) {
    const uint32_t a = x[0], b = x[1];
    x[1] = b - (a << 4);
    first += (uint32_t)(int16_t)(uint16_t)a + (uint32_t)(int16_t)(uint16_t)b;
    if (two) second += (uint32_t)((int32_t)(a + 0x8000u) >> 16) + (uint32_t)((int32_t)(b + 0x8000u) >> 16);
  }
  matrix_call_4 m;
  m.scales = c->constants + 3 * MBN_FIRST(c), m.zero = s->zero_out, m.stride = s->out_c, m.out_end = out + MBN_LAST(c, s->out_c), m.to_next_four = 4 * pairs - 4;
  m.second = (int32_t)(0u - 8u * (two ? second : first)), m.words = (int32_t)(0u - 8u * (first + (second << 16))), m.out = out + MBN_FIRST(c), m.taps = words, m.taps_end = end;
  m.weights = (uintptr_t)c->weights + (uintptr_t)(MBN_FIRST(c) * pairs) - 4u * (uint32_t)skipped, m.skip = skipped * TAPS_4_BYTES;
  if (mbn_is_rectified(s)) (two ? mbn_v6m_two_rectified_4 : mbn_v6m_one_rectified_4)(&m);
  else (two ? mbn_v6m_two_signed_4 : mbn_v6m_one_signed_4)(&m);
}
#else
#define matrix_4(c, two, words, end, out) (void)0
#endif

/* ---- CONV, two pixels at once ---- */

/* n > 0 taps of two pixels as words, or of one alone. Return where the next word goes. */
FUNCTION(mbn_v6m_expand_two,
  "push {r4-r7, lr}\n adds r1, r1, r3\n adds r2, r2, r3\n negs r3, r3\n lsrs r4, r3, #1\n bcc 2f\n" /* of an odd number the first alone */
  "ldrsb r4, [r1, r3]\n ldrsb r5, [r2, r3]\n lsls r5, r5, #16\n adds r4, r4, r5\n stm r0!, {r4}\n adds r3, #1\n beq 3f\n"
  "2: ldrsb r4, [r1, r3]\n ldrsb r5, [r2, r3]\n adds r3, #1\n ldrsb r6, [r1, r3]\n ldrsb r7, [r2, r3]\n lsls r5, r5, #16\n adds r4, r4, r5\n lsls r7, r7, #16\n adds r5, r6, r7\n"
  "stm r0!, {r4, r5}\n adds r3, #1\n bne 2b\n"
  "3: pop {r4-r7, pc}\n");
uint32_t *mbn_v6m_expand_two(uint32_t *to, const int8_t *x, const int8_t *y, int32_t n);

MBN_HOT static uint32_t *expand_one(uint32_t *to, const int8_t *x, int32_t n) {
  while (n--) *to++ = (uint32_t)(int32_t)*x++;
  return to;
}

static inline int32_t bounded(int32_t x, int32_t most) { return x > most ? most : x < -most ? -most : x; }

/* The sums of the two windows as more taps up to `end`, which meet the weights' zero point. */
MBN_HOT static void expand_sums(const mbn_step *s, const uint32_t *from, uint32_t *to, const uint32_t *end) {
  const int32_t part = mbn_v6m_part(s);
  int32_t x = 0, y = 0;
  for (const uint32_t *last = from + mbn_taps_of(s); from < last; from++) {
    const int32_t low = (int16_t)(uint16_t)*from;
    x += low, y += (int32_t)(*from - (uint32_t)low) >> 16;
  }
  while (to < end) {
    const int32_t a = bounded(x, part), b = bounded(y, part);
    *to++ = (uint32_t)a + ((uint32_t)b << 16), x -= a, y -= b;
  }
}

MBN_HOT static void conv_two(const mbn_call *c) {
  const mbn_step *s = c->step;
  const int32_t taps = mbn_v6m_taps(s), line = s->kw * s->in_c, n = s->out_c, is_1x1 = mbn_is_1x1(s);
  const int32_t skipped = (ROUND - taps / 2 % ROUND) % ROUND;
  uint32_t *const words = (uint32_t *)(void *)c->scratch;
  int8_t *const copy = c->scratch + 4 * taps;
  const int8_t *row[2][MBN_MAX_KERNEL];
  for (int32_t p = 0; p < c->n; p += 2) {
    const int two = p + 1 < c->n;
    for (int32_t i = 0; i <= two; i++)
      if (is_1x1) row[i][0] = c->row[0] + (p + i) * s->sw * line;
      else window_of(c, p + i, copy + i * mbn_up_to(mbn_taps_of(s), 4), row[i]);
    uint32_t *to = words; /* a last word that an odd number of taps leaves meets weights of 0 */
    for (int32_t ky = 0; ky < s->kh; ky++) to = two ? mbn_v6m_expand_two(to, row[0][ky], row[1][ky], line) : expand_one(to, row[0][ky], line);
    if (mbn_zero_w(s)) expand_sums(s, words, words + mbn_up_to(mbn_taps_of(s), 2), words + taps);
    int8_t *const out = c->out + p * n;
    if (mbn_is_int4(s)) { matrix_4(c, two, words, words + taps, out); continue; }
    const matrix_call m = {c->constants + 3 * MBN_FIRST(c), s->zero_out, n, out + MBN_LAST(c, n), 4 * taps - 4, out + MBN_FIRST(c), words, words + taps,
                           (uintptr_t)c->weights + (uintptr_t)(MBN_FIRST(c) * taps) - (uintptr_t)(words + 2), skipped * (two ? TWO_PIXELS_BYTES : ONE_PIXEL_BYTES)};
    if (mbn_is_rectified(s)) (two ? mbn_v6m_two_rectified : mbn_v6m_one_rectified)(&m);
    else (two ? mbn_v6m_two_signed : mbn_v6m_one_signed)(&m);
  }
}

/* ---- CONV, one pixel at once: a dense layer, or more taps than there is memory for as words ---- */

typedef struct {
  int32_t less;               /* taps, negative */
  const int8_t *weights;      /* end of the first output's */
  int32_t stride;             /* to the next output's */
  const int8_t *x;            /* end */
  int32_t sum[4];
} four_call;

/* Adds to the sums of four outputs. r0: taps that are left, negative; r1 to r4: ends of weights, r5: end of taps. */
#define NEXT_OUTPUT(w, sum) "ldrsb r7, [" w ", r0]\n muls r7, r6, r7\n add " sum ", r7\n"
FUNCTION(mbn_v6m_four,
  ENTER "mov r12, r0\n adds r0, #16\n ldm r0!, {r4-r7}\n mov r8, r4\n mov r9, r5\n mov r10, r6\n mov r11, r7\n mov r0, r12\n"
  "ldr r1, [r0, #4]\n ldr r6, [r0, #8]\n adds r2, r1, r6\n adds r3, r2, r6\n adds r4, r3, r6\n ldr r5, [r0, #12]\n ldr r0, [r0]\n"
  "2: ldrsb r6, [r5, r0]\n" NEXT_OUTPUT("r1", "r8") NEXT_OUTPUT("r2", "r9") NEXT_OUTPUT("r3", "r10") NEXT_OUTPUT("r4", "r11") "adds r0, #1\n bne 2b\n"
  "mov r0, r12\n adds r0, #16\n mov r4, r8\n mov r5, r9\n mov r6, r10\n mov r7, r11\n stm r0!, {r4-r7}\n" LEAVE);
void mbn_v6m_four(four_call *);

#if MBN_MINOR > 1
typedef struct {
  const int8_t *x;
  const int8_t *weights;      /* of four outputs */
  const int8_t *end;          /* of an even number of taps */
  int32_t sum[4];
} four_call_4;

/* Adds to the sums of four outputs. r0: taps, r1: weights, r2: end of taps, r7: 0. */
#define NEXT_OUTPUT_4(i, sum) "ldrb r6, [r1, #" #i "]\n lsrs r5, r6, #4\n muls r6, r3, r6\n muls r5, r4, r5\n adds r6, r6, r5\n add " sum ", r6\n"
FUNCTION(mbn_v6m_four_4,
  ENTER "mov r12, r0\n adds r0, #12\n ldm r0!, {r4-r7}\n mov r8, r4\n mov r9, r5\n mov r10, r6\n mov r11, r7\n mov r3, r12\n ldm r3!, {r0-r2}\n movs r7, #0\n"
  "2: ldrsb r3, [r0, r7]\n adds r0, #1\n ldrsb r4, [r0, r7]\n adds r0, #1\n lsls r5, r3, #4\n subs r4, r4, r5\n"
  NEXT_OUTPUT_4(0, "r8") NEXT_OUTPUT_4(1, "r9") NEXT_OUTPUT_4(2, "r10") NEXT_OUTPUT_4(3, "r11") "adds r1, #4\n cmp r0, r2\n bne 2b\n"
  "mov r0, r12\n adds r0, #12\n mov r4, r8\n mov r5, r9\n mov r6, r10\n mov r7, r11\n stm r0!, {r4-r7}\n" LEAVE);
void mbn_v6m_four_4(four_call_4 *);

/* Sums of four outputs from o on, of taps that lie side by side and whose sum is taken off 8 times. */
MBN_HOT static void four_sums_4(const mbn_call *c, const int8_t *x, int32_t less, int32_t o, int32_t sum[4]) {
  const int32_t taps = mbn_taps_of(c->step);
  four_call_4 m = {x, c->weights + o * mbn_pairs_of(c->step), x + (taps & ~1), {less, less, less, less}};
  if (taps > 1) mbn_v6m_four_4(&m);
  for (int32_t i = 0; i < 4; i++) sum[i] = m.sum[i] + (taps & 1 ? x[taps - 1] * (m.weights[2 * (taps & ~1) + i] & 15) : 0);
}

MBN_HOT static int32_t less_4(const int8_t *x, int32_t taps) {
  int32_t sum = 0;
  while (taps--) sum += *x++;
  return -8 * sum;
}
#else
#define four_sums_4(c, x, less, o, sum) (void)0
#define less_4(x, taps) 0
#endif

/* x * (2^16 * c + d) / 2^31, as above; |x| < 2^29. */
static inline int32_t high_mul(int32_t x, int32_t c, int32_t d) {
  int32_t b, t;
  __asm__(".syntax unified\n" HIGH_MUL("%0", "%3", "%4", "%1", "%2") : "+l"(x), "=&l"(b), "=&l"(t) : "l"(c), "l"(d) : "cc");
  return x;
}

static inline int32_t shifted(int32_t x, int32_t shift, int32_t zero) { /* shift >= 1 */
  int32_t t;
  __asm__(".syntax unified\n asrs %1, %0, #31\n adds %0, %0, %1\n asrs %0, %2\n adcs %0, %3" : "+l"(x), "=&l"(t) : "l"(shift), "l"(zero) : "cc");
  return x;
}

/* A window whose rows follow one another. */
MBN_HOT static void side_by_side(const mbn_call *c, int32_t p, const int8_t *x[]) {
  const int32_t line = c->step->kw * c->step->in_c;
  window_of(c, p, c->scratch, x);
  for (int32_t ky = c->step->kh - 1; ky >= 0; ky--) { /* copies lie at the scratch's begin, in order, and none behind its place */
    int8_t *const to = c->scratch + ky * line;
    for (int32_t i = line - 1; i >= 0; i--) to[i] = x[ky][i];
  }
  x[0] = c->scratch;
}

MBN_HOT static void conv_one(const mbn_call *c) {
  const mbn_step *s = c->step;
  const int32_t taps = mbn_taps_of(s), line = s->kw * s->in_c;
  const int8_t *x[MBN_MAX_KERNEL];
  int8_t *out = c->out + MBN_FIRST(c);
  for (int32_t p = 0; p < c->n; p++) {
    if (mbn_is_1x1(s)) x[0] = c->row[0] + p * s->sw * line;
    else if (mbn_is_int4(s)) side_by_side(c, p, x);
    else window_of(c, p, c->scratch, x);
    int32_t less = mbn_is_int4(s) ? less_4(x[0], taps) : 0;
    if (mbn_zero_w(s)) {
      for (int32_t ky = 0; ky < s->kh; ky++) for (int32_t i = 0; i < line; i++) less -= x[ky][i];
      less *= mbn_zero_w(s);
    }
    const int32_t *k = c->constants + 3 * MBN_FIRST(c);
    for (int32_t o = MBN_FIRST(c); o < MBN_LAST(c, s->out_c); o += 4) {
      four_call m = {-line, c->weights + o * taps, taps, 0, {less, less, less, less}};
      if (mbn_is_int4(s)) four_sums_4(c, x[0], less, o, m.sum);
      else for (int32_t ky = 0; ky < s->kh; ky++) m.weights += line, m.x = x[ky] + line, mbn_v6m_four(&m);
      for (int32_t i = 0; i < 4 && o + i < MBN_LAST(c, s->out_c); i++, k += 3) {
        const int32_t v = shifted(high_mul((int32_t)((uint32_t)m.sum[i] + (uint32_t)k[0]), k[1] >> 16, k[1] & 0xffff), k[2], s->zero_out);
        *out++ = (int8_t)(v < -128 ? -128 : v > 127 ? 127 : v);
      }
    }
    out += MBN_SKIP(c);
  }
}

MBN_HOT void mbn_v6m_conv(const mbn_call *c) {
  if (!c->step->packed) { mbn_portable_conv(c); return; }
  if (mbn_makes_two(c->step)) conv_two(c);
  else conv_one(c);
  clamp_outputs(c);
}

/* ---- DEPTHWISE 3x3, a channel at a time ---- */

/* One channel: r3 is its number, r4 its weights. The taps are columns; a word has weights of two. r8: sum; r5, r6, r7 are free. */
#define FIRST(X) X "sxth r6, r7\n muls r5, r6, r5\n mov r8, r5\n"
#define EVEN(X) X "sxth r6, r7\n muls r5, r6, r5\n add r8, r5\n"
#define ODD(X) X "asrs r6, r7, #16\n muls r5, r6, r5\n add r8, r5\n"
#define LAST(X) X "sxth r6, r7\n muls r5, r6, r5\n add r5, r8\n"
#define WEIGHTS(at) "ldr r7, [r4, #" #at "]\n"
#define NINE_TAPS(X0, X1, X2, X3, X4, X5, X6, X7, X8, STEP) \
  WEIGHTS(0) FIRST(X0) ODD(X1) WEIGHTS(4) EVEN(X2) STEP ODD(X3) WEIGHTS(8) EVEN(X4) ODD(X5) STEP WEIGHTS(12) EVEN(X6) ODD(X7) WEIGHTS(16) LAST(X8)

/* As RECTIFIED, to r3, with what follows the weights; the zero point is at sp; r0 is kept in lr. */
#define DEPTHWISE_OUT \
  "ldr r3, [r4, #20]\n adds r3, r3, r5\n bmi 40f\n mov lr, r0\n ldrh r7, [r4, #24]\n ldrh r0, [r4, #26]\n" \
  "lsls r5, r3, #17\n lsrs r5, r5, #17\n lsrs r3, r3, #15\n movs r6, r7\n muls r6, r5, r6\n lsrs r6, r6, #15\n muls r5, r0, r5\n lsls r5, r5, #1\n adds r6, r6, r5\n" \
  "muls r7, r3, r7\n adds r6, r6, r7\n muls r3, r0, r3\n mov r0, lr\n lsrs r6, r6, #16\n adcs r3, r6\n ldrh r5, [r4, #18]\n ldr r6, [sp]\n asrs r3, r5\n adcs r3, r6\n cmp r3, #127\n bgt 41f\n42:"
#define DEPTHWISE_ENDS "40: ldr r3, [sp]\n b 42b\n 41: movs r3, #127\n b 42b\n"

typedef struct {
  int32_t zero;
  const int8_t *weights;
  int32_t n, skip;          /* pixels; bytes from one to the next */
  int32_t channels;
  int8_t *out;
  const int8_t *row[3];
} inside_call;

/* All taps inside: r0, r1, r2 are rows, r9 how many channels, r10 which, r11 the output's pixel. */
#define ROW(r) "ldrsb r5, [" r ", r3]\n"
FUNCTION(mbn_v6m_3x3_inside, /* frame: zero, weights, n, skip */
  ENTER "ldm r0!, {r1-r4}\n push {r1-r4}\n ldm r0!, {r3, r4}\n mov r9, r3\n mov r11, r4\n ldm r0, {r0, r1, r2}\n"
  "1: ldr r4, [sp, #4]\n movs r3, #0\n"
  "2: mov r10, r3\n" NINE_TAPS(ROW("r0"), ROW("r1"), ROW("r2"), ROW("r0"), ROW("r1"), ROW("r2"), ROW("r0"), ROW("r1"), ROW("r2"), "add r3, r9\n") DEPTHWISE_OUT
  "mov r5, r10\n mov r6, r11\n strb r3, [r6, r5]\n adds r4, #28\n adds r3, r5, #1\n cmp r3, r9\n bne 2b\n"
  "add r11, r9\n ldr r5, [sp, #12]\n adds r0, r0, r5\n adds r1, r1, r5\n adds r2, r2, r5\n ldr r5, [sp, #8]\n subs r5, #1\n str r5, [sp, #8]\n bne 1b\n"
  "add sp, #16\n" LEAVE DEPTHWISE_ENDS);
void mbn_v6m_3x3_inside(const inside_call *);

/* One pixel of any nine taps. */
typedef struct {
  int32_t zero;
  const int8_t *tap[9];     /* by columns */
  const int8_t *weights;
  int8_t *out;
  int32_t channels;
} edge_call;

#define TAP(k) "ldr r5, [sp, #4 + 4 * " #k "]\n ldrsb r5, [r5, r3]\n"
FUNCTION(mbn_v6m_3x3_edge, /* frame: zero, taps */
  ENTER "sub sp, #40\n mov r1, sp\n ldm r0!, {r2-r6}\n stm r1!, {r2-r6}\n ldm r0!, {r2-r6}\n stm r1!, {r2-r6}\n ldm r0!, {r4, r5, r6}\n mov r11, r5\n mov r9, r6\n movs r3, #0\n"
  "2: mov r10, r3\n" NINE_TAPS(TAP(0), TAP(1), TAP(2), TAP(3), TAP(4), TAP(5), TAP(6), TAP(7), TAP(8), "") DEPTHWISE_OUT
  "mov r5, r10\n mov r6, r11\n strb r3, [r6, r5]\n adds r4, #28\n adds r3, r5, #1\n cmp r3, r9\n bne 2b\n"
  "add sp, #40\n" LEAVE DEPTHWISE_ENDS);
void mbn_v6m_3x3_edge(const edge_call *);

MBN_HOT void mbn_v6m_depthwise(const mbn_call *c) {
  const mbn_step *s = c->step;
  const int32_t n = s->out_c;
  if (!s->packed) { mbn_portable_depthwise(c); return; }
  if (mbn_is_matrix(s)) { mbn_v6m_conv(c); return; }
  int32_t zeros = 0;
  for (int32_t p = 0, run; p < c->n; p += run) {
    const int32_t at = c->column + p * s->sw;
    int8_t *out = c->out + p * n;
    run = 1;
    if (at >= 0 && at + 3 <= c->width && c->ky1 - c->ky0 == 3) {
      while (p + run < c->n && at + run * s->sw + 3 <= c->width) run++;
      const inside_call m = {s->zero_out, c->weights, run, s->sw * n, n, out, {c->row[0] + at * n, c->row[1] + at * n, c->row[2] + at * n}};
      mbn_v6m_3x3_inside(&m);
      continue;
    }
    edge_call m; /* no initializer: it would be a call of memset */
    m.zero = s->zero_out, m.weights = c->weights, m.out = out, m.channels = n;
    for (; zeros < n; zeros += 4) *(uint32_t *)(void *)(c->scratch + zeros) = (uint8_t)s->zero_in * 0x01010101u;
    for (int32_t ky = 0; ky < 3; ky++)
      for (int32_t kx = 0; kx < 3; kx++)
        m.tap[3 * kx + ky] = ky < c->ky0 || ky >= c->ky1 || at + kx < 0 || at + kx >= c->width ? c->scratch : c->row[ky] + (at + kx) * n;
    mbn_v6m_3x3_edge(&m);
  }
  clamp_all(s, c->out, c->n * n);
}

/* ---- ADD ---- */

/* Inputs have 20 bits more: |x| < 256, and x * 2^20 * m / 2^31 is x * m / 2^11, of which the upper half of m gives whole numbers. */
MBN_HOT void mbn_v6m_add(const mbn_call *c) {
  const mbn_step *s = c->step;
  const int32_t *k = c->constants, sx = -k[1], sy = -k[3], so = -k[5];
  const int32_t x_high = k[0] >> 16 << 5, x_low = k[0] & 0xffff, y_high = k[2] >> 16 << 5, y_low = k[2] & 0xffff, out_high = k[4] >> 16, out_low = k[4] & 0xffff;
  const int32_t zero_x = s->zero_in, zero_y = s->zero_other, zero = s->zero_out, low = s->low, high = s->high;
  if (so < 1) { mbn_portable_add(c); return; }
  const int8_t *x = c->row[0], *y = c->other;
  int8_t *out = c->out;
  for (int32_t n = c->n * s->out_c; n; n--) {
    int32_t a = *x++ - zero_x, b = *y++ - zero_y;
    a = a * x_high + ((a * x_low + 1024) >> 11), b = b * y_high + ((b * y_low + 1024) >> 11);
    if (sx) a = shifted(a, sx, 0);
    if (sy) b = shifted(b, sy, 0);
    const int32_t v = shifted(high_mul(a + b, out_high, out_low), so, zero);
    *out++ = (int8_t)(v < low ? low : v > high ? high : v);
  }
}
#else
typedef int mbn_no_v6m; /* a translation unit of C is not empty */
#endif
