/* RP2040 and RP2350: a serial line over the USB cable (a CDC-ACM device), polled, beside the UART. Both chips have the same controller.
 *
 * The registers that it touches, all of them by words (RP2040 datasheet, 4.1.4, and RP2350 datasheet, 12.7.5; their offsets are the same):
 *
 *   RESETS    0x4000c000 / 0x40020000   set (+0x2000) and clear (+0x3000): PLL_USB (bit 13 / 15), USBCTRL (24 / 28); +8 RESET_DONE, read: the same bits
 *   PLL_USB   0x4002c000 / 0x40058000   +0 CS: LOCK (31), read, and REFDIV (0-5); +4 PWR, clear: PD (0), POSTDIVPD (3), VCOPD (5); +8 FBDIV_INT; +0xc PRIM
 *   CLK_USB   0x40008054 / 0x40010060   CTRL: AUXSRC (5-7) 0 is PLL_USB, ENABLE (11)
 *   DPRAM     0x50100000   +0, +4: the SETUP packet, read
 *                          +8 control of IN 1, +0x10 of IN 2, +0x14 of OUT 2: ENABLE (31), an event for each buffer (29), type (26-27), offset (6-15)
 *                          +0x80, +0x84, +0x90, +0x94 buffers of IN 0, OUT 0, IN 2, OUT 2: FULL (15), DATA1 (13), STALL (11), AVAILABLE (10), length (0-9)
 *                          +0x00-0xff cleared at the start; +0x100 data of endpoint 0, +0x180 IN 1 (never sent), +0x1c0 OUT 2, +0x200 IN 2
 *   USB       0x50110000   +0 ADDR_ENDP: ADDRESS (0-6)
 *                          +0x40 MAIN_CTRL: CONTROLLER_EN (0); RP2350 starts with PHY_ISO (2) set, which this clears
 *                          +0x48 SOF_RD, read: number of the frame (0-10)
 *                          +0x4c SIE_CTRL: EP0_INT_1BUF (29), PULLUP_EN (16)
 *                          +0x50 SIE_STATUS: BUS_RESET (19), SETUP_REC (17); a one clears
 *                          +0x58 BUFF_STATUS: IN 0 (0), OUT 0 (1), IN 2 (4), OUT 2 (5); a one clears
 *                          +0x68 EP_STALL_ARM: IN 0 (0), OUT 0 (1), which a SETUP packet clears
 *                          +0x74 USB_MUXING: TO_PHY (0), SOFTCON (3);  +0x78 USB_PWR: VBUS_DETECT (3) and its override (2), for no pin says whether there is power
 *
 * Vendor and product are what Raspberry Pi's own SDK has for a serial line, 2e8a:000a on RP2040 and 2e8a:0009 on RP2350. Raspberry Pi asks to take these
 * "standard" numbers for a device with a standard interface as CDC, and to tell one's own by manufacturer and product (github.com/raspberrypi/usb-pid).
 * There is no serial number: an RP2040 has none without stopping its flash. The device shows up when the console first listens, since the inference
 * before could be longer than a host waits. Not worked around is RP2040-E5: the first chips, B0 and B1, may not be found behind a busy hub. */
#include "board.h"
#include "rp2_usb.h"
#include "start.h"

#ifdef __clang__ /* small: all of it waits for a host */
#pragma clang attribute push(__attribute__((minsize)), apply_to = function)
#else
#pragma GCC optimize("Os")
#endif

enum { DPRAM = 0x50100000, USB = 0x50110000, ADDRESS = USB, MAIN = USB + 0x40, FRAME = USB + 0x48, SIE = USB + 0x4c, STATUS = USB + 0x50, DONE = USB + 0x58,
       STALL_ARM = USB + 0x68, MUXING = USB + 0x74, POWER = USB + 0x78 };
enum { IN_0 = DPRAM + 0x80, OUT_0 = IN_0 + 4, IN_2 = IN_0 + 0x10, OUT_2 = IN_2 + 4, DATA_0 = DPRAM + 0x100, DATA_OUT = DPRAM + 0x1c0, DATA_IN = DPRAM + 0x200 };
enum { FULL = 1 << 15, DATA1 = 1 << 13, STALL = 1 << 11, AVAILABLE = 1 << 10, LENGTH = 0x3ff, PACKET = 64 };
enum { BUS_RESET = 1 << 19, SETUP = 1 << 17, DTR = 1, PATIENCE = 250000 /* microseconds that a host may take to read a packet */ };

