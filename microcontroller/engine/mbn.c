/* mbn: opening a file without believing it, and the schedule. The arithmetic is in mbn_kernels.c. */
#include "mbn.h"
#include <stddef.h>

void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);

typedef char context_fits[sizeof(mbn) <= MBN_CONTEXT_BYTES && sizeof(mbn_state) == MBN_STATE_BYTES ? 1 : -1];
typedef char file_fits[sizeof(mbn_header) == 72 && sizeof(mbn_output) == 24 && sizeof(mbn_stage) == 20 && sizeof(mbn_step) == 52 ? 1 : -1];

#ifdef MBN_COUNT
uint32_t mbn_counts[MBN_MAX_STEPS];
#define COUNT(step, n) mbn_counts[step] += (uint32_t)(n)
#else
#define COUNT(step, n) (void)0
#endif

static const char *const sentences[] = {
#define MBN_SENTENCE(name, sentence) sentence,
    MBN_STATUSES(MBN_SENTENCE)};

const char *mbn_sentence(mbn_status s) { return (unsigned)s < MBN_STATUS_COUNT ? sentences[s] : "No such status."; }

/* ---- what is where ---- */

static const uint8_t *bytes_of(const mbn_header *h) { return (const uint8_t *)h; }
static const mbn_output *outputs_of(const mbn_header *h) { return (const mbn_output *)(const void *)(h + 1); }
static const mbn_stage *stages_of(const mbn_header *h) { return (const mbn_stage *)(const void *)(outputs_of(h) + h->outputs); }
static const mbn_step *steps_of(const mbn_header *h) { return (const mbn_step *)(const void *)(stages_of(h) + h->stages); }
static int is_head(const mbn_step *s) { return s->flags & MBN_HEAD; }
static int is_sum(const mbn_step *s) { return s->op == MBN_MEAN || s->op == MBN_GLOBAL_AVERAGE; }
static int is_pool(const mbn_step *s) { return s->op == MBN_MAX_POOL || s->op == MBN_AVERAGE_POOL; }
static int is_ring(const mbn_step *s) { return is_head(s) && !is_sum(s); }
static int is_aside(const mbn_step *s) { return s->op == MBN_TEE || s->op == MBN_KEEP; } /* makes nothing, puts its input aside */

/* ---- checks: every number of the file is a stranger's ---- */

typedef struct {
  const mbn_header *h;
  uint64_t work;      /* multiply-adds and bytes moved so far */
  uint32_t reserved;  /* arena bytes of context, kept outputs and the stage's states, which no buffer may touch */
} checker;

/* `n` bytes at `at` lie inside the arena, behind context and states. */
static int in_arena(const checker *c, uint32_t at, uint64_t n) {
  return at >= c->reserved && at <= c->h->arena_bytes && n <= c->h->arena_bytes - at;
}

static int in_file(const checker *c, uint32_t at, uint64_t n) { return at <= c->h->file_bytes && n <= c->h->file_bytes - at; }

static int words_in_file(const checker *c, uint32_t at, uint64_t words) { return at % 4 == 0 && in_file(c, at, 4 * words); }

static const int32_t *words_at(const checker *c, uint32_t at) { return (const int32_t *)(const void *)(bytes_of(c->h) + at); }

/* Pairs of (multiplier, shift): a shift of more than `most` would leave the range in which TFLM's arithmetic is defined. */
static int scales_ok(const int32_t *k, int pairs, int32_t most) {
  for (; pairs; pairs--, k += 2) if (k[0] < 0 || k[1] < -31 || k[1] > most) return 0;
  return 1;
}

/* The kernel covers the input: no output looks only at padding, and no row of input is left when all outputs are made. */
static int covers(uint32_t in, uint32_t out, uint32_t k, uint32_t s, uint32_t pad, int all) {
  return k >= 1 && k <= MBN_MAX_KERNEL && s >= 1 && pad < k && (out - 1) * s < in + pad && (!all || out * s + k - 1 >= in + pad);
}

/* A window of kernel and stride, padded. */
static int window_ok(const mbn_step *s) {
  return covers(s->in_h, s->out_h, s->kh, s->sh, s->pt, 1) && covers(s->in_w, s->out_w, s->kw, s->sw, s->pl, 0);
}

