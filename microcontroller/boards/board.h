/* What the app asks of a board, and the data that `mobilenet build` generates for it. */
#ifndef BOARD_H
#define BOARD_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

void board_init(void);               /* clocks, console */
void board_supply(void);             /* before the first write to RAM, without a stack; of boards with -DBOARD_SUPPLY */
void board_put(uint8_t byte);        /* blocking */
int board_get(void);                 /* next byte from the console, or -1 */
uint32_t board_ticks(void);          /* a counter: instructions, cycles or microseconds, as board.txt says */
uint32_t board_tick_hz(void);        /* 0: ticks are instructions */
int board_start_second(void (*run)(void), uint32_t *stack_top); /* run on the second core; 0: it doesn't answer. Boards with two have it */
void board_poll(void);               /* answers what can't wait, as a USB host's questions; boards that have such have it */
uint32_t board_chip(void);            /* the chip's kind and revision, as its maker numbers them; boards that can tell have it */
void board_boot(void);               /* to the boot loader, if the chip has one that waits for an image */
void board_exit(int status);         /* emulated boards: end; real ones: wait for ever */

extern const uint8_t app_model[];    /* the .mbn file, at a multiple of 4 */
extern const uint32_t app_model_bytes;
extern uint32_t app_arena[];
extern const uint32_t app_arena_bytes;
extern const int8_t app_photo[];     /* the built-in photo: (in_h, in_w, in_c) */
extern const int8_t app_expected[];  /* what the model makes of it */
extern const uint32_t app_expected_bytes;
extern uint32_t app_message[];       /* the console's buffer: 8 bytes, and a row of the input */
extern const uint32_t app_message_bytes;
extern const int16_t app_threshold;  /* with -DAPP_FINDS: the least score of a cell in which something is */
extern uint32_t app_second_scratch[]; /* with -DMBN_CORES=2 */
extern const uint32_t app_second_scratch_bytes;
extern const char app_board[], app_model_name[], app_version[];

#ifdef __cplusplus
}
#endif
#endif