#define WORD(n) (n) & 255, (n) >> 8

static const uint8_t device[18] = {18, 1, WORD(0x200), 0xef, 2, 1, PACKET, WORD(0x2e8a), WORD(PRODUCT_ID), WORD(0x100), 1, 2, 0, 1};

static const uint8_t configuration[75] = {
    9, 2, WORD(75), 2, 1, 0, 0x80, 250,                                  /* two interfaces, 500 mA from the bus */
    8, 11, 0, 2, 2, 2, 0, 0,                                             /* which are one function, CDC-ACM */
    9, 4, 0, 0, 1, 2, 2, 0, 0,                                           /* 0, to control it: */
    5, 0x24, 0, WORD(0x110), 5, 0x24, 1, 0, 1, 4, 0x24, 2, 2, 5, 0x24, 6, 0, 1, /* CDC 1.1, no calls, line coding and state, interfaces */
    7, 5, 0x81, 3, WORD(8), 16,                                          /* notifications, of which there are none */
    9, 4, 1, 0, 2, 10, 0, 0, 0,                                          /* 1, for data: */
    7, 5, 0x02, 2, WORD(PACKET), 0, 7, 5, 0x82, 2, WORD(PACKET), 0};

static enum { NEW, THERE, ABSENT } state;
static uint8_t configured, line, leave, greeting, stuck;       /* line: DTR, RTS; greeting: someone came; stuck: who doesn't read */
static int16_t new_address;                                    /* from when its request is answered; else -1 */
static uint8_t coding[8];                                      /* bits a second (4), stop, parity, data bits */
static const uint8_t *reply;
static uint32_t reply_left, reply_toggle, awaits_coding;
static uint8_t text[PACKET], out[PACKET], early[256];
static uint32_t out_n, out_toggle, sending, in_toggle, in_n, in_at, early_n; /* early: what was said before anyone could hear it */

static void words(uint32_t to, const uint8_t *from, uint32_t n) {
  for (uint32_t i = 0; i < n; i += 4) {
    uint32_t word = 0;
    for (uint32_t k = 0; k < 4 && i + k < n; k++) word |= (uint32_t)from[i + k] << 8 * k;
    REG(to + i) = word;
  }
}

static uint32_t byte_at(uint32_t address) { return REG(address & ~3u) >> 8 * (address & 3) & 255; }

/* The controller has another clock: it has to see all bits before the one that makes the buffer its own (RP2040 datasheet, 4.1.2.5.1). */
static void give(uint32_t buffer, uint32_t bits) {
  REG(buffer) = bits;
  for (int i = 0; i < 12; i++) __asm__ volatile("nop");
  REG(buffer) = bits | AVAILABLE;
}

static void listen(void) { give(OUT_2, in_toggle | PACKET), in_toggle ^= DATA1, in_n = in_at = 0; }

/* ---- control requests ---- */

static void reply_next(void) {
  const uint32_t n = reply_left < PACKET ? reply_left : PACKET;
  words(DATA_0, reply, n);
  give(IN_0, FULL | reply_toggle | n);
  reply += n, reply_left -= n, reply_toggle ^= DATA1;
}

static void answer(const void *from, uint32_t n, uint32_t wanted) { /* with 0 bytes: done */
  reply = from, reply_left = n < wanted ? n : wanted, reply_toggle = DATA1;
  if (n) give(OUT_0, DATA1 | PACKET); /* the host's empty packet, which may come before it has read all */
  reply_next();
}

static void refuse(void) { REG(STALL_ARM) = 3, REG(OUT_0) = STALL, REG(IN_0) = STALL; }

static uint32_t text_of(const char *s) { /* as a string descriptor, shorter than a packet */
  uint32_t n = 2;
  for (; *s && n < PACKET - 2; n += 2) text[n] = (uint8_t)*s++, text[n + 1] = 0;
  text[0] = (uint8_t)n, text[1] = 3;
  return n;
}

static void describe(uint32_t what, uint32_t wanted) {
  static const uint8_t english[4] = {4, 3, WORD(0x409)};
  switch (what) {
    case 0x100: answer(device, sizeof device, wanted); break;
    case 0x200: answer(configuration, sizeof configuration, wanted); break;
    case 0x300: answer(english, sizeof english, wanted); break;
    case 0x301: answer(text, text_of("mobilenet-keras"), wanted); break;
    case 0x302: answer(text, text_of(app_board), wanted); break;
    default: refuse(); /* 0x600 among them, the qualifier: there is no high speed */
  }
}