static int convolution_ok(const checker *c, const mbn_step *s) {
  const uint32_t taps = s->op == MBN_CONV ? (uint32_t)s->kh * s->kw * s->in_c : (uint32_t)s->kh * s->kw;
  if (taps > MBN_MAX_TAPS || !in_file(c, s->weights, (uint64_t)taps * s->out_c)) return 0;
  if (s->op == MBN_DEPTHWISE && s->out_c % s->in_c) return 0;
  if (!words_in_file(c, s->constants, 2 * (uint64_t)s->out_c) || !in_file(c, s->constants, 9 * (uint64_t)s->out_c)) return 0;
  const int32_t *multiplier = words_at(c, s->constants) + s->out_c; /* behind the biases, which may be anything */
  const int8_t *shift = (const int8_t *)(multiplier + s->out_c);
  for (int32_t i = 0; i < s->out_c; i++)
    if (multiplier[i] < 0 || shift[i] < -31 || shift[i] > 30) return 0;
  return 1;
}

static int softmax_ok(const checker *c, const mbn_step *s) {
  if (s->out_c > 4095 || !words_in_file(c, s->constants, 256)) return 0; /* 4096 exponentials of 2^19 overflow */
  const int32_t *exponent = words_at(c, s->constants);
  for (int i = 0; i < 256; i++) if (exponent[i] < 0) return 0;
  return exponent[0] == INT32_MAX;
}

static int same_map(const mbn_step *s) { return s->in_h == s->out_h && s->in_w == s->out_w && s->in_c == s->out_c; }

static uint64_t ring_bytes(const mbn_step *s, uint32_t group) {
  const uint32_t window = group + s->kw - 1u < s->in_w ? group + s->kw - 1u : s->in_w;
  return ((s->kh - 1u) * (uint64_t)s->in_w + window) * s->in_c;
}

/* One step, whose input comes in groups of up to `group` pixels. */
static int step_ok(const checker *c, const mbn_step *s, uint32_t group) {
  const int head = s->op == MBN_DEPTHWISE || is_pool(s) || is_sum(s) ||
                   (s->op == MBN_CONV && (s->kh != 1 || s->kw != 1 || s->sh != 1 || s->sw != 1));
  if (s->op >= MBN_OPS || (s->flags & ~(is_pool(s) ? MBN_COUNTS_PADS : 0)) != (head ? MBN_HEAD : 0)) return 0;
  if (s->low > s->high || !s->out_h || !s->out_w || !s->out_c) return 0;
  if (head && (!s->group || s->group > s->out_w)) return 0;
  switch (s->op) {
    case MBN_CONV:
    case MBN_DEPTHWISE:
      if (!window_ok(s) || !convolution_ok(c, s)) return 0;
      return head ? in_arena(c, s->buffer, ring_bytes(s, group)) : s->in_h == s->out_h && s->in_w == s->out_w;
    case MBN_MAX_POOL:
    case MBN_AVERAGE_POOL: return window_ok(s) && s->in_c == s->out_c && in_arena(c, s->buffer, ring_bytes(s, group));
    case MBN_MEAN:
    case MBN_GLOBAL_AVERAGE:
      return s->out_h == 1 && s->out_w == 1 && s->in_c == s->out_c && (uint32_t)s->in_h * s->in_w <= 65536 &&
             s->buffer % 4 == 0 && in_arena(c, s->buffer, 4 * (uint64_t)s->in_c) &&
             (s->op == MBN_GLOBAL_AVERAGE || (words_in_file(c, s->constants, 2) && scales_ok(words_at(c, s->constants), 1, 30)));
    case MBN_SOFTMAX: return same_map(s) && softmax_ok(c, s);
    case MBN_LOOKUP: return same_map(s) && in_file(c, s->constants, 256);
    case MBN_KEEP: /* the whole map, where the outputs are */
      return same_map(s) && s->capacity == (uint32_t)s->in_h * s->in_w && s->buffer >= MBN_CONTEXT_BYTES &&
             s->buffer + (uint64_t)s->capacity * s->in_c <= MBN_CONTEXT_BYTES + (uint64_t)c->h->kept_bytes;
    case MBN_RECALL: return s->in_h == s->out_h && s->in_w == s->out_w && s->capacity && in_arena(c, s->buffer, (uint64_t)s->capacity * s->out_c);
    case MBN_ADD:
      if (!words_in_file(c, s->constants, 6) || !scales_ok(words_at(c, s->constants), 3, 0)) return 0;
      break;
    default: break;
  }
  return same_map(s) && s->capacity && in_arena(c, s->buffer, (uint64_t)s->capacity * s->in_c);
}

/* The output group of step i of a stage has a place: in the arena, in the next ring, or in the stage's output. */
static int place_ok(const checker *c, const mbn_step *s, int last, uint32_t group) {
  if (is_aside(s)) return s->op == MBN_KEEP || !last;
  return s->out == MBN_DIRECT ? last || is_ring(s + 1) : in_arena(c, s->out, (uint64_t)group * s->out_c);
}

