/* The second stage of the RP2040's boot. Its ROM copies these 256 bytes to RAM, checks their CRC and runs them there, so they must
 * not refer to themselves by address. They let the processor run from flash: four bits at a time where the flash is ready for it,
 * as the Pico's is, and else by the command that every flash knows. RP2040 datasheet, sections 2.8.1 and 4.10. What goes into an
 * image is rp2040_boot2.c, this file compiled and sealed. Untested on hardware. */
#include "board.h"
#include "start.h"

enum { CTRLR0, CTRLR1, SSIENR, BAUDR = 5, SR = 10, DR0 = 24, RX_SAMPLE_DLY = 60, SPI_CTRLR0 = 61 }; /* words from the SSI's first */
#define VECTORS 0x10000100
#define IDLE ((ssi[SR] & 5) == 4) /* everything was sent */

void boot2(void);
__attribute__((section(".boot"), used, noreturn)) void boot2(void) {
  volatile uint32_t *ssi = (volatile uint32_t *)0x18000000;
  __asm__("" : "+r"(ssi)); /* one base for all of them, or the constants alone would be too long */
  ssi[SSIENR] = 0;
  ssi[BAUDR] = 4; /* a quarter of 125 MHz */
  ssi[RX_SAMPLE_DLY] = 1;
  ssi[CTRLR0] = 7 << 16; /* 8 bits, both directions */
  ssi[SSIENR] = 1;
  ssi[DR0] = 0x35, ssi[DR0] = 0; /* status register 2: bit 1 says that all four wires carry data */
  while (!IDLE) {
  }
  (void)ssi[DR0];
  const uint32_t quad = ssi[DR0] & 2;
  ssi[SSIENR] = 0;
  ssi[CTRLR1] = 0; /* one word at a time */
  if (quad) {
    ssi[CTRLR0] = 2 << 21 | 31 << 16 | 3 << 8;     /* four wires, 32 bits, send then receive */
    ssi[SPI_CTRLR0] = 4 << 11 | 2 << 8 | 8 << 2 | 1; /* 4 idle cycles, command of 8 bits on one wire, address and mode of 32 on four */
    ssi[SSIENR] = 1;
    ssi[DR0] = 0xeb, ssi[DR0] = 0xa0; /* fast read, quad; mode A0: the next reads come without a command */
    while (!IDLE) {
    }
    ssi[SSIENR] = 0;
    ssi[SPI_CTRLR0] = 0xa0u << 24 | 4 << 11 | 8 << 2 | 2; /* no command; A0 after each address */
  } else {
    ssi[CTRLR0] = 31 << 16 | 3 << 8;
    ssi[SPI_CTRLR0] = 3 << 24 | 2 << 8 | 6 << 2; /* command 03, address of 24 bits */
  }
  ssi[SSIENR] = 1;
  REG(0xe000ed08) = VECTORS; /* VTOR */
  __asm__ volatile("msr msp, %0\n\tbx %1" ::"r"(REG(VECTORS)), "r"(REG(VECTORS + 4)));
  __builtin_unreachable();
}
