/* Arm's MPS2 and MPS3 boards as QEMU emulates them: CMSDK UART, CMSDK timer or SSE counter, semihosting to leave. */
#include "board.h"
#include "start.h"

enum { DATA = UART, STATE = UART + 4, CTRL = UART + 8, BAUDDIV = UART + 16 };

void board_init(void) {
  REG(BAUDDIV) = 217; /* 115200 at 25 MHz; QEMU sends at once */
  REG(CTRL) = 3;
#ifdef CMSDK_TIMER
  REG(CMSDK_TIMER + 4) = 0xffffffff, REG(CMSDK_TIMER + 8) = 0xffffffff, REG(CMSDK_TIMER) = 1; /* counts down */
#else
  REG(SSE_COUNTER) = 1;
#endif
}

void board_put(uint8_t byte) {
  while (REG(STATE) & 1) {
  }
  REG(DATA) = byte;
}

int board_get(void) { return REG(STATE) & 2 ? (int)(REG(DATA) & 0xff) : -1; }

/* With -icount shift=6 an instruction takes 64 ns, so instructions = ticks * PER_TICK / 2^SHIFT. */
uint32_t board_ticks(void) {
#ifdef CMSDK_TIMER
  const uint32_t ticks = 0xffffffff - REG(CMSDK_TIMER + 4);
#else
  const uint32_t ticks = REG(SSE_TIMER);
#endif
  return (uint32_t)((uint64_t)ticks * PER_TICK >> SHIFT);
}

uint32_t board_tick_hz(void) { return 0; }

void board_exit(int status) {
  const uint32_t argument[2] = {0x20026, (uint32_t)status}; /* ADP_Stopped_ApplicationExit */
  register uint32_t r0 __asm__("r0") = 0x20; /* SYS_EXIT_EXTENDED */
  register const uint32_t *r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  for (;;) {
  }
}
