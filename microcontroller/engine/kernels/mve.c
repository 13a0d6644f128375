/* Kernels for cores with Helium, the M-profile vector extension: Cortex-M55. VMLADAV makes sixteen products of bytes and adds them all up.
 * The loops are functions in assembly, since compilers keep eight vectors and thirteen registers busy badly.
 *
 * Tails. Nothing is read or written behind an operand: lanes are switched off, by VPST and P0 for the first sixteen taps, which are
 * all there are in many layers, and by the loop itself (WLSTP, LETP) for those behind them.
 * Rounding. VQRDMULH is the high product with its rounding, VRSHL a shift with its own; halves of negative numbers go away from zero
 * if 1 is taken from those first.
 * Alignment. Rows begin anywhere, and a vector of words may not; so words are stored as bytes, lane by lane (VSTRB.32), or from registers. */
#include "packed.h"
#include "kernels.h"
#ifdef MBN_HAS_MVE
#include "assembly.h"

#define SAVE "push {r4-r11, lr}\n vpush {d8-d15}\n"
#define RESTORE "vpop {d8-d15}\n pop {r4-r11, pc}\n"

/* ---- requantization ---- */

#define SIGNED(q, t) "vshr.s32 " t ", " q ", #31\n vadd.i32 " q ", " q ", " t "\n" /* halves of negative numbers away from zero */
#define RECTIFIED(q, t)                                                            /* they become `low` either way */
#define RESCALE(q, bias, multiplier, shift, FIX, t) \
  "vadd.i32 " q ", " q ", " bias "\n vqrdmulh.s32 " q ", " q ", " multiplier "\n" FIX(q, t) "vrshl.s32 " q ", " shift "\n"
#define RESCALE_LANES(q, bias, multiplier, shift, FIX, t) \
  "vadd.i32 " q ", " q ", " bias "\n vqrdmulh.s32 " q ", " q ", " multiplier "\n" FIX(q, t) "vrshl.s32 " q ", " q ", " shift "\n"

/* ---- products of a matrix: of up to 16 taps, 4 outputs of 4 pixels at once ---- */

typedef struct {
  const int8_t *x[4];       /* where the pixels' taps begin; of fewer than 4 pixels the last again */
  int32_t at[3];            /* of the pixels behind the first: where their outputs are from `out` on */
  const int8_t *weights;
  const int32_t *scales;    /* {bias, multiplier, shift to the left} of each output */
  int8_t *out;
  int32_t zero, quads;      /* of outputs */
  int32_t taps;
} short_call;

/* The pixels stay in q0 to q3. Sums of one output become the lanes of q5, and at last bytes: of the outputs 0 and 2 as the halfwords
 * of q6, of 1 and 3 as those of q7, which is the order in which they come. r1, r3, r5: where outputs go, r7: weights, r8: scales,
 * r9: output, r10: zero point. */
#define SHORT_OUTPUT(LOAD, FIX, NARROW) \
  LOAD "vmladav.s8 r0, q0, q4\n vmladav.s8 r2, q1, q4\n vmladav.s8 r4, q2, q4\n vmladav.s8 r6, q3, q4\n" \
  "vmov q5[2], q5[0], r0, r4\n vmov q5[3], q5[1], r2, r6\n ldm r8!, {r0, r2, r4}\n" RESCALE("q5", "r0", "r2", "r4", FIX, "q4") NARROW
