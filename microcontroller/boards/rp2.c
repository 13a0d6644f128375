/* RP2040 and RP2350: crystal, PLL, UART 0 on GP0 (to the computer) and GP1, the microsecond timer; the USB cable is in rp2_usb.c. Addresses are in board.txt. */
#include "board.h"
#include "rp2_usb.h"
#include "start.h"

#define CLEAR(address, bits) (REG((address) + 0x3000) = (bits)) /* atomic */
#define AWAIT(condition) do { } while (!(condition))

static void clocks(void) {
  enum { REF_CTRL = CLOCKS + 0x30, REF_SELECTED = CLOCKS + 0x38, SYS_CTRL = CLOCKS + 0x3c, SYS_SELECTED = CLOCKS + 0x44, PERI_CTRL = CLOCKS + 0x48 };
  REG(SYS_CTRL) = 0; /* away from the PLL, which may run if a debugger started us */
  AWAIT(REG(SYS_SELECTED) & 1);
  REG(XOSC + 0xc) = 47; /* x 256 cycles: about 1 ms until the crystal of 12 MHz is stable */
  REG(XOSC) = 0xfabaa0;
  AWAIT(REG(XOSC + 4) >> 31);
  REG(REF_CTRL) = 2; /* reference: the crystal */
  AWAIT(REG(REF_SELECTED) & 4);
  REG(PLL + 8) = 125; /* 12 MHz * 125 = 1500 MHz */
  CLEAR(PLL + 4, 0x21); /* power for PLL and VCO */
  AWAIT(REG(PLL) >> 31);
  REG(PLL + 0xc) = DIVIDE_1 << 16 | DIVIDE_2 << 12;
  CLEAR(PLL + 4, 8); /* power for the dividers */
  REG(SYS_CTRL) = 1;
  AWAIT(REG(SYS_SELECTED) & 2);
  REG(PERI_CTRL) = 1 << 11;
}

static void unreset(uint32_t blocks) {
  CLEAR(RESETS, blocks);
  AWAIT((REG(RESETS + 8) & blocks) == blocks);
}

/* A block leaves reset only while its clock runs. Pins, pads, timer and PLL live by the reference and system clocks, which run
 * from the start; the UART lives by clk_peri, which is off until clocks() (RP2040 datasheet, 2.14 and 2.15.3.1). */
void board_init(void) {
  unreset(UNRESET);
  clocks();
  unreset(UNRESET_UART);
#ifdef TICKS /* RP2350 */
  REG(TICKS + 0x1c) = 12, REG(TICKS + 0x18) = 1;
#else
  REG(0x4005802c) = 0x20c; /* the watchdog's: 12 cycles of the crystal to a microsecond */
#endif
  REG(PADS + 4) = 0x52, REG(PADS + 8) = 0x5a; /* RP2350 isolates pads until they are set up; the receiver's is pulled up */
  REG(IO + 0xc) = 2, REG(IO + 4) = 2;
  REG(UART + 0x24) = BAUD_INTEGER, REG(UART + 0x28) = BAUD_FRACTION; /* 115200 */
  REG(UART + 0x2c) = 0x70, REG(UART + 0x30) = 0x301; /* 8N1 with FIFOs; on */
}

#if MBN_CORES > 1
/* The second core waits in the ROM, which echoes each word, and at a zero begins anew: then it wants a 1, vectors, stack and entry (RP2040 datasheet, 2.8.2;
 * the SDK starts the RP2350's alike). A core that runs already, since a debugger started only the first one again, never answers. */
int board_start_second(void (*run)(void), uint32_t *stack_top) {
  enum { VALID = 1, READY = 2 };
  const uint32_t state = 0xd0000050, write = state + 4, read = state + 8; /* SIO: FIFO_ST, FIFO_WR, FIFO_RD */
  const uint32_t words[6] = {0, 0, 1, REG(0xe000ed08), (uint32_t)(uintptr_t)stack_top, (uint32_t)(uintptr_t)run};
  uint32_t patience = 100000;
  for (int i = 0; i < 6 && patience;) {
    if (!words[i]) {
      while (REG(state) & VALID) (void)REG(read);
      __asm__ volatile("sev");
    }
    while (!(REG(state) & READY) && patience) patience--;
    REG(write) = words[i];
    __asm__ volatile("sev");
    while (!(REG(state) & VALID) && patience) patience--;
    if (patience) i = REG(read) == words[i] ? i + 1 : 0, patience--;
  }
  return patience != 0;
}
#endif

void board_put(uint8_t byte) {
  AWAIT(!(REG(UART + 0x18) & 0x20));
  REG(UART) = byte;
  usb_put(byte);
}

int board_get(void) { return REG(UART + 0x18) & 0x10 ? usb_get() : (int)(REG(UART) & 0xff); }

void board_poll(void) { usb_poll(); }

uint32_t board_chip(void) { return REG(SYSINFO); } /* CHIP_ID: 2.20.4 */

uint32_t board_ticks(void) { return REG(TIMER + 0x28); }

uint32_t board_tick_hz(void) { return 1000000; }

void board_exit(int status) {
  (void)status;
  for (;;) board_get(); /* the cable's other end may still read, or want the boot loader */
}
