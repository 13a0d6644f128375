/* Hostile compiled models: a libFuzzer target, which also replays files where there is no libFuzzer.
 *
 *   clang -fsanitize=fuzzer,address,undefined ...           benchmarks/engine_fuzz.py
 *   gcc -DREPLAY -fsanitize=address,undefined ...; a.out FILE ...   prints a line "status ran FILE" for each
 *
 * An input is a `.mbn` and 4 bytes that say how it is abused: see `script`. Everything the engine gets lies in a block of
 * its own, exactly as long as it says. Beyond wild accesses, undefined behaviour and hangs, which the sanitizers see, a
 * wrong status and outputs that depend on what lay in the arena before are failures, too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sanitizer/asan_interface.h>
#include "../microcontroller/engine/mbn.h"

#define MAX_WORK 1500000  /* of an inference, so that thousands run in a second */
#define MAX_ARENA (1 << 20)
#define MUST(what) do { if (!(what)) { fprintf(stderr, "line %d: not true: %s\n", __LINE__, #what); abort(); } } while (0)

typedef struct {
  uint8_t rows;   /* how many are pushed before mbn_begin is called again; from 128 on: none */
  uint8_t stop;   /* the yield function stops at its stop-th call; 0: never */
  uint8_t seed;   /* of the image */
  uint8_t extra;  /* odd: one row too many; bit 1: finish too early */
} script;

static uint32_t random_of(uint32_t *state) { return *state = *state * 1664525u + 1013904223u, *state >> 8; }

/* A block between two that may not be touched, each larger than any table of the engine: what goes astray must not land in another block. */
#define GUARD 4096

static void *filled(size_t n, int with) {
  uint8_t *block = malloc(GUARD + n + GUARD);
  MUST(block);
  memset(block + GUARD, with, n);
  ASAN_POISON_MEMORY_REGION(block, GUARD);
  ASAN_POISON_MEMORY_REGION(block + GUARD + n, GUARD);
  return block + GUARD;
}

static void release(void *filled, size_t n) {
  if (!filled) return;
  ASAN_UNPOISON_MEMORY_REGION((uint8_t *)filled - GUARD, GUARD);
  ASAN_UNPOISON_MEMORY_REGION((uint8_t *)filled + n, GUARD);
  free((uint8_t *)filled - GUARD);
}

/* ---- one input ---- */

static mbn *running;
static int yields_left;

static int yields(void *user) { /* a model can't be entered from its own yield function */
  const int8_t *out;
  MUST(user == &yields_left);
  MUST(mbn_push_row(running, 0) == MBN_BUSY && mbn_begin(running) == MBN_BUSY && mbn_finish(running, &out) == MBN_BUSY);
  return yields_left && --yields_left == 0;
}

static int expected(mbn_status s) { return s == MBN_OK || s == MBN_BROKEN || s == MBN_STOPPED; }

/* Rows, too few or too many, an inference broken off. The model can be begun again whatever happened. */
static void abuse(mbn *m, const mbn_header *h, const script *how, const int8_t *image, size_t row) {
  const int8_t *out;
  MUST(mbn_push_row(m, image) == MBN_TOO_MANY_ROWS && mbn_finish(m, &out) == MBN_TOO_FEW_ROWS);
  running = m, yields_left = how->stop;
  mbn_on_yield(m, yields, &yields_left);
  for (int again = how->rows < 128; again >= 0; again--) {
    const int rows = again ? how->rows % h->in_h : h->in_h;
    MUST(mbn_begin(m) == MBN_OK);
    for (int y = 0; y < rows; y++) MUST(expected(mbn_push_row(m, image + y * row)));
    if (again && how->extra & 2) MUST(mbn_finish(m, &out) == MBN_TOO_FEW_ROWS);
  }
  if (how->extra & 1) MUST(mbn_push_row(m, image) == MBN_TOO_MANY_ROWS);
  MUST(expected(mbn_finish(m, &out)));
  mbn_on_yield(m, 0, 0);
}