/* States: heads, TEEs and KEEPs number theirs in order, so that no two share one; an ADD or RECALL has that of a TEE before it. */
static int state_ok(const mbn_step *first, const mbn_step *s, uint32_t *states) {
  if (s->op != MBN_ADD && s->op != MBN_RECALL) return !(is_head(s) || is_aside(s)) || s->state == (*states)++;
  for (const mbn_step *tee = first; tee < s; tee++)
    if (tee->op == MBN_TEE && tee->state == s->state)
      return tee->buffer == s->buffer && tee->capacity == s->capacity && tee->in_c == s->out_c;
  return 0;
}

typedef struct { uint64_t at, end; } span;

static int apart(span a, span b) { return a.end <= b.at || b.end <= a.at; }

static span span_of(uint32_t at, uint64_t n) {
  const span found = {at, at + n};
  return found;
}

/* What a step keeps between calls; an ADD or RECALL keeps nothing of its own. */
static span kept_by(const mbn_step *s, uint32_t group) {
  if (is_sum(s)) return span_of(s->buffer, 4 * (uint64_t)s->in_c);
  if (is_aside(s)) return span_of(s->buffer, (uint64_t)s->capacity * s->in_c);
  return span_of(s->buffer, is_head(s) ? ring_bytes(s, group) : 0);
}

/* Where its output group passes. */
static span passed_by(const mbn_step *s, uint32_t group) {
  return span_of(s->out, s->out == MBN_DIRECT || is_aside(s) ? 0 : (uint64_t)group * s->out_c);
}

/* No buffer of a stage lies in another, in the map it reads or in the one it writes; groups in transit may share. */
static int buffers_ok(const checker *c, const mbn_stage *st) {
  const mbn_step *first = steps_of(c->h) + st->first, *end = first + st->count;
  const span in = span_of(c->h->arena_bytes - st->in_bytes, st->in_bytes), out = span_of(st->out, st->out_bytes);
  uint32_t a_in = st->group, a_out, b_in, b_out;
  for (const mbn_step *a = first; a < end; a++, a_in = a_out) {
    a_out = is_head(a) ? a->group : a_in;
    const span kept = kept_by(a, a_in), passed = passed_by(a, a_out);
    if (!apart(kept, in) || !apart(kept, out) || !apart(passed, in) || !apart(passed, out)) return 0;
    b_in = st->group;
    for (const mbn_step *b = first; b < end; b++, b_in = b_out) {
      b_out = is_head(b) ? b->group : b_in;
      if ((b > a && !apart(kept, kept_by(b, b_in))) || !apart(kept, passed_by(b, b_out))) return 0;
    }
  }
  return 1;
}

static mbn_status stage_ok(checker *c, const mbn_stage *st, uint32_t *h, uint32_t *w, uint32_t *ch) {
  const mbn_step *s = steps_of(c->h) + st->first;
  const uint64_t in = (uint64_t)*h * *w * *ch;
  uint32_t group = st->group, states = 0;
  c->reserved = MBN_CONTEXT_BYTES + c->h->kept_bytes + (uint32_t)st->states * MBN_STATE_BYTES;
  if (!st->count || !group || group > *w || c->reserved > c->h->arena_bytes) return MBN_BROKEN;
  if (st->in_bytes && (st->in_bytes != in || in > c->h->arena_bytes - c->reserved)) return MBN_BROKEN;
  for (int i = 0; i < st->count; i++, s++) {
    if (s->in_h != *h || s->in_w != *w || s->in_c != *ch || !step_ok(c, s, group) || !state_ok(steps_of(c->h) + st->first, s, &states)) return MBN_BROKEN;
    if (is_head(s)) group = s->group;
    if (!place_ok(c, s, i == st->count - 1, group)) return MBN_BROKEN;
    if ((uint64_t)s->in_w * s->in_c > MBN_MAX_BYTES || (uint64_t)s->out_w * s->out_c > MBN_MAX_BYTES) return MBN_BROKEN;
    const uint64_t per = s->op == MBN_CONV ? (uint64_t)s->kh * s->kw * s->in_c : is_ring(s) ? (uint64_t)s->kh * s->kw : 1;
    c->work += (uint64_t)s->out_h * s->out_w * s->out_c * per + (uint64_t)s->in_h * s->in_w * s->in_c; /* < 2^32 * 2^32 */
    if (c->work >> 62) return MBN_TOO_MUCH_WORK;
    *h = s->out_h, *w = s->out_w, *ch = s->out_c;
  }
  return states == st->states && st->out_bytes == (uint64_t)*h * *w * *ch && in_arena(c, st->out, st->out_bytes) && buffers_ok(c, st) ? MBN_OK : MBN_BROKEN;
}

