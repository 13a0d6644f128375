/* What compilers for Arm ask of a runtime library, for a native module, which is linked with none (Arm's RTABI, 4.2 and 4.3). */
#include <stdint.h>
#include <string.h>

void __aeabi_memclr(void *to, size_t n) { memset(to, 0, n); }
void __aeabi_memclr4(void *to, size_t n) { memset(to, 0, n); }
void __aeabi_memclr8(void *to, size_t n) { memset(to, 0, n); }
void __aeabi_memcpy(void *to, const void *from, size_t n) { memcpy(to, from, n); }
void __aeabi_memcpy4(void *to, const void *from, size_t n) { memcpy(to, from, n); }
void __aeabi_memcpy8(void *to, const void *from, size_t n) { memcpy(to, from, n); }

#if __ARM_ARCH == 6 /* no instruction divides, none multiplies to 64 bits */

/* Quotient in the lower half, which is r0, remainder in the upper, r1. */
uint64_t __aeabi_uidivmod(uint32_t n, uint32_t d) {
  uint32_t q = 0, r = 0;
  for (int bit = 31; bit >= 0; bit--) {
    r = r << 1 | (n >> bit & 1);
    if (r >= d) r -= d, q |= 1u << bit;
  }
  return (uint64_t)r << 32 | q;
}

uint64_t __aeabi_idivmod(int32_t n, int32_t d) {
  const uint64_t both = __aeabi_uidivmod(n < 0 ? -(uint32_t)n : (uint32_t)n, d < 0 ? -(uint32_t)d : (uint32_t)d);
  const uint32_t q = (uint32_t)both, r = (uint32_t)(both >> 32);
  return (uint64_t)(n < 0 ? -r : r) << 32 | ((n < 0) != (d < 0) ? -q : q);
}

uint32_t __aeabi_uidiv(uint32_t n, uint32_t d) { return (uint32_t)__aeabi_uidivmod(n, d); }
int32_t __aeabi_idiv(int32_t n, int32_t d) { return (int32_t)__aeabi_idivmod(n, d); }

/* By halves of 16 bits: the halves of the result above 64 bits are dropped. */
uint64_t __aeabi_lmul(uint64_t a, uint64_t b) {
  const uint32_t al = (uint32_t)a, bl = (uint32_t)b, a0 = al & 0xffff, a1 = al >> 16, b0 = bl & 0xffff, b1 = bl >> 16;
  const uint32_t low = a0 * b0, middle = a1 * b0 + (low >> 16), cross = a0 * b1 + (middle & 0xffff);
  const uint32_t high = a1 * b1 + (middle >> 16) + (cross >> 16) + al * (uint32_t)(b >> 32) + (uint32_t)(a >> 32) * bl;
  return (uint64_t)high << 32 | (cross << 16 | (low & 0xffff));
}

#endif