/* All outputs, one behind the other, of an inference in an arena that held anything; only what no KEEP wrote is the same in all. */
static int8_t *outputs_of(mbn *m, const mbn_header *h, const int8_t *image, mbn_status *status, size_t *n) {
  const int8_t *out;
  const mbn_output *o = mbn_outputs(h);
  const uint32_t free_to = mbn_input(m) ? (uint32_t)(mbn_input(m) - (int8_t *)m) : h->arena_bytes; /* a held image may be there already */
  memset((uint8_t *)m + MBN_CONTEXT_BYTES, 0, h->version >> 8 ? free_to - MBN_CONTEXT_BYTES : h->kept_bytes); /* a file may read what no KEEP wrote */
  *status = mbn_run(m, image, &out);
  MUST(*status == MBN_OK || *status == MBN_BROKEN);
  if (*status) return 0;
  *n = 0;
  for (uint32_t k = 0; k < h->outputs; k++) *n += o[k].bytes;
  int8_t *all = filled(*n, 0), *at = all;
  for (uint32_t k = 0; k < h->outputs; at += o[k++].bytes) memcpy(at, mbn_get_output(m, k), o[k].bytes);
  MUST(out == mbn_get_output(m, 0) && !mbn_get_output(m, h->outputs));
  return all;
}

static mbn_status infer(const uint8_t *file, uint32_t n, const script *how) {
  const mbn_header *h = (const void *)file;
  const size_t row = (size_t)h->in_w * h->in_c, size = row * h->in_h, arena_bytes = h->arena_bytes;
  uint8_t *arena = filled(arena_bytes, 0xA5), *fresh = filled(arena_bytes, 0x3C), *photo = filled(row, how->seed);
  int8_t *image = filled(size, 0);
  uint32_t seed = how->seed;
  mbn *m, *other;
  for (size_t i = 0; i < size; i++) image[i] = (int8_t)random_of(&seed);
  MUST(mbn_open(&m, file, n, arena, (uint32_t)arena_bytes - 1, MAX_WORK) == MBN_ARENA_TOO_SMALL);
  MUST(mbn_open(&m, file, n, arena + 2, (uint32_t)arena_bytes, MAX_WORK) == MBN_MISALIGNED);
  MUST(mbn_open(&m, file, n, arena, (uint32_t)arena_bytes, MAX_WORK) == MBN_OK && m == (void *)arena && mbn_arena_bytes(file) == arena_bytes);
  MUST(mbn_open(&other, file, n, fresh, (uint32_t)arena_bytes, 0) == MBN_OK);
  for (uint32_t i = 0; i < h->labels; i++) MUST(mbn_label(file, i) && strlen(mbn_label(file, i)) < h->label_bytes);
  MUST(!mbn_label(file, h->labels));
  int8_t *prepared = filled(row, 0);
  MUST(mbn_quantize_row(file, photo, prepared) == (h->pixels ? MBN_OK : MBN_NO_PIXELS));
  abuse(m, h, how, image, row);
  mbn_status status[2];
  size_t bytes[2];
  int8_t *a = outputs_of(m, h, image, status, bytes);
  if (mbn_input(other)) memcpy(mbn_input(other), image, size);
  int8_t *b = outputs_of(other, h, mbn_input(other) ? mbn_input(other) : image, status + 1, bytes + 1);
  MUST(status[0] == status[1] && (status[0] || !memcmp(a, b, bytes[0])));
  release(a, bytes[0]), release(b, bytes[1]), release(prepared, row), release(image, size), release(photo, row), release(fresh, arena_bytes), release(arena, arena_bytes);
  return status[0];
}

/* What mbn_check says, and whether an inference ran to its end. */
static mbn_status try_all(const uint8_t *data, size_t size, int *ran) {
  script how = {255, 0, 0, 0};
  const size_t n = size < sizeof how ? 0 : size - sizeof how;
  if (size >= sizeof how) memcpy(&how, data + n, sizeof how);
  uint8_t *file = filled(n, 0);
  memcpy(file, data, n);
  const mbn_status verified = mbn_verify(file, (uint32_t)n), status = mbn_check(file, (uint32_t)n, MAX_WORK);
  MUST(strlen(mbn_status_text(verified)) > 4 && strlen(mbn_status_text(status)) > 4 && strlen(mbn_status_text(MBN_STATUS_COUNT)) > 4);
  *ran = 0;
  if (!status && ((mbn_header *)(void *)file)->arena_bytes <= MAX_ARENA) *ran = infer(file, (uint32_t)n, &how) == MBN_OK;
  release(file, n);
  return status ? status : verified;
}

