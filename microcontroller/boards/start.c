/* What lies below the app on every board: vectors, RAM.
 * The stack is the lowest part of RAM, so that an overflow is a fault and does not overwrite the arena. With two cores the second one's
 * lies below it, and the first one's may overflow into that: the app then says that it is full. */
#include "board.h"
#include "start.h"

#define PAINT 0x5a5a5a5au

extern uint32_t data_load[], data_start[], data_end[], bss_start[], bss_end[];
int main(void);
void reset(void);

__attribute__((used, noreturn)) static void say_fault(void) {
  for (const char *text = "\nfault\n"; *text; text++) board_put((uint8_t)*text);
  board_exit(70);
  for (;;) {
  }
}

/* After an overflow the stack pointer is below RAM, and the first push of a fault's handler would be a second fault: lock-up.
 * So the handler takes a fresh stack before it says anything; nobody returns to the old one. */
__attribute__((naked)) static void fault(void) {
  __asm__ volatile("ldr r0, =stack_top\n\tmov sp, r0\n\tldr r0, =say_fault\n\tbx r0");
}

__attribute__((section(".vectors"), used)) const void *const vectors[16] = {
  stack_top, (const void *)reset, (const void *)fault, (const void *)fault, (const void *)fault, (const void *)fault, (const void *)fault};

/* Keeps a compiler from making a loop a call of memset or memcpy, which may not be in RAM yet. */
#define OPAQUE __asm__ volatile("")

#ifdef BOARD_SUPPLY /* a chip whose RAM may not be written before its supply is set: no stack until then */
void begin(void);

__attribute__((naked)) void reset(void) { __asm__ volatile("bl board_supply\n\tb begin"); }

__attribute__((used)) void begin(void) {
#else
void reset(void) {
#endif
  REG(0xe000ed08) = (uint32_t)(uintptr_t)vectors; /* VTOR: a bootloader's may still be there; M0 has none and ignores it */
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
  REG(0xe000ed88) |= 0xf00000; /* CPACR: floating point and vectors on */
  __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
  uint32_t *here = __builtin_frame_address(0);
  for (uint32_t *p = stack_limit; p < here - 16; p++) { *p = PAINT; OPAQUE; }
#if MBN_CORES > 1
  for (uint32_t *p = second_limit; p < second_top; p++) { *p = PAINT; OPAQUE; }
#endif
  for (uint32_t *to = data_start, *from = data_load; to < data_end;) { *to++ = *from++; OPAQUE; }
  for (uint32_t *to = bss_start; to < bss_end;) { *to++ = 0; OPAQUE; }
  board_exit(main());
  for (;;) {
  }
}

uint32_t stack_used(void) {
  const uint32_t *p = stack_limit;
  while (p < stack_top && *p == PAINT) p++;
  return (uint32_t)((stack_top - p) * 4);
}

#if MBN_CORES > 1
uint32_t second_stack_used(void) {
  const uint32_t *p = second_limit;
  while (p < second_top && *p == PAINT) p++;
  return (uint32_t)((second_top - p) * 4);
}
#endif
