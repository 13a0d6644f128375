/* The whole engine on an emulated core: it opens one compiled model after the other and compares what it makes with what was expected.
 *
 * The file `cases`, read through the semihosting host, holds for each model: uint32 bytes of the .mbn, status of mbn_open, inputs,
 * bytes of an input, bytes of an output; then the .mbn, the inputs, the outputs, each filled up to 4 bytes. Says how many models were as
 * expected, and the first that was not. The arena lies between guard bytes, and is exactly as large as the file says; one that wants
 * more than there is counts as refused. */
#include <stddef.h>
#include "../../microcontroller/engine/mbn.h"

int32_t semihosting(uint32_t op, const void *argument);
void put(const char *text);
void *memset(void *to, int value, size_t n);

#define MOST (1 << 18)  /* bytes of an arena, or of all inputs of a model */
#define MOST_FILE (1 << 20)
#define GUARD 64

static uint32_t file[MOST_FILE / 4], inputs[MOST / 4], outputs[MOST / 4], room[(MOST + 2 * GUARD) / 4];
static int32_t handle;

static void put_number(uint32_t value) {
  char digits[12] = {0};
  int at = 11;
  do digits[--at] = (char)('0' + value % 10); while (value /= 10);
  put(digits + at), put(" ");
}

static uint32_t filled(uint32_t n) { return (n + 3) & ~3u; }

/* All `n` bytes, or 0. */
static int got(void *to, uint32_t n, uint32_t most) {
  const uint32_t block[3] = {(uint32_t)handle, (uint32_t)(uintptr_t)to, filled(n)};
  return filled(n) <= most && semihosting(6, block) == 0; /* SYS_READ: how many bytes are missing */
}

static int guarded(uint32_t arena_bytes) {
  const uint8_t *bytes = (const uint8_t *)room;
  for (uint32_t i = 0; i < GUARD; i++) if (bytes[i] != 0xa5 || bytes[GUARD + arena_bytes + i] != 0xa5) return 0;
  return 1;
}

typedef struct { uint32_t bytes, status, images, in, out; } facts;

/* 1: as expected. */
static int as_expected(const facts *f) {
  mbn *m;
  const uint32_t wanted = f->bytes >= sizeof(mbn_header) ? mbn_arena_bytes(file) : 0, arena = wanted < MOST ? wanted & ~3u : MOST;
  memset(room, 0xa5, GUARD + arena + GUARD);
  const mbn_status opened = mbn_open(&m, file, f->bytes, room + GUARD / 4, arena, 0);
  if (opened != f->status) return put("status "), put_number(opened), 0;
  for (uint32_t i = 0; !opened && i < f->images; i++) {
    const int8_t *found = 0, *image = (const int8_t *)inputs + i * f->in, *expected = (const int8_t *)outputs + i * f->out;
    const mbn_status status = mbn_run(m, image, &found);
    if (status) return put("mbn_run "), put_number(status), 0;
    for (uint32_t k = 0; k < f->out; k++)
      if (found[k] != expected[k]) return put("input, output "), put_number(i), put_number(k), put_number((uint8_t)found[k]), put_number((uint8_t)expected[k]), 0;
  }
  return guarded(arena) ? 1 : (put("a write beyond the arena "), 0);
}

int run(void) {
  static const char name[] = CASES_FILE;
  const uint32_t open[3] = {(uint32_t)(uintptr_t)name, 1, sizeof name - 1}; /* rb */
  handle = semihosting(1, open);
  uint32_t good = 0, bad = 0;
  facts f;
  if (handle < 0) return put("no file "), 1;
  while (got(&f, sizeof f, sizeof f)) {
    if (!got(file, f.bytes, sizeof file) || !got(inputs, f.images * f.in, sizeof inputs) || !got(outputs, f.images * f.out, sizeof outputs)) return put("a cut file "), 1;
    if (as_expected(&f)) good++;
    else bad++, put("model "), put_number(good + bad - 1), put("\n");
  }
  put_number(good), put("good "), put_number(bad), put("bad\n");
  return bad != 0;
}