#define BYTES_FIRST "vldrb.8 q4, [r7], #16\n"
#define BYTES_SECOND BYTES_FIRST
#define SHORT(name, WEIGHTS, FIX) \
  FUNCTION(name, SAVE \
    "ldr r5, [r0, #48]\n vctp.8 r5\n ldm r0!, {r1-r4}\n vpstttt\n vldrbt.8 q0, [r1]\n vldrbt.8 q1, [r2]\n vldrbt.8 q2, [r3]\n vldrbt.8 q3, [r4]\n" \
    "ldm r0, {r1, r3, r5, r7-r10, r12}\n dls lr, r12\n" \
    "1:" SHORT_OUTPUT(WEIGHTS##_FIRST, FIX, "vqmovnb.s32 q6, q5\n") SHORT_OUTPUT(WEIGHTS##_SECOND, FIX, "vqmovnt.s32 q6, q5\n") \
         SHORT_OUTPUT(WEIGHTS##_FIRST, FIX, "vqmovnb.s32 q7, q5\n") SHORT_OUTPUT(WEIGHTS##_SECOND, FIX, "vqmovnt.s32 q7, q5\n") \
    "vqadd.s16 q6, q6, r10\n vqadd.s16 q7, q7, r10\n vqmovnb.s16 q5, q6\n vqmovnt.s16 q5, q7\n" \
    "vmov r0, r4, q5[2], q5[0]\n vmov r2, r6, q5[3], q5[1]\n str r2, [r9, r1]\n str r4, [r9, r3]\n str r6, [r9, r5]\n str r0, [r9], #4\n" \
    "le lr, 1b\n" RESTORE); \
  void name(const short_call *)
SHORT(mbn_mve_short_rectified, BYTES, RECTIFIED);
SHORT(mbn_mve_short_signed, BYTES, SIGNED);

/* Weights of 4 bits: a byte is 16 * first + second, from which a rounding shift takes the first. */
#define NIBBLES_FIRST "vldrb.8 q4, [r7]\n vrshr.s8 q4, q4, #4\n"
#define NIBBLES_SECOND "vldrb.8 q4, [r7], #16\n vshl.i8 q4, q4, #4\n vshr.s8 q4, q4, #4\n"
#if MBN_MINOR > 1
SHORT(mbn_mve_short_rectified_4, NIBBLES, RECTIFIED);
SHORT(mbn_mve_short_signed_4, NIBBLES, SIGNED);
#define SHORT_4(s) (mbn_is_rectified(s) ? mbn_mve_short_rectified_4 : mbn_mve_short_signed_4)
#else
#define SHORT_4(s) 0
#endif

/* ---- of more taps: 4 outputs of up to 3 pixels, two of them after the other two ---- */

typedef struct {
  const int8_t *x[3];       /* where the pixels' taps begin */
  int32_t zero, stride;     /* from an output of one pixel to that of the next, less 4 */
  int8_t *out, *out_end;    /* of the first pixel, a multiple of 4 away */
  const int8_t *weights;
  const int32_t *scales;    /* of 4 outputs: biases, multipliers, shifts to the left */
  int32_t more;             /* taps behind the first 16 */
} long_call;

/* r1, r3, r5: pixels; r7: weights; r9: scales; r11: more taps. Sums in r0, r2 of the first pixel, r4, r6, r8, r10 of the others. */
#define PAIR_BYTES(first, second, from) "vldrb.8 " first ", [" from "], #16\n vldrb.8 " second ", [" from "], #16\n"
#define APART_BYTES(first, second) /* sums of both outputs are what they are */
#define PAIR_NIBBLES(first, second, from) "vldrb.8 " first ", [" from "], #16\n vshl.i8 " second ", " first ", #4\n" /* of 4 bits: 16 * first + second, 16 * second */
#define APART_NIBBLES(first, second) "asr " second ", " second ", #4\n sub " first ", " first ", " second "\n asr " first ", " first ", #4\n"
#define PRODUCTS_1(A) "vmladav" A ".s8 r0, q2, q0\n vmladav" A ".s8 r2, q2, q1\n"
#define PRODUCTS_2(A) PRODUCTS_1(A) "vmladav" A ".s8 r4, q3, q0\n vmladav" A ".s8 r6, q3, q1\n"
#define PRODUCTS_3(A) PRODUCTS_2(A) "vmladav" A ".s8 r8, q4, q0\n vmladav" A ".s8 r10, q4, q1\n"
#define FIRST_2(W) "ldrd r1, r3, [sp]\n" PAIR_##W("q0", "q1", "r7") "vpstt\n vldrbt.8 q2, [r1], #16\n vldrbt.8 q3, [r3], #16\n" PRODUCTS_2("")
#define FIRST_3(W) "ldrd r1, r3, [sp]\n ldr r5, [sp, #8]\n" PAIR_##W("q0", "q1", "r7") "vpsttt\n vldrbt.8 q2, [r1], #16\n vldrbt.8 q3, [r3], #16\n vldrbt.8 q4, [r5], #16\n" PRODUCTS_3("")
#define NEXT_2(W) PAIR_##W("q0", "q1", "r7") "vldrb.8 q2, [r1], #16\n vldrb.8 q3, [r3], #16\n" PRODUCTS_2("a")
#define NEXT_3(W) PAIR_##W("q0", "q1", "r7") "vldrb.8 q2, [r1], #16\n vldrb.8 q3, [r3], #16\n vldrb.8 q4, [r5], #16\n" PRODUCTS_3("a")
#define LANES_2(high, low) "vmov q5[" high "], q5[" low "], r0, r2\n vmov q6[" high "], q6[" low "], r4, r6\n"
#define LANES_3(high, low) LANES_2(high, low) "vmov q7[" high "], q7[" low "], r8, r10\n"
#define APART_2(W) APART_##W("r0", "r2") APART_##W("r4", "r6")
#define APART_3(W) APART_2(W) APART_##W("r8", "r10")
#define TWO_OUTPUTS(n, W, high, low) FIRST_##n(W) "wlstp.8 lr, r11, 3f\n 2:" NEXT_##n(W) "letp lr, 2b\n 3:" APART_##n(W) LANES_##n(high, low)

#define BYTES(q, FIX) RESCALE_LANES(q, "q0", "q1", "q2", FIX, "q3") "vadd.i32 " q ", " q ", r0\n vqmovnb.s32 " q ", " q "\n vqmovnb.s16 " q ", " q "\n"
#define STORE_2 "vstrb.32 q5, [r4], #4\n adds r3, r4, r2\n vstrb.32 q6, [r3], #4\n"
#define STORE_3 STORE_2 "adds r3, r3, r2\n vstrb.32 q7, [r3]\n"
#define BYTES_2(FIX) BYTES("q5", FIX) BYTES("q6", FIX)
#define BYTES_3(FIX) BYTES_2(FIX) BYTES("q7", FIX)
#define SCALES "vldrw.32 q0, [r9], #16\n vldrw.32 q1, [r9], #16\n vldrw.32 q2, [r9], #16\n"
#define ARGUMENTS SAVE "ldm r0!, {r1-r7}\n push {r1-r7}\n ldm r0, {r7, r9, r11}\n add r1, r11, #16\n vctp.8 r1\n" /* frame: as long_call, up to out_end */
#define LONG(name, n, W, FIX) \
  FUNCTION(name, ARGUMENTS \
    "1:" TWO_OUTPUTS(n, W, "2", "0") TWO_OUTPUTS(n, W, "3", "1") \
    SCALES "ldrd r0, r2, [sp, #12]\n ldrd r4, r6, [sp, #20]\n" BYTES_##n(FIX) STORE_##n \
    "str r4, [sp, #20]\n cmp r4, r6\n bne 1b\n add sp, sp, #28\n" RESTORE); \
  void name(const long_call *)
LONG(mbn_mve_two_rectified, 2, BYTES, RECTIFIED);
LONG(mbn_mve_three_rectified, 3, BYTES, RECTIFIED);
LONG(mbn_mve_two_signed, 2, BYTES, SIGNED);
LONG(mbn_mve_three_signed, 3, BYTES, SIGNED);

/* One pixel: four outputs at once. r3: weights of the second two, r5: bytes of two outputs' weights. */
#define FOUR_WEIGHTS(W) PAIR_##W("q0", "q1", "r7") PAIR_##W("q3", "q4", "r3")
#define ROWS_BYTES "lsls r5, r5, #5\n"
#define ROWS_NIBBLES "lsls r5, r5, #4\n"
#define FOUR_PRODUCTS(A) PRODUCTS_1(A) "vmladav" A ".s8 r4, q2, q3\n vmladav" A ".s8 r6, q2, q4\n"
#define LONG_ONE(name, W, FIX) \
  FUNCTION(name, ARGUMENTS \
    "ldrd r8, r10, [sp, #16]\n ldr r12, [sp, #24]\n add r5, r11, #31\n lsrs r5, r5, #4\n" ROWS_##W /* r8: stride, r10: output, r12: its end */ \
    "1: ldr r1, [sp]\n adds r3, r7, r5\n" FOUR_WEIGHTS(W) "vpst\n vldrbt.8 q2, [r1], #16\n" FOUR_PRODUCTS("") \
    "wlstp.8 lr, r11, 3f\n 2:" FOUR_WEIGHTS(W) "vldrb.8 q2, [r1], #16\n" FOUR_PRODUCTS("a") "letp lr, 2b\n" \
    "3:" APART_##W("r0", "r2") APART_##W("r4", "r6") "vmov q5[2], q5[0], r0, r2\n vmov q5[3], q5[1], r4, r6\n mov r7, r3\n" \
    SCALES "ldr r0, [sp, #12]\n" BYTES("q5", FIX) "mov r4, r10\n vstrb.32 q5, [r4]\n" \
    "add r10, r10, #4\n cmp r10, r12\n bne 1b\n add sp, sp, #28\n" RESTORE); \
  void name(const long_call *)
LONG_ONE(mbn_mve_one_rectified, BYTES, RECTIFIED);
LONG_ONE(mbn_mve_one_signed, BYTES, SIGNED);

/* Two pixels of up to 32 taps stay in q0 to q3. r1, r3: where their outputs go, r5: zero point, r7: weights, r9: scales. */
#define MIDDLE_LOAD_BYTES_FIRST "vldrb.8 q4, [r7], #16\n"
#define MIDDLE_LOAD_BYTES_SECOND MIDDLE_LOAD_BYTES_FIRST
#define MIDDLE_LOAD_NIBBLES_FIRST MIDDLE_LOAD_BYTES_FIRST
#define MIDDLE_LOAD_NIBBLES_SECOND "vshl.i8 q4, q4, #4\n"
#define MIDDLE_OUTPUT(LOAD, A, first, second, x, y) LOAD "vmladav" A ".s8 " first ", " x ", q4\n vmladav" A ".s8 " second ", " y ", q4\n"
#define MIDDLE_TWO(W, high, low) \
  MIDDLE_OUTPUT(MIDDLE_LOAD_##W##_FIRST, "", "r0", "r4", "q0", "q2") MIDDLE_OUTPUT(MIDDLE_LOAD_##W##_SECOND, "", "r2", "r6", "q0", "q2") \
  MIDDLE_OUTPUT(MIDDLE_LOAD_##W##_FIRST, "a", "r0", "r4", "q1", "q3") MIDDLE_OUTPUT(MIDDLE_LOAD_##W##_SECOND, "a", "r2", "r6", "q1", "q3") \
  APART_2(W) LANES_2(high, low)
#define MIDDLE(name, W, FIX) \
  FUNCTION(name, SAVE \
    "ldm r0!, {r1, r3-r8}\n ldm r0, {r10-r12}\n vldrb.8 q0, [r1], #16\n vldrb.8 q2, [r3], #16\n vctp.8 r12\n vpstt\n vldrbt.8 q1, [r1]\n vldrbt.8 q3, [r3]\n" \
    "mov r1, r7\n add r3, r1, r6\n adds r3, r3, #4\n sub r8, r8, r7\n lsr r8, r8, #2\n mov r7, r10\n mov r9, r11\n dls lr, r8\n" \
    "1:" MIDDLE_TWO(W, "2", "0") MIDDLE_TWO(W, "3", "1") \
    "vldrw.32 q4, [r9], #16\n vadd.i32 q5, q5, q4\n vadd.i32 q6, q6, q4\n vldrw.32 q4, [r9], #16\n vqrdmulh.s32 q5, q5, q4\n vqrdmulh.s32 q6, q6, q4\n" \
    FIX("q5", "q7") FIX("q6", "q7") "vldrw.32 q4, [r9], #16\n vrshl.s32 q5, q5, q4\n vrshl.s32 q6, q6, q4\n" \
    "vqmovnb.s32 q5, q5\n vqmovnt.s32 q5, q6\n vqadd.s16 q5, q5, r5\n vqmovnb.s16 q5, q5\n vstrb.32 q5, [r1], #4\n vshr.u32 q5, q5, #16\n vstrb.32 q5, [r3], #4\n" \
    "le lr, 1b\n" RESTORE); \
  void name(const long_call *)
MIDDLE(mbn_mve_middle_rectified, BYTES, RECTIFIED);
MIDDLE(mbn_mve_middle_signed, BYTES, SIGNED);

#if MBN_MINOR > 1
LONG(mbn_mve_two_rectified_4, 2, NIBBLES, RECTIFIED);
LONG(mbn_mve_three_rectified_4, 3, NIBBLES, RECTIFIED);
LONG(mbn_mve_two_signed_4, 2, NIBBLES, SIGNED);
LONG(mbn_mve_three_signed_4, 3, NIBBLES, SIGNED);
LONG_ONE(mbn_mve_one_rectified_4, NIBBLES, RECTIFIED);
LONG_ONE(mbn_mve_one_signed_4, NIBBLES, SIGNED);
MIDDLE(mbn_mve_middle_rectified_4, NIBBLES, RECTIFIED);
MIDDLE(mbn_mve_middle_signed_4, NIBBLES, SIGNED);
#endif

/* Behind a kernel's fours of outputs: a last, incomplete four of n pixels, which was made elsewhere. */
static void copy_rest(const mbn_step *s, const int8_t *four, int32_t n, int8_t *out) {
  const int32_t whole = s->out_c & ~3, rest = s->out_c & 3;
  for (int32_t p = 0; p < n; p++) for (int32_t i = 0; i < rest; i++) out[p * s->out_c + whole + i] = four[4 * p + i];
}

/* `n` pixels of up to 16 taps, which lie `step` bytes apart. */
MBN_HOT static void short_matrix(const mbn_call *c, const int8_t *x, int32_t step, int32_t n, int8_t *out, int32_t taps) {
  const mbn_step *s = c->step;
  const int32_t outputs = s->out_c, whole = outputs & ~3;
  const int32_t each = mbn_is_int4(s) ? 8 : 16; /* bytes of an output's weights */
  void (*const run)(const short_call *) = mbn_is_int4(s) ? SHORT_4(s) : mbn_is_rectified(s) ? mbn_mve_short_rectified : mbn_mve_short_signed;
  short_call m;
  m.weights = c->weights, m.scales = c->constants, m.zero = s->zero_out, m.quads = outputs >> 2, m.taps = taps;
  for (; n > 0; n -= 4, x += 4 * step, out += 4 * outputs) {
    const int32_t second = n > 1, third = n > 2 ? 2 : second, last = n > 3 ? 3 : third;
    m.x[0] = x, m.x[1] = x + second * step, m.x[2] = x + third * step, m.x[3] = x + last * step;
    m.at[0] = second * outputs, m.at[1] = third * outputs, m.at[2] = last * outputs, m.out = out;
    if (whole) run(&m);
    if (whole == outputs) continue;
    int8_t four[16];
    short_call rest = m;
    rest.weights += whole * each, rest.scales += whole * 3, rest.out = four, rest.quads = 1, rest.at[0] = 4, rest.at[1] = 8, rest.at[2] = 12;
    run(&rest);
    copy_rest(s, four, last + 1, out);
  }
}

/* The same of more taps. Of more than 32 three pixels are quickest, so four are not three and one, but two and two. */
MBN_HOT static void long_matrix(const mbn_call *c, const int8_t *x, int32_t step, int32_t n, int8_t *out, int32_t taps) {
  static void (*const runs[][4])(const long_call *) = {{mbn_mve_one_signed, mbn_mve_two_signed, mbn_mve_three_signed, mbn_mve_middle_signed},
                                                        {mbn_mve_one_rectified, mbn_mve_two_rectified, mbn_mve_three_rectified, mbn_mve_middle_rectified},
#if MBN_MINOR > 1
                                                       {mbn_mve_one_signed_4, mbn_mve_two_signed_4, mbn_mve_three_signed_4, mbn_mve_middle_signed_4},
                                                       {mbn_mve_one_rectified_4, mbn_mve_two_rectified_4, mbn_mve_three_rectified_4, mbn_mve_middle_rectified_4},
#endif
  };
  const mbn_step *s = c->step;
  const int32_t outputs = s->out_c, whole = outputs & ~3;
  void (*const *const kernels)(const long_call *) = runs[mbn_is_rectified(s) + (mbn_is_int4(s) ? 2 : 0)];
  long_call m;
  m.weights = c->weights, m.scales = c->constants, m.zero = s->zero_out, m.stride = outputs - 4, m.more = taps - 16;
  for (int32_t now; n > 0; n -= now) {
    now = n < 3 ? n : n == 4 || (n > 3 && taps <= 32) ? 2 : 3;
    void (*const run)(const long_call *) = kernels[now == 2 && taps <= 32 ? 3 : now - 1];
    m.x[0] = x, x += step, m.x[1] = x, m.x[2] = x + step, m.out = out, m.out_end = out + whole;
    x += (now - 1) * step;
    if (whole) run(&m);
    if (whole != outputs) {
      int8_t four[12];
      long_call rest = m;
      rest.weights += whole * mbn_up_to(taps, 16) / (mbn_is_int4(s) ? 2 : 1), rest.scales += whole * 3, rest.stride = 0, rest.out = four, rest.out_end = four + 4;
      run(&rest);
      copy_rest(s, four, now, out);
    }
    out += now * outputs;
  }
}

static inline void matrix(const mbn_call *c, const int8_t *x, int32_t step, int32_t n, int8_t *out, int32_t taps) {
  (taps <= 16 ? short_matrix : long_matrix)(c, x, step, n, out, taps);
}

static inline int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

/* ---- memory ---- */

static inline int8_t *fill(int8_t *to, int8_t value, int32_t n) { /* returns its end */
  __asm__ volatile("vdup.8 q0, %[v]\n wlstp.8 lr, %[n], 2f\n 1: vstrb.8 q0, [%[to]], #16\n letp lr, 1b\n 2:"
                   : [to] "+r"(to) : [n] "r"(n), [v] "r"((int32_t)value) : "lr", "q0", "memory");
  return to;
}

static inline void copy(int8_t *to, const int8_t *from, int32_t n) {
  __asm__ volatile("wlstp.8 lr, %[n], 2f\n 1: vldrb.8 q0, [%[from]], #16\n vstrb.8 q0, [%[to]], #16\n letp lr, 1b\n 2:"
                   : [to] "+r"(to), [from] "+r"(from) : [n] "r"(n) : "lr", "q0", "memory");
}

MBN_HOT static void clamp_all(const mbn_step *s, int8_t *out, int32_t n) {
  if (s->low == -128 && s->high == 127) return;
  __asm__ volatile("vdup.8 q1, %[low]\n vdup.8 q2, %[high]\n wlstp.8 lr, %[n], 2f\n"
                   "1: vldrb.8 q0, [%[out]]\n vmax.s8 q0, q0, q1\n vmin.s8 q0, q0, q2\n vstrb.8 q0, [%[out]], #16\n letp lr, 1b\n 2:"
                   : [out] "+r"(out) : [n] "r"(n), [low] "r"((int32_t)s->low), [high] "r"((int32_t)s->high) : "lr", "q0", "q1", "q2", "memory");
}

/* ---- CONV ---- */

/* Windows of n pixels, all of three short rows, of the usual first convolution: none looks beyond the map. `step` bytes are from one to the next. */
MBN_HOT static void copy_windows(int8_t *to, const int8_t *x, const int8_t *y, const int8_t *z, int32_t line, int32_t step, int32_t n) {
  __asm__ volatile("vctp.8 %[line]\n dls lr, %[n]\n"
                   "1: vpsttt\n vldrbt.8 q0, [%[x]]\n vldrbt.8 q1, [%[y]]\n vldrbt.8 q2, [%[z]]\n"
                   "vpst\n vstrbt.8 q0, [%[to]]\n add %[to], %[to], %[line]\n vpst\n vstrbt.8 q1, [%[to]]\n add %[to], %[to], %[line]\n"
                   "vpst\n vstrbt.8 q2, [%[to]]\n add %[to], %[to], %[line]\n add %[x], %[x], %[step]\n add %[y], %[y], %[step]\n add %[z], %[z], %[step]\n le lr, 1b\n"
                   : [to] "+r"(to), [x] "+r"(x), [y] "+r"(y), [z] "+r"(z) : [line] "r"(line), [step] "r"(step), [n] "r"(n) : "lr", "q0", "q1", "q2", "memory");
}

/* The window of a pixel, as the taps come. Rare, and no part of its caller, whose registers it would take. */
MBN_HOT __attribute__((noinline)) static void column(const mbn_call *c, int32_t at, int8_t *to) {
  const mbn_step *s = c->step;
  const int32_t in = s->in_c, line = s->kw * in, from = at < 0 ? -at * in : 0, end = least((c->width - at) * in, line);
  for (int32_t ky = 0; ky < s->kh; ky++, to += line) {
    if (ky < c->ky0 || ky >= c->ky1) { fill(to, s->zero_in, line); continue; }
    fill(to, s->zero_in, from);
    copy(to + from, c->row[ky] + at * in + from, end - from);
    fill(to + end, s->zero_in, line - end);
  }
}

MBN_HOT __attribute__((noinline)) static void conv_window(const mbn_call *c) {
  const mbn_step *s = c->step;
  const int32_t in = s->in_c, step = s->sw * in, line = s->kw * in, taps = mbn_taps_of(s), most = mbn_mve_columns(s);
  const int quick = line <= 16 && s->kh == 3 && c->ky1 - c->ky0 == 3;
  int8_t *out = c->out;
  int32_t at = c->column;
  for (int32_t left = c->n, n; left > 0; left -= n, out += n * s->out_c) {
    int8_t *to = c->scratch;
    n = least(left, most);
    for (int32_t i = n, run; i > 0; i -= run, at += run * s->sw, to += run * taps) {
      const int32_t room = c->width - s->kw - at; /* columns that the window can move on */
      run = 1;
      if (!quick || at < 0 || room < 0) { column(c, at, to); continue; }
      run = least(i, 1 + room / s->sw);
      copy_windows(to, c->row[0] + at * in, c->row[1] + at * in, c->row[2] + at * in, line, step, run);
    }
    matrix(c, c->scratch, taps, n, out, taps);
  }
}

MBN_HOT void mbn_mve_conv(const mbn_call *c) {
  const mbn_step *s = c->step;
  if (!s->packed) { mbn_portable_conv(c); return; }
  if (mbn_is_1x1(s)) matrix(c, mbn_is_head(s) ? c->row[0] + c->column * s->in_c : c->row[0], s->sw * s->in_c, c->n, c->out, s->in_c);
  else conv_window(c);
  clamp_all(s, c->out, c->n * s->out_c);
}

/* ---- DEPTHWISE 3x3, sixteen channels at a time ---- */

typedef struct {
  const int8_t *tap[9];
  const int8_t *weights;    /* of the first block, with its scales */
  int8_t *out;
  int32_t zero, blocks, n;  /* blocks of a pixel, pixels */
  int32_t lanes;            /* channels of a block */
  int32_t skip, out_skip;   /* bytes from a pixel's last block to the next pixel's first, of taps and of outputs */
  int32_t skips;            /* 0: both are 0 */
} block_call;

/* Products of two taps fit into halfwords together, those of the even channels in q2, of the odd ones in q3; their sums become words:
 * q4 of the channels 0 4 8 12, q5 of 2 6 10 14, q6 of 1 5 9 13, q7 of 3 7 11 15. One vector too few, so q7 has a place on the stack.
 * r0 to r8: taps, r9: weights, r10: output, r11: zero point. */
#define WHOLE(x) "vldrb.8 q0, [" x "], #16\n"
#define PART(x) "vpst\n vldrbt.8 q0, [" x "], #16\n"
#define TAP(X, x) X(x) "vldrb.8 q1, [r9], #16\n"
#define PAIR(X, x, y) \
  TAP(X, x) "vmullb.s8 q2, q0, q1\n vmullt.s8 q3, q0, q1\n" \
  TAP(X, y) "vmullb.s8 q7, q0, q1\n vadd.i16 q2, q2, q7\n vmullt.s8 q7, q0, q1\n vadd.i16 q3, q3, q7\n"
#define WIDEN \
  "vmovlb.s16 q0, q2\n vadd.i32 q4, q4, q0\n vmovlt.s16 q2, q2\n vadd.i32 q5, q5, q2\n" \
  "vmovlb.s16 q0, q3\n vadd.i32 q6, q6, q0\n vmovlt.s16 q3, q3\n vadd.i32 q7, q7, q3\n"
#define NEXT_PAIR(X, x, y) "vstrw.32 q7, [sp]\n" PAIR(X, x, y) "vldrw.32 q7, [sp]\n" WIDEN
#define RESCALE_NEXT(q) \
  "vldrw.32 q0, [r9], #16\n vldrw.32 q1, [r9], #16\n vldrw.32 q2, [r9], #16\n" RESCALE_LANES(q, "q0", "q1", "q2", RECTIFIED, "q3")
#define BLOCKS(name, X, STORE) \
  FUNCTION(name, SAVE "sub sp, sp, #52\n" /* frame: q7, weights, blocks, n, lanes, skips, skip, out_skip */ \
    "add r10, r0, #48\n ldm r10, {r1-r6}\n ldr r7, [r0, #36]\n strd r7, r1, [sp, #16]\n strd r2, r6, [sp, #24]\n strd r4, r5, [sp, #32]\n" \
    "vctp.8 r3\n ldrd r10, r11, [r0, #40]\n ldm r0, {r0-r8}\n" \
    "1: ldrd r9, lr, [sp, #16]\n dls lr, lr\n" \
    "2:" PAIR(X, "r0", "r1") "vmovlb.s16 q4, q2\n vmovlt.s16 q5, q2\n vmovlb.s16 q6, q3\n vmovlt.s16 q7, q3\n" \
    NEXT_PAIR(X, "r2", "r3") NEXT_PAIR(X, "r4", "r5") NEXT_PAIR(X, "r6", "r7") \
    TAP(X, "r8") "vmullb.s8 q2, q0, q1\n vmullt.s8 q3, q0, q1\n" WIDEN \
    RESCALE_NEXT("q4") RESCALE_NEXT("q5") RESCALE_NEXT("q6") RESCALE_NEXT("q7") \
    "vqmovnb.s32 q0, q4\n vqmovnt.s32 q0, q5\n vqmovnb.s32 q1, q6\n vqmovnt.s32 q1, q7\n vqadd.s16 q0, q0, r11\n vqadd.s16 q1, q1, r11\n" \
    "vqmovnb.s16 q2, q0\n vqmovnt.s16 q2, q1\n" STORE "le lr, 2b\n" \
    "ldrd r9, r12, [sp, #24]\n subs r9, r9, #1\n beq 4f\n str r9, [sp, #24]\n cmp r12, #0\n beq 1b\n" \
    "ldrd r9, r12, [sp, #32]\n add r10, r10, r12\n add r0, r0, r9\n add r1, r1, r9\n add r2, r2, r9\n add r3, r3, r9\n add r4, r4, r9\n" \
    "add r5, r5, r9\n add r6, r6, r9\n add r7, r7, r9\n add r8, r8, r9\n b 1b\n" \
    "4: add sp, sp, #52\n" RESTORE); \
  void name(const block_call *)
BLOCKS(mbn_mve_blocks, WHOLE, "vstrb.8 q2, [r10], #16\n");
BLOCKS(mbn_mve_part, PART, "vpst\n vstrbt.8 q2, [r10], #16\n");

MBN_HOT static void run_blocks(void (*run)(const block_call *), block_call *m, int32_t blocks, int32_t n, int32_t skip, int32_t out_skip) {
  m->blocks = blocks, m->n = n, m->skip = skip, m->out_skip = out_skip, m->skips = skip | out_skip;
  run(m);
}

static void advance(block_call *m, int32_t bytes) {
  for (int32_t k = 0; k < 9; k++) m->tap[k] += bytes;
  m->out += bytes;
}

/* `m` has the taps, the weights, the output and its zero point. A last, incomplete block comes after the whole ones of all pixels; of
 * eight channels two pixels side by side are one block. */
MBN_HOT static void all_blocks(const mbn_step *s, block_call *m, int32_t n) {
  const int32_t channels = s->out_c, whole = channels >> 4, part = channels & 15;
  m->lanes = 16;
  if (whole) {
    run_blocks(mbn_mve_blocks, m, whole, n, s->sw * channels - 16 * whole, part);
    if (!part) return;
    advance(m, 16 * whole);
    m->weights += whole * MBN_MVE_BLOCK;
  } else if (channels == 8 && s->sw == 1 && n > 1) {
    run_blocks(mbn_mve_blocks, m, 1, n >> 1, 0, 0);
    if (!(n & 1)) return;
    advance(m, 8 * (n - 1));
    n = 1;
  }
  m->lanes = part;
  run_blocks(mbn_mve_part, m, 1, n, s->sw * channels - 16, channels - 16);
}

/* Taps of a pixel at the edge; those outside see zeros. */
static void edge_taps(const mbn_call *c, int32_t at, const int8_t **tap) {
  const int32_t n = c->step->out_c;
  for (int32_t ky = 0; ky < 3; ky++) {
    const int inside = ky >= c->ky0 && ky < c->ky1;
    const int8_t *x = inside ? c->row[ky] + at * n : 0;
    for (int32_t column = at; column < at + 3; column++, x += n) *tap++ = inside && column >= 0 && column < c->width ? x : c->scratch;
  }
}

MBN_HOT void mbn_mve_depthwise(const mbn_call *c) {
  const mbn_step *s = c->step;
  const int32_t n = s->out_c;
  if (!s->packed) { mbn_portable_depthwise(c); return; }
  if (mbn_is_matrix(s)) { mbn_mve_conv(c); return; }
  block_call m;
  m.zero = s->zero_out;
  int zeros = 0;
  for (int32_t p = 0, run; p < c->n; p += run) {
    const int32_t at = c->column + p * s->sw, room = c->width - 3 - at; /* columns that the window can move on */
    m.weights = c->weights, m.out = c->out + p * n;
    if (at >= 0 && room >= 0 && c->ky1 - c->ky0 == 3) {
      run = least(c->n - p, 1 + (s->sw == 1 ? room : room / s->sw));
      for (int32_t k = 0; k < 3; k++) {
        const int8_t *x = c->row[k] + at * n;
        m.tap[3 * k] = x, m.tap[3 * k + 1] = x += n, m.tap[3 * k + 2] = x + n;
      }
    } else {
      run = 1;
      if (!zeros) fill(c->scratch, s->zero_in, n), zeros = 1;
      edge_taps(c, at, m.tap);
    }
    all_blocks(s, &m, run);
  }
  clamp_all(s, c->out, c->n * n);
}

/* ---- ADD ---- */

typedef struct {
  const int8_t *x, *y;
  int8_t *out;
  int32_t n;                /* bytes */
  int32_t scale[9];         /* {multiplier, shift to the left, whether it is none: then nothing is rounded} of x, y and out */
  int32_t zero_x, zero_y, zero, low, high;
} add_call;

/* Both inputs get 20 more bits. r0, r1, r2: x, y, output; q3 to q7: as zero_x to high. */
#define ROUNDED(q, multiplier, shift, rounds) \
  "vqrdmulh.s32 " q ", " q ", " multiplier "\n vshr.s32 q2, " q ", #31\n vmla.s32 " q ", q2, " rounds "\n vrshl.s32 " q ", " shift "\n"
FUNCTION(mbn_mve_add_bytes, SAVE
  "add r12, r0, #52\n ldm r12!, {r1-r5}\n vdup.32 q3, r1\n vdup.32 q4, r2\n vdup.32 q5, r3\n vdup.32 q6, r4\n vdup.32 q7, r5\n"
  "ldm r0!, {r1, r2, r3}\n mov r12, r3\n ldr lr, [r0], #4\n ldm r0, {r3-r11}\n mov r0, r1\n mov r1, r2\n mov r2, r12\n"
  "dlstp.32 lr, lr\n"
  "1: vldrb.s32 q0, [r0], #4\n vldrb.s32 q1, [r1], #4\n vsub.i32 q0, q0, q3\n vsub.i32 q1, q1, q4\n vshl.i32 q0, q0, #20\n vshl.i32 q1, q1, #20\n"
  ROUNDED("q0", "r3", "r4", "r5") ROUNDED("q1", "r6", "r7", "r8") "vadd.i32 q0, q0, q1\n" ROUNDED("q0", "r9", "r10", "r11")
  "vadd.i32 q0, q0, q5\n vmax.s32 q0, q0, q6\n vmin.s32 q0, q0, q7\n vstrb.32 q0, [r2], #4\n letp lr, 1b\n" RESTORE);
void mbn_mve_add_bytes(const add_call *);

MBN_HOT void mbn_mve_add(const mbn_call *c) {
  const mbn_step *s = c->step;
  const int32_t *k = c->constants;
  const add_call m = {c->row[0], c->other, c->out, c->n * s->out_c, {k[0], k[1], k[1] < 0, k[2], k[3], k[3] < 0, k[4], k[5], k[5] < 0},
                      s->zero_in, s->zero_other, s->zero_out, s->low, s->high};
  mbn_mve_add_bytes(&m);
}

/* ---- MEAN and GLOBAL_AVERAGE ---- */

MBN_HOT void mbn_sum_add(int32_t *sums, const int8_t *pixels, int32_t n, int32_t channels) {
  for (; n; n--, pixels += channels) {
    const int8_t *x = pixels;
    int32_t *to = sums;
    __asm__ volatile("dlstp.32 lr, %[n]\n 1: vldrb.s32 q0, [%[x]], #4\n vldrw.32 q1, [%[to]]\n vadd.i32 q0, q0, q1\n vstrw.32 q0, [%[to]], #16\n letp lr, 1b\n"
                     : [to] "+r"(to), [x] "+l"(x) : [n] "r"(channels) : "lr", "q0", "q1", "memory");
  }
}
#else
typedef int mbn_no_mve; /* a translation unit of C is not empty */
#endif
