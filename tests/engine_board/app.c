/* One inference on an emulated board: prints its status, the instructions it took, those inside kernels, the bytes of stack, and the
 * output, through semihosting. Built with -DMBN_COUNTED, where the engine's kernel table is called `counted_kernels`. */
#include <stddef.h>
#include "../../microcontroller/engine/mbn.h"
#include "../../microcontroller/engine/mbn_kernel.h"

extern const uint8_t model[], image[];
extern const uint32_t model_bytes, arena_bytes;
extern uint32_t arena[], stack_top[], stack_limit[];
extern const mbn_kernel counted_kernels[MBN_LAYOUTS][MBN_OPS];

/* The CMSDK timer0 counts down at 25 MHz; with -icount shift=6 an instruction takes 64 ns, so 5 instructions are 8 ticks. */
static volatile uint32_t *const timer = (volatile uint32_t *)0x40000000;
static uint32_t inside;

static void counted(const mbn_call *c) {
  const uint32_t start = timer[1];
  counted_kernels[0][c->step->op](c);
  inside += start - timer[1];
}

const mbn_kernel mbn_kernels[MBN_LAYOUTS][MBN_OPS] = {{counted, counted, counted, counted, counted, 0, 0, counted, counted, 0, 0, 0}};

void *memcpy(void *to, const void *from, size_t n) {
  char *a = to;
  const char *b = from;
  while (n--) { *a++ = *b++; __asm__ volatile(""); } /* the asm keeps the compiler from calling memcpy here */
  return to;
}

void *memmove(void *to, const void *from, size_t n) {
  char *a = to;
  const char *b = from;
  if (a < b) return memcpy(to, from, n);
  while (n--) { a[n] = b[n]; __asm__ volatile(""); }
  return to;
}

void *memset(void *to, int value, size_t n) {
  char *a = to;
  while (n--) { *a++ = (char)value; __asm__ volatile(""); }
  return to;
}

static void semihosting(int32_t op, const void *argument) {
  register int32_t r0 __asm__("r0") = op;
  register const void *r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void print(uint32_t value) {
  char text[12] = {0};
  int i = 11;
  text[--i] = ' ';
  do text[--i] = (char)('0' + value % 10); while (value /= 10);
  semihosting(4, text + i);
}

static uint32_t unused_stack(void) { /* bytes that still hold the paint */
  const uint32_t *p = stack_limit;
  while (*p == 0x5A5A5A5Au) p++;
  return (uint32_t)((const char *)p - (const char *)stack_limit);
}

static void run(void) {
  mbn *m;
  const int8_t *out = 0;
  mbn_status status = mbn_open(&m, model, model_bytes, arena, arena_bytes, 0);
  timer[1] = timer[2] = 0xffffffffu, timer[0] = 1;
  const uint32_t start = timer[1];
  if (!status) status = mbn_run(m, (const int8_t *)image, &out);
  const uint32_t all = start - timer[1];
  print(status), print(all / 8 * 5), print(inside / 8 * 5);
  print((uint32_t)((char *)stack_top - (char *)stack_limit) - unused_stack());
  for (uint32_t i = 0; !status && i < mbn_outputs(model)->bytes; i++) print((uint8_t)out[i]);
}

void reset(void) {
  for (uint32_t *p = stack_limit; p < stack_top - 16; p++) *p = 0x5A5A5A5Au;
  run();
  const uint32_t leave[2] = {0x20026, 0}; /* ADP_Stopped_ApplicationExit, status 0 */
  semihosting(0x20, leave);
  for (;;) {
  }
}

__attribute__((section(".vectors"), used)) const void *const vectors[2] = {stack_top, (const void *)reset};