#ifdef REPLAY
int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    static uint8_t data[1 << 20];
    int ran;
    FILE *f = fopen(argv[i], "rb");
    if (!f) return 2;
    const size_t n = fread(data, 1, sizeof data, f);
    fclose(f);
    const mbn_status status = try_all(data, n, &ran);
    printf("%d %d %s\n", status, ran, argv[i]);
    fflush(stdout);
  }
  return 0;
}
#else

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  int ran;
  try_all(data, size, &ran);
  return 0;
}

/* ---- mutations that know what a file is made of ---- */

static uint32_t random_state;
static uint32_t below(uint32_t n) { return n ? random_of(&random_state) % n : 0; }
static int mostly(void) { return below(16) != 0; }

typedef struct { size_t at, size, count; const char *widths; } table; /* widths: bytes of each field of a record */

/* Header, outputs, stages, steps; fewer records where the file ends before. */
static void tables_of(const uint8_t *file, size_t n, table t[4]) {
  const mbn_header *h = (const void *)file;
  const table found[4] = {{0, sizeof *h, 1, "422444222222222244444444"}, {0, sizeof(mbn_output), h->outputs, "44222244"},
                          {0, sizeof(mbn_stage), h->stages, "2222444"}, {0, sizeof(mbn_step), h->steps, "111111112222221111112444444"}};
  size_t at = 0;
  for (int i = 0; i < 4; i++) {
    t[i] = found[i], t[i].at = at;
    if (at + t[i].size * t[i].count > n) t[i].count = at < n ? (n - at) / t[i].size : 0;
    at += t[i].size * t[i].count;
  }
}

static void edit_field(uint8_t *file, size_t n, const table *t) {
  static const uint32_t odd[] = {0, 1, 2, 3, 4, 7, 8, 48, 127, 128, 255, 256, 32767, 32768, 65535, 0x7fffffff, 0x80000000u, 0xfffffff0u, 0xffffffffu};
  const uint32_t k = below((uint32_t)strlen(t->widths));
  uint8_t *record = file + t->at + below((uint32_t)t->count) * t->size;
  size_t offset = 0, width = (size_t)(t->widths[k] - '0');
  for (uint32_t i = 0; i < k; i++) offset += (size_t)(t->widths[i] - '0');
  uint32_t value = 0, words = 0;
  memcpy(&value, record + offset, width);
  memcpy(&words, file + below((uint32_t)n / 8) * 4, 4);
  switch (below(7)) {
    case 0: value = odd[below(sizeof odd / sizeof *odd)]; break;
    case 1: value ^= 1u << below((uint32_t)width * 8); break;
    case 2: value = below(32); break;
    case 3: memcpy(&value, file + t->at + below((uint32_t)t->count) * t->size + offset, width); break; /* as another record has it */
    case 4: value = words; break;
    default: value += below(2) ? 1 + below(4) : 0u - 1 - below(4);
  }
  memcpy(record + offset, &value, width);
}

/* Everything behind `at` moves by `delta` bytes, and so do the offsets that point there. */
static void relocate(uint8_t *file, size_t n, uint32_t at, int32_t delta) {
  table t[4];
  mbn_header *h = (void *)file;
  uint32_t *places[] = {&h->pixels, &h->label_text, &h->metadata};
  tables_of(file, n, t);
  for (int i = 0; i < 3; i++) if (*places[i] >= at) *places[i] += (uint32_t)delta;
  for (size_t i = 0; i < t[3].count; i++) {
    mbn_step *s = (mbn_step *)(void *)(file + t[3].at) + i;
    if (s->weights >= at) s->weights += (uint32_t)delta;
    if (s->constants >= at) s->constants += (uint32_t)delta;
  }
}

/* A step, stage or output more, a copy of one that is there, or one less. */
static size_t edit_count(uint8_t *file, size_t n, size_t most) {
  table t[4];
  mbn_header *h = (void *)file;
  tables_of(file, n, t);
  const uint32_t which = 1 + below(3), more = below(2);
  const table *which_t = t + which;
  const size_t k = below((uint32_t)which_t->count), at = which_t->at + k * which_t->size, behind = n - at;
  if (!which_t->count || (more ? n + which_t->size > most : n < at + which_t->size)) return n;
  const int change = more ? 1 : -1;
  relocate(file, n, (uint32_t)(t[3].at + t[3].size * t[3].count), change * (int32_t)which_t->size);
  if (more) memmove(file + at + which_t->size, file + at, behind);
  else memmove(file + at, file + at + which_t->size, behind - which_t->size);
  if (which == 1) h->outputs = (uint16_t)(h->outputs + change);
  if (which == 2) h->stages = (uint16_t)(h->stages + change);
  if (which == 3) {
    h->steps = (uint16_t)(h->steps + change);
    for (size_t i = 0; i < t[2].count; i++) {
      mbn_stage *st = (mbn_stage *)(void *)(file + t[2].at) + i;
      if (st->first <= k && k < (size_t)st->first + st->count) { st->count = (uint16_t)(st->count + change); break; }
    }
  }
  return n + (size_t)change * which_t->size;
}

