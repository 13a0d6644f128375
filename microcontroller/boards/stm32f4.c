/* STM32F4 on a Nucleo: 180 MHz from its own 16 MHz oscillator, USART 2 on PA2 and PA3, which the ST-LINK passes to USB, timer 2
 * at 90 MHz. Sections: RM0390. Untested on hardware. */
#include "board.h"
#include "start.h"

enum { RCC = 0x40023800, FLASH = 0x40023c00, PWR = 0x40007000, GPIOA = 0x40020000, USART2 = 0x40004400, TIMER2 = 0x40000000 };

static void await(uint32_t address, uint32_t bits, uint32_t value) {
  while ((REG(address) & bits) != value) {
  }
}

void board_init(void) {
  REG(RCC + 0x40) |= 1u << 28 | 1u << 17 | 1; /* clocks for power control, USART 2, timer 2 (6.3.13), */
  REG(RCC + 0x30) |= 1;                      /* and port A (6.3.10) */
  (void)REG(RCC + 0x30);                     /* which are there two cycles later: a read takes as long */
  REG(RCC + 4) = 2u << 28 | 8 << 24 | 180 << 6 | 8; /* HSI, 16 MHz / 8 * 180 / 2 = 180 MHz (6.3.2); P, bits 17:16, is 0 for 2 */
  REG(RCC) |= 1 << 24;                       /* PLLON: the voltage rises to scale 1, which PWR_CR asks for after reset (5.1.3) */
  REG(PWR) |= 1 << 16;                       /* ODEN: over-drive, which 180 MHz need, while the PLL locks (5.1.4) */
  await(PWR + 4, 1 << 16, 1 << 16);          /* ODRDY */
  REG(PWR) |= 1 << 17;                       /* ODSWEN */
  await(PWR + 4, 1 << 17, 1 << 17);          /* ODSWRDY */
  REG(FLASH) = 0x705;                        /* 5 wait states for 180 MHz at 3.3 V, caches, prefetch (3.4.1), */
  await(FLASH, 0xf, 5);                      /* read back before the clock rises */
  await(RCC, 1 << 25, 1 << 25);              /* PLLRDY */
  REG(RCC + 8) = 4 << 13 | 5 << 10 | 2;      /* the PLL, with APB2 at half, APB1 at a quarter: 45 MHz; its timers run at 90 (6.3.3) */
  await(RCC + 8, 3 << 2, 2 << 2);            /* SWS */
  REG(GPIOA) = (REG(GPIOA) & ~0xf0u) | 0xa0; /* PA2, PA3: alternate function (7.4.1), */
  REG(GPIOA + 0x20) = (REG(GPIOA + 0x20) & ~0xff00u) | 0x7700; /* 7 (7.4.9) */
  REG(USART2 + 8) = 391;                     /* BRR: 45 MHz / 115200 (25.4.4) */
  REG(USART2 + 0xc) = 0x200c;                /* UE, TE, RE */
  REG(TIMER2) = 1;                           /* CEN */
}

void board_put(uint8_t byte) {
  await(USART2, 1 << 7, 1 << 7);             /* TXE */
  REG(USART2 + 4) = byte;
}

int board_get(void) { return REG(USART2) & 1 << 5 ? (int)(REG(USART2 + 4) & 0xff) : -1; }

uint32_t board_chip(void) { return REG(0xe0042000); } /* DBGMCU_IDCODE: RM0390, 33.6.1 */

uint32_t board_ticks(void) { return REG(TIMER2 + 0x24); }

uint32_t board_tick_hz(void) { return 90000000; }

void board_exit(int status) {
  for (;;) __asm__ volatile("wfi" ::"r"(status));
}