static void close_data(void) { configured = line = 0, sending = out_n = in_n = in_at = 0, REG(OUT_2) = 0, REG(IN_2) = 0; }

static void configure(uint32_t which) {
  const uint32_t ENABLE = 1u << 31 | 1 << 29, INTERRUPT = 3 << 26, BULK = 2 << 26;
  close_data();
  configured = (uint8_t)which, in_toggle = out_toggle = 0;
  REG(DPRAM + 0x08) = which ? ENABLE | INTERRUPT | 0x180 : 0;
  REG(DPRAM + 0x10) = which ? ENABLE | BULK | (DATA_IN - DPRAM) : 0;
  REG(DPRAM + 0x14) = which ? ENABLE | BULK | (DATA_OUT - DPRAM) : 0;
  if (which) listen();
}

static void restart_toggle(uint32_t endpoint) { /* a packet that waits is the first one then */
  const uint32_t buffer = endpoint == 0x82 ? IN_2 : OUT_2, waits = REG(buffer) & AVAILABLE;
  if (waits) give(buffer, REG(buffer) & (FULL | LENGTH));
  if (endpoint == 0x82) out_toggle = waits ? DATA1 : 0;
  else in_toggle = waits ? DATA1 : 0;
}

static void set_line(uint32_t value) {
  if (value & ~line & DTR) greeting = 1;
  line = (uint8_t)value;
  leave = !(value & DTR) && coding[0] == (1200 & 255) && coding[1] == 1200 >> 8 && !coding[2] && !coding[3];
}

static void serve(void) {
  static const uint8_t zeros[2];
  const uint32_t first = REG(DPRAM), second = REG(DPRAM + 4), value = first >> 16, index = second & 0xffff, wanted = second >> 16;
  const uint32_t request = first & 0x20 ? first & 0xffe0 : first & 0xffff; /* a class's, whomever it is for */
  reply_left = awaits_coding = leave = 0, new_address = -1;
  REG(OUT_0) = 0, REG(IN_0) = 0;
  switch (request) {
    case 0x0680: describe(value, wanted); break;
    case 0x0500: answer(0, 0, 0), new_address = value & 127; break;
    case 0x0900: if (value > 1) refuse(); else configure(value), answer(0, 0, 0); break;
    case 0x0880: answer(&configured, 1, wanted); break;
    case 0x0080: case 0x0081: case 0x0082: answer(zeros, 2, wanted); break; /* GET_STATUS */
    case 0x0a81: answer(zeros, 1, wanted); break;                           /* GET_INTERFACE */
    case 0x0b01: if (value) refuse(); else answer(0, 0, 0); break;          /* SET_INTERFACE */
    case 0x0102: if (configured && (index & 127) == 2) restart_toggle(index); answer(0, 0, 0); break; /* CLEAR_FEATURE: of a halt */
    case 0x2020: if (wanted != 7) refuse(); else awaits_coding = 1, give(OUT_0, DATA1 | PACKET); break;
    case 0x21a0: answer(coding, 7, wanted); break;
    case 0x2220: set_line(value), answer(0, 0, 0); break;
    default: refuse();
  }
}

static void take_coding(void) {
  if ((REG(OUT_0) & LENGTH) == 7) for (uint32_t i = 0; i < 7; i++) coding[i] = (uint8_t)byte_at(DATA_0 + i);
  awaits_coding = 0;
  answer(0, 0, 0);
}

static void replied(void) {
  if (reply_left) { reply_next(); return; }
  if (new_address >= 0) REG(ADDRESS) = (uint32_t)new_address, new_address = -1;
  if (leave) board_boot();
}

void usb_poll(void) {
  if (state != THERE) return;
  const uint32_t status = REG(STATUS), done = REG(DONE);
  if (status & BUS_RESET) {
    REG(STATUS) = BUS_RESET, REG(ADDRESS) = 0;
    configure(0), reply_left = awaits_coding = leave = 0, new_address = -1;
  }
  if (done) REG(DONE) = done;
  if (done & 1) replied();
  if (done & 2 && awaits_coding) take_coding();
  if (done & 16) sending = stuck = 0;
  if (done & 32 && configured) {
    in_n = REG(OUT_2) & LENGTH, in_at = 0;
    if (!in_n) listen();
  }
  if (status & SETUP) REG(STATUS) = SETUP, serve(); /* last: what is done above came before it */
}