/* An output is one that a KEEP wrote, or what the last stage made: (h, w, ch), at the end of the arena. */
static int output_ok(const mbn_header *h, const mbn_output *o, uint32_t height, uint32_t width, uint32_t channels) {
  if (!o->bytes || o->bytes != (uint64_t)o->h * o->w * o->c || o->at < MBN_CONTEXT_BYTES) return 0;
  return o->at + (uint64_t)o->bytes <= MBN_CONTEXT_BYTES + (uint64_t)h->kept_bytes ||
         (o->h == height && o->w == width && o->c == channels && o->bytes <= h->arena_bytes && o->at == h->arena_bytes - o->bytes);
}

static int labels_ok(const checker *c) {
  const mbn_header *h = c->h;
  uint32_t ends = 0;
  if (!in_file(c, h->label_text, h->label_bytes) || (h->label_bytes && bytes_of(h)[h->label_text + h->label_bytes - 1])) return 0;
  for (uint32_t i = 0; i < h->label_bytes; i++) ends += !bytes_of(h)[h->label_text + i];
  return ends == h->labels;
}

static int header_ok(const checker *c) {
  const mbn_header *h = c->h;
  const uint64_t tables = sizeof *h + h->outputs * (uint64_t)sizeof(mbn_output) + h->stages * (uint64_t)sizeof(mbn_stage) + h->steps * (uint64_t)sizeof(mbn_step);
  if (h->steps > MBN_MAX_STEPS || h->file_bytes > MBN_MAX_BYTES || h->arena_bytes > MBN_MAX_BYTES || h->file_bytes < tables) return 0;
  if (h->align != 4 || h->arena_bytes % 4 || h->kept_bytes % 4 || h->kept_bytes > MBN_MAX_BYTES || !h->stages || !h->outputs) return 0;
  if (!h->in_h || !h->in_w || !h->in_c || h->flags & ~(MBN_HELD | MBN_NCHW | MBN_BGR)) return 0;
  if (h->arena_bytes < MBN_CONTEXT_BYTES + h->kept_bytes || (h->pixels && !in_file(c, h->pixels, 256 * (uint64_t)h->in_c))) return 0;
  return in_file(c, h->metadata, h->metadata_bytes) && labels_ok(c);
}

mbn_status mbn_check(const void *file, uint32_t file_bytes, uint64_t max_work) {
  const mbn_header *h = file;
  checker c = {h, 0, 0};
  if ((uintptr_t)file % 4) return MBN_MISALIGNED;
  if (file_bytes < sizeof *h) return MBN_CUT_SHORT;
  if (h->magic != MBN_MAGIC) return MBN_NOT_A_MODEL;
  if (h->version != MBN_VERSION) return MBN_VERSION_UNKNOWN;
  if (h->layout != 0) return MBN_LAYOUT_UNKNOWN;
  if (h->file_bytes > file_bytes) return MBN_CUT_SHORT;
  if (!header_ok(&c)) return MBN_BROKEN;
  uint32_t height = h->in_h, width = h->in_w, channels = h->in_c, steps = 0;
  for (int i = 0; i < h->stages; i++) {
    const mbn_stage *st = stages_of(h) + i;
    if (st->first != steps || st->count > h->steps - steps) return MBN_BROKEN;
    if ((st->in_bytes == 0) != (i == 0 && !(h->flags & MBN_HELD))) return MBN_BROKEN;
    const mbn_status status = stage_ok(&c, st, &height, &width, &channels);
    if (status) return status;
    steps += st->count;
  }
  for (int i = 0; i < h->outputs; i++) if (!output_ok(h, outputs_of(h) + i, height, width, channels)) return MBN_BROKEN;
  if (steps != h->steps) return MBN_BROKEN;
  return max_work && c.work > max_work ? MBN_TOO_MUCH_WORK : MBN_OK;
}

