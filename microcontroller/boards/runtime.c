/* What compilers call by themselves: memory functions, and on a Cortex-M0, which can't divide nor multiply to 64 bits, arithmetic.
 * PyPI's ziglang would compile a whole runtime library for these, which takes longer than all else. */
#include <stddef.h>
#include <stdint.h>
#include "../engine/mbn_kernel.h"

/* The empty asm keeps a compiler from seeing a memory function in its own body, and calling it there. */
#define OPAQUE __asm__ volatile("")

void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);

/* A word anywhere, where the core reads those; where not, both must be aligned. Compilers may not join packed words to an LDM, which faults. */
#ifdef __ARM_FEATURE_UNALIGNED
typedef struct { uint32_t value; } __attribute__((packed, may_alias)) word;
#define WORDS(a, b) 1
#else
typedef struct { uint32_t value; } __attribute__((may_alias)) word;
#define WORDS(a, b) (!(((uintptr_t)(a) | (uintptr_t)(b)) & 3))
#endif

#ifdef __ARM_FEATURE_MVE /* sixteen bytes at once, and what is left in the last turn */
MBN_HOT void *memcpy(void *to, const void *from, size_t n) {
  void *a = to;
  __asm__ volatile("wlstp.8 lr, %[n], 2f\n 1: vldrb.8 q0, [%[b]], #16\n vstrb.8 q0, [%[a]], #16\n letp lr, 1b\n 2:"
                   : [a] "+r"(a), [b] "+r"(from) : [n] "r"(n) : "lr", "q0", "memory", "cc");
  return to;
}
#else
MBN_HOT void *memcpy(void *to, const void *from, size_t n) {
  uint8_t *a = to;
  const uint8_t *b = from;
  if (WORDS(a, b)) {
    for (; n >= 16; n -= 16, a += 16, b += 16) { word *x = (void *)a; const word *y = (const void *)b; x[0] = y[0], x[1] = y[1], x[2] = y[2], x[3] = y[3]; OPAQUE; }
    for (; n >= 4; n -= 4, a += 4, b += 4) { *(word *)(void *)a = *(const word *)(const void *)b; OPAQUE; }
  }
  while (n--) { *a++ = *b++; OPAQUE; }
  return to;
}
#endif

/* Upwards if it moves down, as memcpy: what is read in a turn was not written before. */
MBN_HOT void *memmove(void *to, const void *from, size_t n) {
  uint8_t *a = to;
  const uint8_t *b = from;
  if (a <= b) return memcpy(to, from, n);
  if (WORDS(a + n, b + n)) for (; n >= 4; n -= 4) { *(word *)(void *)(a + n - 4) = *(const word *)(const void *)(b + n - 4); OPAQUE; }
  while (n--) { a[n] = b[n]; OPAQUE; }
  return to;
}

void *memset(void *to, int value, size_t n) {
  uint8_t *a = to;
  while (n--) { *a++ = (uint8_t)value; OPAQUE; }
  return to;
}

/* The names of the Arm run-time ABI; the 4 and 8 promise an alignment. */
#define ALIGNMENTS(name, ...) void name(__VA_ARGS__); void name##4(__VA_ARGS__); void name##8(__VA_ARGS__)
#define DEFINE(name, signature, body) void name signature { body; } void name##4 signature { body; } void name##8 signature { body; }
ALIGNMENTS(__aeabi_memcpy, void *to, const void *from, size_t n);
ALIGNMENTS(__aeabi_memmove, void *to, const void *from, size_t n);
ALIGNMENTS(__aeabi_memset, void *to, size_t n, int value);
ALIGNMENTS(__aeabi_memclr, void *to, size_t n);
DEFINE(__aeabi_memcpy, (void *to, const void *from, size_t n), memcpy(to, from, n))
DEFINE(__aeabi_memmove, (void *to, const void *from, size_t n), memmove(to, from, n))
DEFINE(__aeabi_memset, (void *to, size_t n, int value), memset(to, value, n))
DEFINE(__aeabi_memclr, (void *to, size_t n), memset(to, 0, n))

#ifdef __ARM_ARCH_6M__
#define HIDDEN(x) __asm__("" : "+r"(x)) /* keeps a compiler from seeing what this computes, and calling it here */

uint64_t __aeabi_lmul(uint64_t a, uint64_t b);
uint64_t __aeabi_uidivmod(uint32_t n, uint32_t d);
uint64_t __aeabi_idivmod(int32_t n, int32_t d);
uint32_t __aeabi_uidiv(uint32_t n, uint32_t d);
int32_t __aeabi_idiv(int32_t n, int32_t d);
int __clzsi2(uint32_t x);

/* Low halves in 16 bits each: four products; of the high halves only what stays below 2^64. */
MBN_HOT uint64_t __aeabi_lmul(uint64_t a, uint64_t b) {
  const uint32_t x = (uint32_t)a, y = (uint32_t)b, x0 = x & 0xffff, x1 = x >> 16, y0 = y & 0xffff, y1 = y >> 16;
  uint32_t low = x0 * y0, middle = x1 * y0 + (low >> 16), high = x1 * y1 + x * (uint32_t)(b >> 32) + (uint32_t)(a >> 32) * y;
  HIDDEN(middle);
  const uint32_t other = x0 * y1 + (middle & 0xffff);
  high += (middle >> 16) + (other >> 16);
  return (uint64_t)high << 32 | (other << 16 | (low & 0xffff));
}

/* Bit by bit, from the first that matters. n / 0 is 0, rest n. */
uint64_t __aeabi_uidivmod(uint32_t n, uint32_t d) {
  uint32_t quotient = 0, bit = 1;
  if (!d) return (uint64_t)n << 32;
  while (d < n && !(d >> 31)) { d <<= 1, bit <<= 1; HIDDEN(bit); }
  for (; bit; d >>= 1, bit >>= 1) {
    if (n >= d) n -= d, quotient |= bit;
    HIDDEN(n);
  }
  return (uint64_t)n << 32 | quotient;
}

uint64_t __aeabi_idivmod(int32_t n, int32_t d) {
  const uint64_t both = __aeabi_uidivmod(n < 0 ? 0u - (uint32_t)n : (uint32_t)n, d < 0 ? 0u - (uint32_t)d : (uint32_t)d);
  const uint32_t quotient = (uint32_t)both, rest = (uint32_t)(both >> 32);
  return (uint64_t)(n < 0 ? 0u - rest : rest) << 32 | ((n ^ d) < 0 ? 0u - quotient : quotient);
}

uint32_t __aeabi_uidiv(uint32_t n, uint32_t d) { return (uint32_t)__aeabi_uidivmod(n, d); }
int32_t __aeabi_idiv(int32_t n, int32_t d) { return (int32_t)(uint32_t)__aeabi_idivmod(n, d); }

int __clzsi2(uint32_t x) {
  int n = 32;
  while (x) { x >>= 1, n--; HIDDEN(x); }
  return n;
}
#endif
