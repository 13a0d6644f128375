/* Nordic's nRF51 and nRF52: crystal, UART, timer 0 at 16 MHz. Pins are in board.txt. */
#include "board.h"
#include "start.h"

#define PORT(pin) (0x50000000 + 0x300 * ((pin) >> 5)) /* 32 pins a port */
enum { CLOCK = 0x40000000, UART = 0x40002000, TIMER = 0x40008000 };
enum { RXDRDY = UART + 0x108, TXDRDY = UART + 0x11c, RXD = UART + 0x518, TXD = UART + 0x51c };

void board_init(void) {
  REG(CLOCK) = 1; /* the crystal, or the UART is too inexact */
  while (!REG(CLOCK + 0x100)) {
  }
#ifdef ICACHE /* nRF52: NVMC.ICACHECNF; the flash has wait states */
  REG(ICACHE) = 1;
#endif
  REG(PORT(TX) + 0x508) = 1u << (TX & 31), REG(PORT(TX) + 0x518) = 1u << (TX & 31); /* high, then an output */
  REG(PORT(RX) + 0x700 + 4 * (RX & 31)) = 0xc; /* PIN_CNF: an input with its buffer connected, which it isn't after reset; pulled up */
  REG(UART + 0x50c) = TX, REG(UART + 0x514) = RX;
  REG(UART + 0x524) = 0x01d7e000; /* 115200 */
  REG(UART + 0x500) = 4;
  REG(UART) = REG(UART + 8) = 1; /* start both ways */
  REG(TIMER + 0x508) = 3, REG(TIMER + 0x510) = 0; /* 32 bits, not divided */
  REG(TIMER) = 1;
}

void board_put(uint8_t byte) {
  REG(TXD) = byte;
  while (!REG(TXDRDY)) {
  }
  REG(TXDRDY) = 0;
}

int board_get(void) {
  if (!REG(RXDRDY)) return -1;
  REG(RXDRDY) = 0;
  return (int)(REG(RXD) & 0xff);
}

uint32_t board_ticks(void) {
  REG(TIMER + 0x40) = 1; /* capture */
  return REG(TIMER + 0x540);
}

uint32_t board_tick_hz(void) { return 16000000; }

void board_exit(int status) {
  for (;;) __asm__ volatile("wfi" ::"r"(status));
}