mbn_status mbn_verify(const void *file, uint32_t file_bytes) {
  const mbn_header *h = file;
  const uint32_t skip = offsetof(mbn_header, crc);
  if ((uintptr_t)file % 4) return MBN_MISALIGNED;
  if (file_bytes < sizeof *h || h->file_bytes > file_bytes) return MBN_CUT_SHORT;
  uint32_t crc = 0xffffffffu;
  for (uint32_t i = 0; i < h->file_bytes; i++) { /* bit by bit: 1 KB of table would be a tenth of the engine */
    crc ^= i >= skip && i < skip + 4 ? 0 : bytes_of(h)[i];
    for (int b = 0; b < 8; b++) crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
  }
  return (crc ^ 0xffffffffu) == h->crc ? MBN_OK : MBN_CRC;
}

uint32_t mbn_arena_bytes(const void *file) { return ((const mbn_header *)file)->arena_bytes; }

const mbn_output *mbn_outputs(const void *file) { return outputs_of(file); }

const char *mbn_label(const void *file, uint32_t i) {
  const mbn_header *h = file;
  const char *text = (const char *)bytes_of(h) + h->label_text;
  if (i >= h->labels) return 0;
  while (i--) while (*text++) {} /* as many ends as labels: checked */
  return text;
}

mbn_status mbn_row(const void *file, const uint8_t *photo, int8_t *row) {
  const mbn_header *h = file;
  const int8_t *table = (const int8_t *)bytes_of(h) + h->pixels; /* (in_c, 256) */
  if (!h->pixels) return MBN_NO_PIXELS;
  for (int32_t x = 0; x < h->in_w; x++, photo += h->in_c)
    for (int32_t c = 0; c < h->in_c; c++) *row++ = table[c * 256 + photo[h->flags & MBN_BGR ? h->in_c - 1 - c : c]];
  return MBN_OK;
}

mbn_status mbn_open(mbn **m, const void *file, uint32_t file_bytes, void *arena, uint32_t arena_bytes, uint64_t max_work) {
  const mbn_status status = mbn_check(file, file_bytes, max_work);
  if (status) return status;
  if ((uintptr_t)arena % sizeof(void *)) return MBN_MISALIGNED;
  if (arena_bytes < mbn_arena_bytes(file)) return MBN_ARENA_TOO_SMALL;
  *m = arena;
  memset(*m, 0, sizeof **m);
  (*m)->file = file;
  return MBN_OK;
}

/* ---- the schedule ---- */

/* A stage is a chain. Groups of pixels are fed at its start; `carry` takes a group through steps up to the next head, which
 * stores it; `drain` lets the heads that can make a group make one, the deepest first, until all starve. So a head never
 * holds more than its kernel needs, and the rings can be as small as the planner says. */

static int8_t *arena_of(mbn *m) { return (int8_t *)m; }
static const mbn_stage *stage_of(const mbn *m) { return stages_of(m->file) + m->stage; }
static const mbn_step *step_of(const mbn *m, int i) { return steps_of(m->file) + i; }
static mbn_state *state_of(mbn *m, const mbn_step *s) { return (mbn_state *)(void *)(arena_of(m) + MBN_CONTEXT_BYTES + m->file->kept_bytes) + s->state; }

/* Rows: kh - 1 slots of whole rows (in_w, in_c), where row y has slot y % (kh - 1), then the window, which holds the pixels
 * from column `base` on of the row that arrives. */
static int8_t *slot_of(mbn *m, const mbn_step *s, int32_t y) {
  return arena_of(m) + s->buffer + y % (s->kh - 1) * s->in_w * s->in_c;
}

static int8_t *window_of(mbn *m, const mbn_step *s) { return arena_of(m) + s->buffer + (s->kh - 1) * s->in_w * s->in_c; }

/* The input row that completes the kernel's rows for the next output row. */
static int32_t bottom_of(const mbn_step *s, const mbn_state *r) { return r->ring.oy * s->sh - s->pt + s->kh - 1; }

/* Where the next input pixels belong: rows that complete no output row go to their slot at once. */
static int8_t *ring_place(mbn *m, const mbn_step *s) {
  const mbn_state *r = state_of(m, s);
  if (s->kh > 1 && r->ring.y != bottom_of(s, r)) return slot_of(m, s, r->ring.y) + r->ring.x * s->in_c;
  return window_of(m, s) + (r->ring.x - r->ring.base) * s->in_c;
}

/* Window columns left of `base` were used for the last time in this row: they replace the oldest row, column for column. */
static void retire(mbn *m, const mbn_step *s, int32_t base) {
  mbn_state *r = state_of(m, s);
  const int32_t n = (base - r->ring.base) * s->in_c, left = (r->ring.x - base) * s->in_c;
  if (n <= 0) return;
  int8_t *window = window_of(m, s);
  if (s->kh > 1) memcpy(slot_of(m, s, r->ring.y) + r->ring.base * s->in_c, window, (size_t)n);
  memmove(window, window + n, (size_t)left);
  r->ring.base = (uint16_t)base;
}

