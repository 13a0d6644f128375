/* STM32H743 on a Nucleo: 400 MHz at VOS1, from its own 64 MHz oscillator, caches on, USART 3 on PD8 and PD9, which the ST-LINK passes to
 * USB, timer 2 at 200 MHz. Not 480 MHz: those need VOS0, which the first revision (Y) does not have. Sections: RM0433. Untested on hardware. */
#include "board.h"
#include "start.h"

enum { RCC = 0x58024400, PWR = 0x58024800, FLASH = 0x52002000, DBGMCU = 0x5c001000, AXI_TARG7_FN_MOD = 0x51008108,
       GPIOD = 0x58020c00, USART3 = 0x40004800, TIMER2 = 0x40000000, SCB = 0xe000e000 };

static void await(uint32_t address, uint32_t bits, uint32_t value) {
  while ((REG(address) & bits) != value) {
  }
}

/* The supply, once after power-on (6.8.4): the chip's own regulator. Until then neither RAM may be written nor the voltage changed
 * (6.4.1, Run*), so it comes before the stack is used, of which this needs none. Then, before the first load from it: revision Y may read wrong
 * data from the AXI SRAM, where variables and activations lie, unless its port takes one read at a time (errata ES0392). */
void board_supply(void) {
  REG(PWR + 0xc) = (REG(PWR + 0xc) & ~7u) | 2;      /* LDOEN, not BYPASS; a second write, after a reset without power-off, has no effect */
  while (!(REG(PWR + 4) & 1 << 13)) {               /* ACTVOSRDY; not `await`, which a compiler may call, with a stack */
  }
  if (REG(DBGMCU) >> 16 < 0x2000) REG(AXI_TARG7_FN_MOD) = 1; /* REV_ID 0x1003: Y (60.5.8), READ_ISS_OVERRIDE (2.2.4) */
}

static void set_clocks(void) {
  REG(PWR + 0x18) |= 3 << 14;                       /* VOS1, for 400 MHz (6.6.2, 6.8.6) */
  await(PWR + 0x18, 1 << 13, 1 << 13);              /* VOSRDY: the voltage is there before the clock is */
  REG(FLASH) = 2 << 4 | 2;                          /* 2 wait states, WRHIGHFREQ 2: AXI at 200 MHz (4.3.8, table 17) */
  await(FLASH, 0x3f, 2 << 4 | 2);                   /* and read back, as 4.3.8 asks */
  REG(RCC + 0x28) = 4 << 4;                         /* PLL 1 from HSI, 64 MHz / 4 = 16 (8.7.11); PLLs 2 and 3 get nothing */
  REG(RCC + 0x2c) = 1 << 16 | 3 << 2;               /* its input range 8 to 16 MHz, the wide VCO, output P only (8.7.12) */
  REG(RCC + 0x30) = 1 << 16 | 1 << 9 | 49;          /* * 50 / 2 = 400 MHz (8.7.13) */
  REG(RCC) |= 1 << 24;                              /* PLL1ON; */
  await(RCC, 1 << 25, 1 << 25);                     /* PLL1RDY */
  REG(RCC + 0x18) = 4 << 4 | 8;                     /* the buses first, so that none is too fast: AXI and AHB 200 MHz, APB3 100 (8.7.8), */
  REG(RCC + 0x1c) = 4 << 8 | 4 << 4;                /* APB1 and APB2 100 (8.7.9), */
  REG(RCC + 0x20) = 4 << 4;                         /* APB4 100 (8.7.10) */
  REG(RCC + 0x10) = 3;                              /* the processor from PLL 1 (8.5.6, 8.7.7) */
  await(RCC + 0x10, 7 << 3, 3 << 3);
}

/* The processor may read ahead wherever memory is said to lie, and a controller of external memory that nobody set up would never answer:
 * 60000000 to dfffffff, four of the eight eighths of everything, are shut (PM0253, 4.6; ST's examples do so, too). */
static void shut_external_memory(void) {
  REG(SCB + 0xd98) = 0;                             /* MPU_RNR, */
  REG(SCB + 0xd9c) = 0;                             /* RBAR: region 0, */
  REG(SCB + 0xda0) = 1 << 28 | 1 << 18 | 0x87 << 8 | 31 << 1 | 1; /* RASR: XN, no access, S, eighths 3 to 6 of 4 GB, enabled; */
  REG(SCB + 0xd94) = 5;                             /* CTRL: on, and all else as without it */
  __asm__ volatile("dsb\n\tisb" ::: "memory");
}

/* Both are invalidated before they go on (PM0253, 4.8.3). Nothing but the processor uses the memory, so that they always tell the truth.
 * 16 KB of data: 4 ways of 128 lines of 32 bytes. */
static void set_caches(void) {
  REG(SCB + 0xf50) = 0;                             /* ICIALLU */
  REG(SCB + 0xd84) = 0;                             /* CSSELR: the first level's data cache */
  __asm__ volatile("dsb" ::: "memory");
  for (uint32_t way = 0; way < 4; way++)
    for (uint32_t line = 0; line < 128; line++) REG(SCB + 0xf60) = way << 30 | line << 5; /* DCISW */
  __asm__ volatile("dsb\n\tisb" ::: "memory");
  REG(SCB + 0xd14) |= 1 << 17 | 1 << 16;            /* CCR: IC, DC */
  __asm__ volatile("dsb\n\tisb" ::: "memory");
}

void board_init(void) {
  set_clocks();
  shut_external_memory();
  set_caches();
  REG(RCC + 0xe0) |= 1 << 3;                        /* clock for port D (8.7.43); */
  REG(RCC + 0xe8) |= 1 << 18 | 1;                   /* USART 3, timer 2 (8.7.45), */
  (void)REG(RCC + 0xe8);                            /* which are there two cycles later: a read takes as long (8.5.11) */
  REG(GPIOD) = (REG(GPIOD) & ~0xf0000u) | 0xa0000;  /* PD8, PD9: alternate function */
  REG(GPIOD + 0x24) = (REG(GPIOD + 0x24) & ~0xffu) | 0x77; /* 7 */
  REG(USART3 + 0xc) = 868;                          /* BRR: 100 MHz / 115200 (48.5.7) */
  REG(USART3 + 8) = 1 << 12;                        /* OVRDIS: a byte that comes too early is lost, and reception goes on; to be set before UE */
  REG(USART3) = 0xd;                                /* UE, RE, TE */
  REG(TIMER2) = 1;                                  /* CEN; twice APB1: 200 MHz (8.7.7, TIMPRE) */
}

void board_put(uint8_t byte) {
  await(USART3 + 0x1c, 1 << 7, 1 << 7);             /* TXE */
  REG(USART3 + 0x28) = byte;
}

int board_get(void) { return REG(USART3 + 0x1c) & 1 << 5 ? (int)(REG(USART3 + 0x24) & 0xff) : -1; }

uint32_t board_chip(void) { return REG(0x5c001000); } /* DBGMCU_IDC: RM0433, 60.5.8 */

uint32_t board_ticks(void) { return REG(TIMER2 + 0x24); }

uint32_t board_tick_hz(void) { return 200000000; }

void board_exit(int status) {
  for (;;) __asm__ volatile("wfi" ::"r"(status));
}
