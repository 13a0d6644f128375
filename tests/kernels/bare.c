/* check.c and replay.c on a core without an operating system: vectors, memory functions, and a semihosting host to print to. */
#include <stddef.h>
#include <stdint.h>

int run(void);
int32_t semihosting(uint32_t op, const void *argument);
void put(const char *text);
void reset(void);
extern uint32_t stack_top[];

int32_t semihosting(uint32_t op, const void *argument) {
  register uint32_t r0 __asm__("r0") = op;
  register const void *r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return (int32_t)r0;
}

void put(const char *text) { semihosting(4, text); }

void *memcpy(void *to, const void *from, size_t n) {
  for (size_t i = 0; i < n; i++) { ((char *)to)[i] = ((const char *)from)[i]; __asm__ volatile(""); } /* or gcc makes this a call of memcpy */
  return to;
}

void *memmove(void *to, const void *from, size_t n) {
  if (to <= from) return memcpy(to, from, n);
  while (n--) { ((char *)to)[n] = ((const char *)from)[n]; __asm__ volatile(""); }
  return to;
}

void *memset(void *to, int value, size_t n) {
  for (size_t i = 0; i < n; i++) { ((char *)to)[i] = (char)value; __asm__ volatile(""); }
  return to;
}

static void leave(const char *said) {
  put(said);
  for (;;) semihosting(0x18, (const void *)0x20026); /* ADP_Stopped_ApplicationExit */
}

void reset(void) {
#ifdef __ARM_FEATURE_MVE
  *(volatile uint32_t *)0xe000ed88 |= 0xfu << 20; /* CPACR: vectors on */
  __asm__ volatile("dsb; isb");
#endif
  leave(run() ? "FAILED\n" : "passed\n");
}

static void fault(void) { leave("FAILED: the core faulted\n"); }

__attribute__((section(".vectors"), used)) static const void *const vectors[8] = {
    stack_top, (const void *)reset, (const void *)fault, (const void *)fault, (const void *)fault, (const void *)fault, (const void *)fault, (const void *)fault};