/* After pixels came or outputs were made: retire what is dead, and go to the next row behind the last column. */
static void settle(mbn *m, const mbn_step *s, int row_is_done) {
  mbn_state *r = state_of(m, s);
  const int32_t needed = r->ring.ox * s->sw - s->pl, x = r->ring.x;
  const int in_window = row_is_done || r->ring.y == bottom_of(s, r);
  if (in_window) retire(m, s, row_is_done || needed > x ? x : needed < 0 ? 0 : needed);
  if (!in_window) r->ring.base = r->ring.x; /* it went to its slot, or nobody needs it */
  if (x == s->in_w && (row_is_done || r->ring.y != bottom_of(s, r))) r->ring.y++, r->ring.x = r->ring.base = 0;
}

static void ring_take(mbn *m, const mbn_step *s, const int8_t *pixels, int32_t n) {
  mbn_state *r = state_of(m, s);
  int8_t *place = ring_place(m, s);
  if (pixels != place) memcpy(place, pixels, (size_t)(n * s->in_c));
  r->ring.x = (uint16_t)(r->ring.x + n);
  settle(m, s, 0);
}

/* How many output pixels a head can make now. */
static int32_t ring_ready(const mbn_step *s, const mbn_state *r) {
  const int32_t left = s->out_w - r->ring.ox, seen = r->ring.x + s->pl - s->kw;
  if (r->ring.oy >= s->out_h) return 0;
  if (r->ring.y >= s->in_h || (r->ring.y == bottom_of(s, r) && r->ring.x == s->in_w)) return left;
  if (r->ring.y != bottom_of(s, r) || seen < 0) return 0;
  const int32_t n = seen / s->sw + 1 - r->ring.ox;
  return n < left ? n : left;
}

static int32_t ready(mbn *m, const mbn_step *s) {
  const mbn_state *r = state_of(m, s);
  const int32_t n = is_sum(s) ? !r->sum.done && r->sum.count == (uint32_t)s->in_h * s->in_w : ring_ready(s, r);
  return n < s->group ? n : s->group;
}

/* Where step i's output group belongs. */
static int8_t *place_of(mbn *m, int i) {
  const mbn_step *s = step_of(m, i);
  if (s->out != MBN_DIRECT) return arena_of(m) + s->out;
  return i + 1 == stage_of(m)->first + stage_of(m)->count ? arena_of(m) + stage_of(m)->out + m->written : ring_place(m, s + 1);
}

static void call(mbn *m, int i, mbn_call *c) {
  const mbn_step *s = c->step;
  c->weights = (const int8_t *)bytes_of(m->file) + s->weights;
  c->constants = (const int32_t *)(const void *)(bytes_of(m->file) + s->constants);
  mbn_kernels[m->file->layout][s->op](c);
  COUNT(i, c->n);
  (void)i;
}

/* A head makes `n` pixels at `out`. */
static void ring_make(mbn *m, int i, int32_t n, int8_t *out) {
  const mbn_step *s = step_of(m, i);
  mbn_state *r = state_of(m, s);
  const int32_t top = r->ring.oy * s->sh - s->pt, left = r->ring.ox * s->sw - s->pl, from = left < 0 ? 0 : left;
  mbn_call c = {.step = s, .column = left - from, .width = s->in_w - from, .n = n, .out = out};
  c.ky0 = top < 0 ? -top : 0;
  c.ky1 = top + s->kh > s->in_h ? s->in_h - top : s->kh;
  for (int32_t ky = c.ky0; ky < c.ky1; ky++)
    c.row[ky] = top + ky == r->ring.y ? window_of(m, s) + (from - r->ring.base) * s->in_c : slot_of(m, s, top + ky) + from * s->in_c;
  call(m, i, &c);
  r->ring.ox = (uint16_t)(r->ring.ox + n);
  const int done = r->ring.ox == s->out_w, arriving = r->ring.y < s->in_h;
  if (arriving) settle(m, s, done);
  if (done) r->ring.ox = 0, r->ring.oy++;
}

static void sum_take(mbn *m, const mbn_step *s, const int8_t *pixels, int32_t n) {
  mbn_sum_add((int32_t *)(void *)(arena_of(m) + s->buffer), pixels, n, s->in_c);
  state_of(m, s)->sum.count += (uint32_t)n;
}

