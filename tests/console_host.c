/* The console app as a program of this computer: bytes from standard input, answers to standard output. It
 * ends with status 0 when asked to leave, 3 when its input ends. A look at its clock is 0x40000007 ticks, so that 32 bits wrap often. */
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include "../microcontroller/boards/board.h"
#include "../microcontroller/boards/console.h"

static uint8_t in[4096], out[4096];
static ssize_t at, have;
static size_t waiting;
static uint32_t clock_;

static void flush(void) {
  for (size_t done = 0; done < waiting;) {
    const ssize_t n = write(1, out + done, waiting - done);
    if (n <= 0) _Exit(4);
    done += (size_t)n;
  }
  waiting = 0;
}

void board_init(void) {}

void board_put(uint8_t byte) {
  out[waiting++] = byte;
  if (waiting == sizeof out || byte == 0xC0) flush();
}

int board_get(void) {
  if (at < have) return in[at++];
  flush();
  struct pollfd p = {0, POLLIN, 0};
  if (poll(&p, 1, 20) <= 0) return -1;
  have = read(0, in, sizeof in);
  if (have <= 0) exit(3); /* not _Exit: sanitizers report at exit */
  at = 1;
  return in[0];
}

uint32_t board_ticks(void) { return clock_ += 0x40000007u; } /* wraps all the time */
uint32_t board_tick_hz(void) { return getenv("CONSOLE_HZ") ? (uint32_t)atoi(getenv("CONSOLE_HZ")) : 0; }

void board_exit(int status) {
  flush();
  exit(status);
}

int main(void) {
  mbn *m = 0;
  board_init();
  for (const char *text = "ready\n"; *text; text++) board_put((uint8_t)*text);
  if (mbn_verify(app_model, app_model_bytes) || mbn_open(&m, app_model, app_model_bytes, app_arena, app_arena_bytes, 0)) return 5;
  console_run(m);
}