static uint32_t crc_of(const uint8_t *file, size_t n) {
  static uint32_t entries[256];
  uint32_t crc = 0xffffffffu;
  for (uint32_t i = 0; !entries[255] && i < 256; i++) {
    entries[i] = i;
    for (int b = 0; b < 8; b++) entries[i] = entries[i] & 1 ? entries[i] >> 1 ^ 0xedb88320u : entries[i] >> 1;
  }
  for (size_t i = 0; i < n; i++) crc = crc >> 8 ^ entries[(crc ^ file[i]) & 255];
  return crc ^ 0xffffffffu;
}

static uint32_t repaired_extent(uint32_t out, uint32_t in, uint32_t stride, uint32_t pad) {
  const uint32_t most = stride ? (in + pad + stride - 1) / stride : 1;
  return out && out <= most && mostly() ? out : most;
}

/* Shapes that fit what comes before, as far as a step can have them. */
static void repair_step(mbn_step *s, const uint16_t shape[3], uint32_t *states, const mbn_step *first) {
  if (s->op == MBN_AGAIN && s == first && s->in_h && s->in_w && s->in_c) { /* any map */
    s->out_h = s->in_h, s->out_w = s->in_w, s->out_c = s->in_c, s->flags = 0, s->capacity = (uint32_t)s->in_h * s->in_w;
    return;
  }
  s->in_h = shape[0], s->in_w = shape[1], s->in_c = shape[2];
  const int takes = mbn_takes_aside(s), sum = s->op == MBN_MEAN || s->op == MBN_GLOBAL_AVERAGE, pool = s->op == MBN_MAX_POOL || s->op == MBN_AVERAGE_POOL;
  const int conv = s->op == MBN_CONV, window = conv || s->op == MBN_DEPTHWISE || pool;
  const int head = sum || (window && !(conv && s->kh == 1 && s->kw == 1 && s->sh == 1 && s->sw == 1));
  const int average = s->op == MBN_AVERAGE_POOL || s->op == MBN_GLOBAL_AVERAGE, dense = conv && !(s->packed | s->pt | s->pl) && (!head || (s->kh == shape[0] && s->kw == shape[1]));
  const int may = (pool ? MBN_COUNTS_PADS : s->op == MBN_CONCAT ? MBN_OTHER_FIRST | MBN_FROM_KEPT : takes ? MBN_FROM_KEPT : 0) | (average ? MBN_UNSIGNED : 0) | (dense ? MBN_ONCE : 0);
  if (!conv && s->op != MBN_DEPTHWISE && s->op != MBN_ADD) s->zero_other = 0;
  s->flags = (uint8_t)((s->flags & may) | (head ? MBN_HEAD : 0));
  if (window) {
    s->out_h = (uint16_t)repaired_extent(s->out_h, s->in_h, s->sh, s->pt);
    s->out_w = (uint16_t)repaired_extent(s->out_w, s->in_w, s->sw, s->pl);
  } else s->out_h = sum ? 1 : s->in_h, s->out_w = sum ? 1 : s->in_w;
  if (s->op == MBN_CONCAT && s->out_c <= s->in_c) s->out_c = (uint16_t)(s->in_c + 1);
  if (!conv && s->op != MBN_RECALL && s->op != MBN_CONCAT && (s->op != MBN_DEPTHWISE || !s->in_c || s->out_c % s->in_c)) s->out_c = s->in_c;
  if (head && (!s->group || s->group > s->out_w)) s->group = 1;
  const int kept = takes && s->flags & MBN_FROM_KEPT;
  if (head || s->op == MBN_TEE || s->op == MBN_KEEP || kept) s->state = (*states)++;
  if (s->op == MBN_KEEP || kept) s->capacity = (uint32_t)s->in_h * s->in_w;
  for (const mbn_step *tee = first; takes && !kept && tee < s; tee++)
    if (tee->op == MBN_TEE && tee->state == s->state)
      s->buffer = tee->buffer, s->capacity = tee->capacity, s->out_c = (uint16_t)(tee->in_c + (s->op == MBN_CONCAT ? s->in_c : 0));
}