static void sum_make(mbn *m, int i, int8_t *out) {
  const mbn_step *s = step_of(m, i);
  mbn_sum_end(s, (const int32_t *)(const void *)(bytes_of(m->file) + s->constants), (const int32_t *)(void *)(arena_of(m) + s->buffer), out);
  state_of(m, s)->sum.done = 1;
  COUNT(i, 1);
}

/* TEE and KEEP: pixels go into a ring of single pixels, which may wrap inside a group. */
static void put_aside(mbn *m, const mbn_step *s, const int8_t *pixels, int32_t n) {
  mbn_state *a = state_of(m, s);
  int8_t *buffer = arena_of(m) + s->buffer;
  if (a->aside.level + (uint32_t)n > s->capacity) { m->status = MBN_BROKEN; return; }
  a->aside.level += (uint32_t)n;
  while (n) {
    const int32_t room = (int32_t)(s->capacity - a->aside.in), k = n < room ? n : room;
    memcpy(buffer + a->aside.in * s->in_c, pixels, (size_t)(k * s->in_c));
    a->aside.in = k == room ? 0 : a->aside.in + (uint32_t)k;
    pixels += k * s->in_c, n -= k;
  }
}

/* ADD and RECALL: `n` pixels come back. */
static void take_aside(mbn *m, int i, const int8_t *pixels, int32_t n, int8_t *out) {
  const mbn_step *s = step_of(m, i);
  mbn_state *a = state_of(m, s);
  if (a->aside.level < (uint32_t)n) { m->status = MBN_BROKEN; return; }
  a->aside.level -= (uint32_t)n;
  while (n) {
    const int32_t room = (int32_t)(s->capacity - a->aside.out), k = n < room ? n : room;
    const int8_t *other = arena_of(m) + s->buffer + a->aside.out * s->out_c;
    if (s->op == MBN_RECALL) { memcpy(out, other, (size_t)(k * s->out_c)); COUNT(i, k); }
    else { mbn_call c = {.step = s, .row = {pixels}, .n = k, .other = other, .out = out}; call(m, i, &c); }
    a->aside.out = k == room ? 0 : a->aside.out + (uint32_t)k;
    pixels += k * s->in_c, out += k * s->out_c, n -= k;
  }
}

/* Take `n` pixels through the steps from i on, until a head or the stage's output stores them. */
static void carry(mbn *m, int i, const int8_t *pixels, int32_t n) {
  const mbn_stage *st = stage_of(m);
  const int end = st->first + st->count;
  for (; i < end && !is_head(step_of(m, i)) && !m->status; i++) {
    const mbn_step *s = step_of(m, i);
    if (is_aside(s)) { put_aside(m, s, pixels, n); continue; }
    int8_t *out = place_of(m, i);
    mbn_call c = {.step = s, .row = {pixels}, .ky1 = 1, .width = n, .n = n, .out = out};
    if (s->op == MBN_ADD || s->op == MBN_RECALL) take_aside(m, i, pixels, n, out);
    else call(m, i, &c);
    pixels = out;
  }
  if (m->status) return;
  if (i < end) { (is_sum(step_of(m, i)) ? sum_take : ring_take)(m, step_of(m, i), pixels, n); return; }
  const uint32_t bytes = (uint32_t)(n * step_of(m, end - 1)->out_c);
  int8_t *out = arena_of(m) + st->out + m->written;
  if (st->out + m->written + bytes > m->read) { m->status = MBN_BROKEN; return; } /* would overtake what is still to be read */
  if (pixels != out) memmove(out, pixels, bytes); /* a KEEP alone moves its input over itself */
  m->written += bytes;
}

static int next_head(const mbn *m, int i, int end) {
  for (i++; i < end && !is_head(step_of(m, i));) i++;
  return i;
}

static int previous_head(const mbn *m, int i, int first) {
  for (i--; i >= first && !is_head(step_of(m, i));) i--;
  return i;
}

static void pause(mbn *m) {
  if (m->yield && !m->status && m->yield(m->user)) m->status = MBN_STOPPED;
}

/* Deeper heads than i starve already. */
static void drain(mbn *m) {
  const int first = stage_of(m)->first, end = first + stage_of(m)->count;
  int i = next_head(m, first - 1, end);
  while (i >= first && i < end && !m->status) {
    const mbn_step *s = step_of(m, i);
    const int32_t n = ready(m, s);
    if (n <= 0) { i = previous_head(m, i, first); continue; }
    int8_t *out = place_of(m, i);
    if (is_sum(s)) sum_make(m, i, out);
    else ring_make(m, i, n, out);
    carry(m, i + 1, out, n);
    pause(m);
    const int next = next_head(m, i, end);
    if (next < end) i = next;
  }
}

