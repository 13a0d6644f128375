/* Fixed point as gemmlowp and TFLM's reference kernels round. Right shifts of negative numbers are arithmetic, as on every compiler
 * that matters. */
#ifndef MBN_FIXEDPOINT_H
#define MBN_FIXEDPOINT_H
#include "../mbn_kernel.h"

/* a * b / 2^31, halves up: SaturatingRoundingDoublingHighMul, whose nudge and truncation come to the same. */
MBN_HOT static inline int32_t high_mul(int32_t a, int32_t b) {
  if (a == INT32_MIN && b == INT32_MIN) return INT32_MAX;
  return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/* x / 2^shift, halves away from zero: RoundingDivideByPOT. */
static inline int32_t divide_pot(int32_t x, int32_t shift) {
  const int32_t mask = (int32_t)((1u << shift) - 1);
  return (x >> shift) + ((x & mask) > (mask >> 1) + (x < 0));
}

/* x * 2^shift, saturated. */
static inline int32_t times_pot(int32_t x, int32_t shift) {
  const int32_t limit = INT32_MAX >> shift;
  return x > limit ? INT32_MAX : x < -limit - 1 ? INT32_MIN : (int32_t)((uint32_t)x << shift);
}

/* x * multiplier * 2^(shift - 31), rounded twice: MultiplyByQuantizedMultiplier. Not inline, as requantize: copies in all callers would be
 * half as much code again. */
static int32_t rescale(int32_t x, int32_t multiplier, int32_t shift) {
  return shift > 0 ? high_mul((int32_t)((uint32_t)x << shift), multiplier) : divide_pot(high_mul(x, multiplier), -shift);
}

/* The same rounded once, halves up. No 64-bit shift by a variable: it would be a call of a library. */
static inline int32_t rescale_once(int32_t x, int32_t multiplier, int32_t shift) {
  const int32_t n = 31 - shift; /* 1 to 62 */
  const uint64_t half = n > 32 ? (uint64_t)(1u << (n - 33)) << 32 : 1u << (n - 1);
  const int64_t product = (int64_t)x * multiplier + (int64_t)half;
  const int32_t high = (int32_t)(product >> 32);
  return n >= 32 ? high >> (n - 32) : (int32_t)((uint32_t)high << (32 - n) | (uint32_t)product >> n);
}

/* Compared before the zero point is added, so that nothing overflows. */
static inline int8_t clamp(int32_t x, const mbn_step *s) {
  return (int8_t)(x < s->low - s->zero_out ? s->low : x > s->high - s->zero_out ? s->high : x + s->zero_out);
}

#endif