/* ---- the serial line ---- */

/* Right after a frame began: an RP2040 may hang if it offers a packet late in a frame (RP2040-E15). */
static void await_frame(void) {
  const uint32_t frame = REG(FRAME), since = board_ticks();
  while (REG(FRAME) == frame && board_ticks() - since < 2000) {
  }
}

/* Sends what is in `out`, or drops it if nobody listens: who once has not read for PATIENCE isn't waited for again until it reads. */
static void flush(void) {
  if (sending) {
    const uint32_t since = board_ticks();
    while (sending && !stuck) {
      usb_poll();
      stuck = sending && board_ticks() - since > PATIENCE;
    }
  }
  if (!sending && configured && line & DTR) {
    words(DATA_IN, out, out_n);
    await_frame();
    sending = 1;
    give(IN_2, FULL | out_toggle | out_n), out_toggle ^= DATA1;
  }
  out_n = 0;
}

static void queue(uint8_t byte) {
  out[out_n++] = byte;
  if (out_n == PACKET) flush();
}

void usb_put(uint8_t byte) {
  if (state == NEW && early_n < sizeof early) early[early_n++] = byte;
  usb_poll();
  if (configured && line & DTR) queue(byte);
}

static int may_wait(uint32_t address, uint32_t bits) { /* for ever there would be no UART either */
  for (uint32_t i = 0; i < 20000; i++)
    if ((REG(address) & bits) == bits) return 1;
  return 0;
}

static int unreset(uint32_t blocks) {
  REG(RESETS + 0x2000) = blocks, REG(RESETS + 0x3000) = blocks;
  return may_wait(RESETS + 8, blocks);
}

static void start(void) {
  state = ABSENT;
  if (!unreset(RESET_PLL_USB)) return;
  REG(PLL_USB) = 1, REG(PLL_USB + 8) = 100; /* 12 MHz * 100 = 1200 MHz, / 5 / 5 = 48 MHz */
  REG(PLL_USB + 0x3004) = 0x21;             /* power for PLL and VCO */
  if (!may_wait(PLL_USB, 1u << 31)) return;
  REG(PLL_USB + 0xc) = 5 << 16 | 5 << 12, REG(PLL_USB + 0x3004) = 8;
  REG(CLK_USB) = 1 << 11;
  if (!unreset(RESET_USB)) return;
  for (uint32_t at = 0; at < 0x100; at += 4) REG(DPRAM + at) = 0;
  REG(MUXING) = 9, REG(POWER) = 0xc, REG(MAIN) = 1;
  coding[1] = 0xc2, coding[2] = 1, coding[6] = 8, new_address = -1; /* 115200 8N1 */
  REG(SIE) = 1 << 29 | 1 << 16; /* an event for each buffer of endpoint 0; here we are */
  state = THERE;
}

int usb_get(void) {
  if (state == NEW) start();
  usb_poll();
  if (greeting) {
    greeting = 0;
    for (uint32_t i = 0; i < early_n; i++) queue(early[i]);
  }
  if (out_n && !sending) flush();
  if (in_at == in_n) return -1;
  const int byte = (int)byte_at(DATA_OUT + in_at);
  if (++in_at == in_n) listen();
  return byte;
}

/* ---- back to the boot loader ---- */

/* By a function of the ROM: RP2040 datasheet, 2.8.3; RP2350 datasheet, 5.4.1 and 5.4.8.24. */
void board_boot(void) {
  uintptr_t rom = 0x10;
  __asm__ volatile("" : "+r"(rom)); /* a compiler that knew how small this is would take it for a null pointer */
  const volatile uint16_t *const table = (const volatile uint16_t *)rom;
#ifdef TICKS /* RP2350 */
  typedef int (*reboot)(uint32_t, uint32_t, uint32_t, uint32_t);
  typedef reboot (*lookup)(uint32_t, uint32_t);
  ((lookup)(uintptr_t)table[3])('R' | 'B' << 8, 4)(0x102, 10, 0, 0); /* a secure Arm function; to BOOTSEL in 10 ms, not to return */
#else
  typedef void (*reset_usb_boot)(uint32_t, uint32_t);
  typedef reset_usb_boot (*lookup)(uintptr_t, uint32_t);
  ((lookup)(uintptr_t)table[4])(table[2], 'U' | 'B' << 8)(0, 0); /* no lamp, and both of its interfaces */
#endif
}

#ifdef __clang__
#pragma clang attribute pop
#endif