/* Most of what the engine checks first is made right again, so that mutations get deeper; a little stays wrong. */
static void repair(uint8_t *file, size_t n) {
  table t[4];
  mbn_header *h = (void *)file;
  tables_of(file, n, t);
  if (mostly()) h->magic = MBN_MAGIC, h->version = (uint16_t)(MBN_VERSION | (h->version >> 8 ? MBN_MINOR << 8 : 0)), h->layout %= MBN_LAYOUTS, h->align = 4;
  if (mostly()) h->file_bytes = (uint32_t)n;
  if (mostly()) h->arena_bytes &= ~3u, h->kept_bytes &= ~3u;
  if (mostly() && t[3].count == h->steps && h->steps) {
    uint16_t shape[3] = {h->in_h, h->in_w, h->in_c};
    uint32_t steps = 0;
    mbn_step *all = (mbn_step *)(void *)(file + t[3].at);
    for (size_t i = 0; i < t[2].count; i++) {
      mbn_stage *st = (mbn_stage *)(void *)(file + t[2].at) + i;
      uint32_t states = 0, left = h->steps - steps;
      st->first = (uint16_t)steps;
      if (st->count > left || i + 1 == t[2].count) st->count = (uint16_t)left;
      if (!st->group || st->group > shape[1]) st->group = 1;
      st->in_bytes = (i || h->flags & MBN_HELD) && !(st->count && all[steps].op == MBN_AGAIN) ? (uint32_t)shape[0] * shape[1] * shape[2] : 0;
      for (uint32_t k = steps; k < steps + st->count; k++) {
        if (mostly()) repair_step(all + k, shape, &states, all + steps);
        shape[0] = all[k].out_h, shape[1] = all[k].out_w, shape[2] = all[k].out_c;
      }
      st->states = (uint16_t)states, st->out_bytes = (uint32_t)shape[0] * shape[1] * shape[2];
      if (!st->in_bytes && mostly()) st->out = h->arena_bytes - st->out_bytes;
      steps += st->count;
    }
    for (size_t i = 0; i < t[1].count; i++) {
      mbn_output *o = (mbn_output *)(void *)(file + t[1].at) + i;
      if (o->at >= MBN_CONTEXT_BYTES + h->kept_bytes && mostly()) {
        o->h = shape[0], o->w = shape[1], o->c = shape[2];
        o->at = h->arena_bytes - (uint32_t)shape[0] * shape[1] * shape[2];
      }
      o->bytes = (uint32_t)o->h * o->w * o->c;
    }
  }
  h->crc = 0;
  h->crc = crc_of(file, n) ^ !mostly();
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
  random_state = seed;
  if (size < sizeof(mbn_header) + sizeof(script)) return LLVMFuzzerMutate(data, size, max_size);
  script how;
  size_t n = size - sizeof how;
  memcpy(&how, data + n, sizeof how);
  uint8_t *file = filled(max_size, 0); /* aligned */
  memcpy(file, data, n);
  for (uint32_t edits = 1 + below(3); edits--;) {
    table t[4];
    tables_of(file, n, t);
    const size_t constants = t[3].at + t[3].size * t[3].count;
    const uint32_t kind = below(24);
    if (kind < 3) LLVMFuzzerMutate((uint8_t *)&how, sizeof how, sizeof how);
    else if (kind < 5 && n > constants) { /* the same length: offsets stay right */
      const size_t from = constants + below((uint32_t)(n - constants)), most = n - from < 64 ? n - from : 64;
      LLVMFuzzerMutate(file + from, most, most);
    } else if (kind == 5) n = edit_count(file, n, max_size - sizeof how);
    else if (kind == 6 && !below(4)) n = sizeof(mbn_header) + below((uint32_t)(n - sizeof(mbn_header) + 1));
    else {
      const table *some = t + (kind < 9 ? 0 : kind < 11 ? 1 : kind < 15 ? 2 : 3);
      if (some->count) edit_field(file, n, some);
    }
  }
  repair(file, n);
  memcpy(data, file, n);
  memcpy(data + n, &how, sizeof how);
  release(file, max_size);
  return n + sizeof how;
}
#endif
