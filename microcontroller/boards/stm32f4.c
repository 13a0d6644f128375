/* STM32F4 on a Nucleo: 180 MHz from its own 16 MHz oscillator, USART 2 on PA2 and PA3, which the ST-LINK passes to USB, timer 2
 * at 90 MHz. Register offsets: RM0390. Untested on hardware. */
#include "board.h"
#include "start.h"

enum { RCC = 0x40023800, FLASH = 0x40023c00, PWR = 0x40007000, GPIOA = 0x40020000, USART2 = 0x40004400, TIMER2 = 0x40000000 };

static void await(uint32_t address, uint32_t bits) {
  while ((REG(address) & bits) != bits) {
  }
}

void board_init(void) {
  REG(RCC + 0x40) |= 1u << 28 | 1u << 17 | 1; /* clocks for power control, USART 2, timer 2 */
  REG(RCC + 0x30) |= 1;                      /* and port A */
  REG(PWR) |= 3 << 14;                       /* the highest voltage */
  REG(FLASH) = 0x705;                        /* 5 wait states, caches, prefetch */
  REG(RCC + 4) = 2u << 28 | 8 << 24 | 180 << 6 | 8; /* 16 MHz / 8 * 180 / 2 = 180 MHz */
  REG(RCC) |= 1 << 24;
  await(RCC, 1 << 25);
  REG(PWR) |= 1 << 16; /* over-drive, which 180 MHz need */
  await(PWR + 4, 1 << 16);
  REG(PWR) |= 1 << 17;
  await(PWR + 4, 1 << 17);
  REG(RCC + 8) = 4 << 13 | 5 << 10 | 2; /* APB2 at half, APB1 at a quarter: 45 MHz; its timers run at 90 */
  await(RCC + 8, 2 << 2);
  REG(GPIOA) = (REG(GPIOA) & ~0xf0u) | 0xa0;
  REG(GPIOA + 0x20) = (REG(GPIOA + 0x20) & ~0xff00u) | 0x7700; /* function 7 */
  REG(USART2 + 8) = 391; /* 45 MHz / 115200 */
  REG(USART2 + 0xc) = 0x200c;
  REG(TIMER2) = 1;
}

void board_put(uint8_t byte) {
  await(USART2, 1 << 7);
  REG(USART2 + 4) = byte;
}

int board_get(void) { return REG(USART2) & 1 << 5 ? (int)(REG(USART2 + 4) & 0xff) : -1; }

uint32_t board_ticks(void) { return REG(TIMER2 + 0x24); }

uint32_t board_tick_hz(void) { return 90000000; }

void board_exit(int status) {
  for (;;) __asm__ volatile("wfi" ::"r"(status));
}