static void feed_row(mbn *m, const int8_t *row) { /* row: (in_w, in_c) of the stage's first step */
  const mbn_stage *st = stage_of(m);
  const mbn_step *s = step_of(m, st->first);
  for (int32_t x = 0; x < s->in_w && !m->status; x += st->group) {
    const int32_t n = s->in_w - x < st->group ? s->in_w - x : st->group;
    if (st->in_bytes) m->read += (uint32_t)(n * s->in_c);
    carry(m, st->first, row + x * s->in_c, n);
    pause(m);
    drain(m);
  }
}

static void enter_stage(mbn *m, uint16_t stage) {
  m->stage = stage, m->written = 0, m->read = m->file->arena_bytes - stage_of(m)->in_bytes;
  const mbn_stage *st = stage_of(m);
  memset(arena_of(m) + MBN_CONTEXT_BYTES + m->file->kept_bytes, 0, (size_t)st->states * MBN_STATE_BYTES);
  for (int i = st->first; i < st->first + st->count; i++)
    if (is_sum(step_of(m, i))) memset(arena_of(m) + step_of(m, i)->buffer, 0, (size_t)step_of(m, i)->in_c * 4);
}

/* The stage's output moves to the end of the arena, where the next stage reads it. */
static void leave_stage(mbn *m) {
  const mbn_stage *st = stage_of(m);
  if (!m->status && m->written != st->out_bytes) m->status = MBN_BROKEN;
  int8_t *end = arena_of(m) + m->file->arena_bytes - st->out_bytes;
  if (end != arena_of(m) + st->out) memmove(end, arena_of(m) + st->out, st->out_bytes);
}

static void run_stage(mbn *m, uint16_t stage) {
  enter_stage(m, stage);
  const mbn_stage *st = stage_of(m);
  const mbn_step *s = step_of(m, st->first);
  const int8_t *map = arena_of(m) + m->file->arena_bytes - st->in_bytes; /* (in_h, in_w, in_c) */
  for (int32_t y = 0; y < s->in_h && !m->status; y++) feed_row(m, map + y * s->in_w * s->in_c);
  leave_stage(m);
}

int8_t *mbn_input(mbn *m) {
  return m->file->flags & MBN_HELD ? arena_of(m) + m->file->arena_bytes - stages_of(m->file)->in_bytes : 0;
}

const int8_t *mbn_result(const mbn *m, uint32_t k) {
  return k < m->file->outputs ? (const int8_t *)m + outputs_of(m->file)[k].at : 0;
}

void mbn_on_yield(mbn *m, int (*yield)(void *user), void *user) { m->yield = yield, m->user = user; }

mbn_status mbn_begin(mbn *m) {
  if (m->busy) return MBN_BUSY;
  m->row = 0, m->status = MBN_OK, m->begun = 1;
  enter_stage(m, 0);
  return MBN_OK;
}

mbn_status mbn_push_row(mbn *m, const int8_t *row) {
  const size_t bytes = (size_t)m->file->in_w * m->file->in_c;
  if (m->busy) return MBN_BUSY;
  if (!m->begun || m->row >= m->file->in_h) return MBN_TOO_MANY_ROWS;
  m->busy = 1;
  if (mbn_input(m)) memmove(mbn_input(m) + m->row * bytes, row, bytes);
  else feed_row(m, row);
  m->row++, m->busy = 0;
  return (mbn_status)m->status;
}

mbn_status mbn_finish(mbn *m, const int8_t **output) {
  if (m->busy) return MBN_BUSY;
  if (!m->begun || m->row < m->file->in_h) return MBN_TOO_FEW_ROWS;
  const int held = m->file->flags & MBN_HELD;
  m->busy = 1;
  if (!held) leave_stage(m);
  for (uint16_t stage = held ? 0 : 1; stage < m->file->stages && !m->status; stage++) run_stage(m, stage);
  m->begun = m->busy = 0;
  *output = mbn_result(m, 0);
  return (mbn_status)m->status;
}

mbn_status mbn_run(mbn *m, const int8_t *image, const int8_t **output) {
  const size_t row = (size_t)m->file->in_w * m->file->in_c;
  mbn_status status = mbn_begin(m);
  if (!status && mbn_input(m) == image && image) m->row = m->file->in_h;
  while (!status && m->row < m->file->in_h) status = mbn_push_row(m, image + m->row * row);
  return status ? status : mbn_finish(m, output);
}
