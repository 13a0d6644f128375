/* Nordic's nRF51 and nRF52: crystal, UART, timer 0 at 16 MHz. Pins are in board.txt. */
#include "board.h"
#include "start.h"

#define PORT(pin) (0x50000000 + 0x300 * ((pin) >> 5)) /* 32 pins a port */
enum { CLOCK = 0x40000000, UART = 0x40002000, TIMER = 0x40008000 };
enum { RXDRDY = UART + 0x108, TXDRDY = UART + 0x11c, RXD = UART + 0x518, TXD = UART + 0x51c };

/* Sections by title: RM is the nRF51 Series Reference Manual, PS the nRF52840 Product Specification. */
void board_init(void) {
  REG(UART + 0x500) = 0; /* a bootloader may have left it on, and pins are chosen while it is off (PS, UART: Pin configuration) */
  REG(CLOCK) = 1; /* the crystal; the RC oscillator is too inexact for a UART (RM and PS, CLOCK) */
  while (!REG(CLOCK + 0x100)) {
  }
#ifdef ICACHE /* nRF52: NVMC.ICACHECNF; the flash has wait states (PS, NVMC: Cache) */
  REG(ICACHE) = 1;
#endif
  REG(PORT(TX) + 0x508) = 1u << (TX & 31); /* high, then an output: a line that falls would begin a byte (RM, UART: Pin configuration) */
  REG(PORT(TX) + 0x518) = 1u << (TX & 31);
  REG(PORT(RX) + 0x700 + 4 * (RX & 31)) = 0xc; /* PIN_CNF: an input with its buffer connected, which it isn't after reset; pulled up (GPIO) */
  REG(UART + 0x50c) = TX;
  REG(UART + 0x514) = RX;
  REG(UART + 0x524) = 0x01d7e000; /* 115200 (UART: BAUDRATE) */
  REG(UART + 0x500) = 4; /* tasks do nothing before */
  REG(TXDRDY) = 0; /* a bootloader's last byte */
  REG(UART + 8) = 1; /* start both ways */
  REG(UART) = 1;
  REG(TIMER + 4) = 1; /* stopped, as it must be for what follows (TIMER: BITMODE, PRESCALER) */
  REG(TIMER + 0x508) = 3; /* 32 bits */
  REG(TIMER + 0x510) = 0; /* 16 MHz, not divided */
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

uint32_t board_chip(void) { return REG(CHIP_ID); } /* FICR: INFO.VARIANT, which is text, or the nRF51's CONFIGID */

uint32_t board_ticks(void) {
  REG(TIMER + 0x40) = 1; /* capture */
  return REG(TIMER + 0x540);
}

uint32_t board_tick_hz(void) { return 16000000; }

void board_exit(int status) {
  for (;;) __asm__ volatile("wfi" ::"r"(status));
}
