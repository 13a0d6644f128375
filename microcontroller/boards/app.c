/* The console app: says what it is, says what is in the photo that was built in, compares, and serves the console if there is one. */
#include "../engine/mbn.h"
#include "board.h"
#include "start.h"
#ifdef APP_FINDS
#include "../engine/mbn_peaks.h"
#endif

__attribute__((weak)) void console_run(mbn *m); /* console.c, if it is linked: answers for ever */

static void text(const char *s) { while (*s) board_put((uint8_t)*s++); }

static void number(uint32_t value) {
  char digits[11] = {0};
  int i = 10;
  do digits[--i] = (char)('0' + value % 10); while (value /= 10);
  text(digits + i);
}

static void score(int8_t value) {
  if (value < 0) board_put('-');
  number((uint32_t)(value < 0 ? -value : value));
}

static void fact(const char *name, uint32_t value) { text(name), board_put(' '), number(value), board_put('\n'); }
static void line(const char *name, const char *value) { text(name), board_put(' '), text(value), board_put('\n'); }

#if MBN_CORES > 1
static void serve(void) { mbn_second_core(app_second_scratch, app_second_scratch_bytes); }

static void say_cores(void) {
  fact("second_core_jobs", mbn_second_core_jobs()), fact("second_stack_bytes", second_stack_used());
  if (stack_used() == (uint32_t)(stack_top - stack_limit) * 4) line("warning", "the stack is full, and may have overwritten the second core's");
}
#endif

#ifdef APP_FINDS
enum { SHOWN = 10 };

static void label(uint32_t i) {
  const char *s = mbn_label(app_model, i);
  if (!s) number(i);
  for (; s && *s; s++) board_put((uint8_t)*s < 32 || *s == 127 ? '?' : (uint8_t)*s); /* a terminal takes control characters for orders */
}

/* The middle of a cell in thousandths of the photo's width or height. */
static void middle(const char *name, uint32_t cell, uint32_t cells) { text(name), number(((2 * cell + 1) * 1000 + cells) / (2 * cells)); }

/* How many things there are, and the surest of them; probabilities are 256ths, from -128 on. Not inlined: the engine would run above its frame. */
__attribute__((noinline)) static void say_found(const int8_t *out) {
  const mbn_output *o = mbn_outputs(app_model);
  const mbn_heat_map map = {out, o->h, o->w, o->c, app_threshold};
  mbn_peak peaks[SHOWN];
  mbn_peak_list list = {peaks, SHOWN, 0, 0};
  if (mbn_find_peaks(&map, &list) || !list.candidates) { line("found", "nothing"); return; }
  fact("found", list.candidates);
  for (uint32_t i = 0; i < list.found; i++) {
    number(i + 1), text(": "), label(peaks[i].label), board_put(' '), number(((uint32_t)(peaks[i].score + 128) * 100 + 128) >> 8);
    middle(" % at x ", peaks[i].x, o->w), middle(", y ", peaks[i].y, o->h), text(" of 1000\n");
  }
}
#endif

static int classify(mbn *m) {
  const int8_t *out = 0;
  const uint32_t start = board_ticks();
  const mbn_status status = mbn_run(m, app_photo, &out);
  const uint32_t ticks = board_ticks() - start;
  int same = !status;
  fact("ticks", ticks), fact("tick_hz", board_tick_hz()), fact("stack_bytes", stack_used());
#if MBN_CORES > 1
  say_cores();
#endif
  line("status", mbn_status_text(status));
  if (status) return 1;
  text("output");
  for (uint32_t i = 0; i < app_expected_bytes; i++) board_put(' '), score(out[i]), same &= out[i] == app_expected[i];
  line("\nphoto", same ? "as expected" : "different");
#ifdef APP_FINDS
  say_found(out);
#endif
  return !same;
}

int main(void) {
  mbn *m = 0;
  board_init();
  line("\nmobilenet-keras", app_version), line("board", app_board), line("model", app_model_name);
  fact("engine", MBN_VERSION), fact("crc", ((const mbn_header *)(const void *)app_model)->crc), fact("arena_bytes", app_arena_bytes);
#if MBN_CORES > 1
  fact("cores", board_start_second(serve, second_top) ? 2 : 1);
#endif
  mbn_status status = mbn_verify(app_model, app_model_bytes);
  if (!status) status = mbn_open(&m, app_model, app_model_bytes, app_arena, app_arena_bytes, 0);
  if (status) line("status", mbn_status_text(status));
  const int wrong = status ? 1 : classify(m);
  text("ready\n");
  if (console_run && !status) console_run(m);
  return wrong;
}
