/* The schedule of a plan, and what a user calls. The arithmetic is in kernels/. */
#include "mbn.h"
#include "mbn_kernel.h"
#include "kernels/packed.h"
#include <stddef.h>
#if MBN_CORES > 1
#include "mbn_cores.h"
#endif

void *memcpy(void *to, const void *from, size_t n); /* declared here: a freestanding compiler has no string.h */
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);

/* State of a step: where it stands. */
typedef union {
  struct { uint16_t x, y;   /* the next input pixel */
           uint16_t ox, oy; /* the next output pixel */
           uint16_t base;   /* column of the window's first pixel */
           uint16_t reserved; } ring;
  struct { uint32_t in, out, level; } aside;   /* TEE, KEEP: pixel positions in the buffer, and how many are there */
  struct { uint32_t count, done; } sum;        /* pixels that were added up */
} mbn_state;

typedef char context_fits[sizeof(mbn) <= MBN_CONTEXT_BYTES && sizeof(mbn_state) == MBN_STATE_BYTES ? 1 : -1];

#ifdef MBN_COUNT
uint32_t mbn_counts[MBN_MAX_STEPS], mbn_groups[MBN_MAX_STEPS];
#define COUNT(step, n) (mbn_counts[step] += (uint32_t)(n), mbn_groups[step]++)
#else
#define COUNT(step, n) (void)0
#endif

static const char *const status_texts[] = {
#define MBN_TEXT(name, text) text,
    MBN_STATUSES(MBN_TEXT)};

const char *mbn_status_text(mbn_status s) { return (unsigned)s < MBN_STATUS_COUNT ? status_texts[s] : "No such status."; }

uint32_t mbn_arena_bytes(const void *file) { return ((const mbn_header *)file)->arena_bytes; }

const mbn_output *mbn_outputs(const void *file) { return mbn_output_table(file); }

const char *mbn_label(const void *file, uint32_t i) {
  const mbn_header *h = file;
  const char *text = (const char *)mbn_bytes(h) + h->label_text;
  if (i >= h->labels) return 0;
  while (i--) while (*text++) {} /* as many ends as labels: checked */
  return text;
}

mbn_status mbn_quantize_row(const void *file, const uint8_t *photo, int8_t *row) {
  const mbn_header *h = file;
  const int8_t *table = (const int8_t *)mbn_bytes(h) + h->pixels; /* (in_c, 256) */
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

/* A stage is a chain. Groups of pixels are fed at its start; `forward` takes a group through steps up to the next head, which
 * stores it; `drain` lets the heads that can make a group make one, the deepest first, until all starve. So a head never
 * holds more than its kernel needs, and the rings can be as small as the planner says. */

#ifdef __GNUC__ /* these take less time than a call, which -Os makes of them all the same */
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

INLINE int8_t *arena_of(mbn *m) { return (int8_t *)m; }
INLINE const mbn_stage *stage_of(const mbn *m) { return mbn_stage_table(m->file) + m->stage; }
INLINE const mbn_step *step_of(const mbn *m, int i) { return mbn_step_table(m->file) + i; }
INLINE mbn_state *state_of(mbn *m, const mbn_step *s) { return (mbn_state *)(void *)(arena_of(m) + MBN_CONTEXT_BYTES + m->file->kept_bytes) + s->state; }

/* Rows: kh - 1 slots of whole rows (in_w, in_c), where row y has slot y % (kh - 1), then the window, which holds the pixels
 * from column `base` on of the row that arrives. */
INLINE int8_t *slot_of(mbn *m, const mbn_step *s, int32_t y) {
  return arena_of(m) + s->buffer + (s->kh == 3 ? y & 1 : y % (s->kh - 1)) * s->in_w * s->in_c; /* a division is a call on an M0 */
}

INLINE int8_t *window_of(mbn *m, const mbn_step *s) { return arena_of(m) + s->buffer + (s->kh - 1) * s->in_w * s->in_c; }

/* The input row that completes the kernel's rows for the next output row. */
INLINE int32_t bottom_of(const mbn_step *s, const mbn_state *r) { return r->ring.oy * s->sh - s->pt + s->kh - 1; }

/* Where the next input pixels belong: rows that complete no output row go to their slot at once. */
static int8_t *ring_place(mbn *m, const mbn_step *s) {
  const mbn_state *r = state_of(m, s);
  if (s->kh > 1 && r->ring.y != bottom_of(s, r)) return slot_of(m, s, r->ring.y) + r->ring.x * s->in_c;
  return window_of(m, s) + (r->ring.x - r->ring.base) * s->in_c;
}

/* Window columns left of `base` were used for the last time in this row: they replace the oldest row, column for column. */
static void ring_retire(mbn *m, const mbn_step *s, int32_t base) {
  mbn_state *r = state_of(m, s);
  const int32_t n = (base - r->ring.base) * s->in_c, left = (r->ring.x - base) * s->in_c;
  if (n <= 0) return;
  int8_t *window = window_of(m, s);
  if (s->kh > 1) memcpy(slot_of(m, s, r->ring.y) + r->ring.base * s->in_c, window, (size_t)n);
  memmove(window, window + n, (size_t)left);
  r->ring.base = (uint16_t)base;
}

/* After pixels came or outputs were made: retire what is dead, and go to the next row behind the last column. */
static void ring_advance(mbn *m, const mbn_step *s, int row_is_done) {
  mbn_state *r = state_of(m, s);
  const int32_t needed = r->ring.ox * s->sw - s->pl, x = r->ring.x;
  const int in_window = row_is_done || r->ring.y == bottom_of(s, r);
  if (in_window) ring_retire(m, s, row_is_done || needed > x ? x : needed < 0 ? 0 : needed);
  if (!in_window) r->ring.base = r->ring.x; /* it went to its slot, or nobody needs it */
  if (x == s->in_w && (row_is_done || r->ring.y != bottom_of(s, r))) r->ring.y++, r->ring.x = r->ring.base = 0;
}

static void ring_take(mbn *m, const mbn_step *s, const int8_t *pixels, int32_t n) {
  mbn_state *r = state_of(m, s);
  int8_t *place = ring_place(m, s);
  if (pixels != place) memcpy(place, pixels, (size_t)(n * s->in_c));
  r->ring.x = (uint16_t)(r->ring.x + n);
  ring_advance(m, s, 0);
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

static int32_t resize_ready(mbn *m, const mbn_step *s);

static int32_t ready(mbn *m, const mbn_step *s) {
  const mbn_state *r = state_of(m, s);
  const int32_t n = mbn_is_sum(s) ? !r->sum.done && r->sum.count == (uint32_t)s->in_h * s->in_w : mbn_resizes(s) ? resize_ready(m, s) : ring_ready(s, r);
  return n < s->group ? n : s->group;
}

/* Where step i's output group belongs. */
static int8_t *place_of(mbn *m, int i) {
  const mbn_step *s = step_of(m, i);
  if (s->out != MBN_DIRECT) return arena_of(m) + s->out;
  return i + 1 == stage_of(m)->first + stage_of(m)->count ? arena_of(m) + stage_of(m)->out + m->written : ring_place(m, s + 1);
}

#if MBN_CORES > 1
#ifdef MBN_HAS_MVE
#error "No chip has two Cortex-M55 that share their memory: its kernels make all outputs."
#endif

static mbn_mailbox mailbox; /* one second core, for all models */

void mbn_second_core(void *scratch, uint32_t scratch_bytes) {
  mbn_cores_open(&mailbox, scratch, scratch_bytes);
  for (;;) mbn_cores_serve(&mailbox);
}

uint32_t mbn_second_core_jobs(void) { return MBN_LOAD(mailbox.done); }

uint32_t mbn_second_core_scratch(const void *file) {
  const mbn_header *h = file;
  uint32_t most = 0;
  for (const mbn_step *s = mbn_step_table(h), *end = s + h->steps; s < end; s++)
    if (mbn_scratch_bytes(h->layout, s) > most) most = mbn_scratch_bytes(h->layout, s);
  return most;
}

static int apart(const int8_t *a, int32_t a_bytes, const int8_t *b, int32_t b_bytes) { return a + a_bytes <= b || b + b_bytes <= a; }

#define LEAST_WORK 512 /* products, to which an output adds 4, and one of ADD 12: half of it takes longer than the hand-over */

/* Divide a call: `other` gets a part of its pixels, or, where these make no equal pairs, of the outputs of a packed matrix. 0: it can't be
 * divided, or takes no longer than the hand-over. No part may write what the other still reads: a head reads its own ring, which
 * mbn_check keeps apart from all else; other steps may write over their input. */
static int divide(const mbn_call *whole, mbn_call *c, mbn_call *other) {
  const mbn_step *s = whole->step;
  const int matrix = s->packed && mbn_is_matrix(s), head = mbn_is_head(s);
  const int32_t n = whole->n, made = n * s->out_c, unit = matrix ? 2 : s->op == MBN_CONV && !head ? 4 : 1; /* pixels that a kernel makes at once */
  if (made < LEAST_WORK && made * (mbn_taps_of(s) + (s->op == MBN_ADD ? 12 : 4)) < LEAST_WORK) return 0;
  if (!head && (!apart(whole->out, made, whole->row[0], n * s->in_c) || (mbn_takes_aside(s) && !apart(whole->out, made, whole->other, made)))) return 0;
  *c = *other = *whole;
  if (matrix && n % 4 && s->out_c >= 8) { c->last = other->first = (s->out_c + 7) / 8 * 4; return 1; }
  const int32_t k = ((n + 1) / 2 + unit - 1) & -unit;
  if (k >= n) return 0;
  c->n = k, other->n = n - k, other->out += k * s->out_c;
  if (head) other->column += k * s->sw;
  else other->row[0] += k * s->in_c;
  if (mbn_takes_aside(s)) other->other += k * s->out_c;
  return 1;
}

static void on_both_cores(int layout, mbn_kernel kernel, mbn_call *whole) {
  mbn_call c, other;
  whole->first = 0, whole->last = whole->step->out_c;
  if (mbn_cores_room(&mailbox) < (int64_t)mbn_scratch_bytes(layout, whole->step) || !divide(whole, &c, &other)) { kernel(whole); return; }
  mbn_cores_post(&mailbox, kernel, &other);
  kernel(&c);
  mbn_cores_join(&mailbox);
}
#define RUN(layout, kernel, call) on_both_cores(layout, kernel, call)
#else
#define RUN(layout, kernel, call) kernel(call)
#endif

static void run_kernel(mbn *m, int i, mbn_call *c) {
  const mbn_step *s = c->step;
  c->weights = (const int8_t *)mbn_bytes(m->file) + s->weights;
  c->constants = (const int32_t *)(const void *)(mbn_bytes(m->file) + s->constants);
  c->scratch = arena_of(m) + stage_of(m)->scratch;
#if MBN_MINOR > 1
  if (s->op == MBN_SOFTMAX && s->out_c > 4095 && !mbn_softmax_fits(c)) { m->status = MBN_TOO_MANY_ALIKE; return; }
#endif
  RUN(m->file->layout, mbn_kernels[m->file->layout][s->op], c);
  COUNT(i, c->n);
  (void)i;
}

/* `n` more pixels of the output are there. */
static void ring_made(mbn *m, const mbn_step *s, int32_t n) {
  mbn_state *r = state_of(m, s);
  r->ring.ox = (uint16_t)(r->ring.ox + n);
  const int done = r->ring.ox == s->out_w, arriving = r->ring.y < s->in_h;
  if (arriving) ring_advance(m, s, done);
  if (done) r->ring.ox = 0, r->ring.oy++;
}

/* Of `k` taps, `apart` from each other and beginning at `at`, those before *end lie below `size`, and those from the result on at 0 or above. */
static int32_t taps_inside(int32_t at, int32_t k, int32_t apart, int32_t size, int32_t *end) {
  const int32_t last = size - at <= 0 ? 0 : (size - at + apart - 1) / apart;
  *end = last < k ? last : k;
  return at < 0 ? (apart - 1 - at) / apart : 0;
}

/* One pixel of a dilated kernel: its taps are gathered, and an ordinary kernel makes it. */
static void dilated_make(mbn *m, int i, int32_t top, int32_t left, int8_t *out) {
  const mbn_step *s = step_of(m, i), dense = mbn_dense(s);
  const mbn_state *r = state_of(m, s);
  const int32_t rows = (int32_t)(s->capacity & 255), columns = (int32_t)(s->capacity >> 8), in = s->in_c;
  int8_t *to = arena_of(m) + stage_of(m)->scratch + mbn_gathered_at(m->file->layout, s);
  int32_t kx1;
  mbn_call c;
  c.step = &dense, c.n = 1, c.out = out;
  c.ky0 = taps_inside(top, dense.kh, rows, s->in_h, &c.ky1);
  const int32_t kx0 = taps_inside(left, dense.kw, columns, s->in_w, &kx1);
  c.column = -kx0, c.width = kx1 - kx0;
  for (int32_t ky = c.ky0; ky < c.ky1; ky++) {
    const int32_t y = top + ky * rows;
    const int8_t *row = y == r->ring.y ? window_of(m, s) - r->ring.base * in : slot_of(m, s, y);
    c.row[ky] = to;
    for (int32_t kx = kx0; kx < kx1; kx++, to += in) memcpy(to, row + (left + kx * columns) * in, (size_t)in);
  }
  run_kernel(m, i, &c);
}

/* A head makes `n` pixels at `out`. */
static void ring_make(mbn *m, int i, int32_t n, int8_t *out) {
  const mbn_step *s = step_of(m, i);
  mbn_state *r = state_of(m, s);
  if (mbn_is_dilated(s)) {
    for (int32_t p = 0; p < n; p++) dilated_make(m, i, r->ring.oy * s->sh - s->pt, (r->ring.ox + p) * s->sw - s->pl, out + p * s->out_c);
    ring_made(m, s, n);
    return;
  }
  const int32_t top = r->ring.oy * s->sh - s->pt, left = r->ring.ox * s->sw - s->pl, from = left < 0 ? 0 : left;
  mbn_call c; /* no initializer: it would be a call of memset */
  c.step = s, c.column = left - from, c.width = s->in_w - from, c.n = n, c.out = out;
  c.ky0 = top < 0 ? -top : 0;
  c.ky1 = top + s->kh > s->in_h ? s->in_h - top : s->kh;
  for (int32_t ky = c.ky0; ky < c.ky1; ky++)
    c.row[ky] = top + ky == r->ring.y ? window_of(m, s) + (from - r->ring.base) * s->in_c : slot_of(m, s, top + ky) + from * s->in_c;
  run_kernel(m, i, &c);
  ring_made(m, s, n);
}

/* RESIZE: two rows, each in the slot of its number. */
static int8_t *resize_row(mbn *m, const mbn_step *s, int32_t y) { return arena_of(m) + s->buffer + (y & 1) * s->in_w * s->in_c; }
static const int16_t *resize_table(const mbn *m, const mbn_step *s) { return (const int16_t *)(const void *)(mbn_bytes(m->file) + s->constants); }

static void resize_take(mbn *m, const mbn_step *s, const int8_t *pixels, int32_t n) {
  mbn_state *r = state_of(m, s);
  memcpy(resize_row(m, s, r->ring.y) + r->ring.x * s->in_c, pixels, (size_t)(n * s->in_c));
  r->ring.x = (uint16_t)(r->ring.x + n);
  if (r->ring.x == s->in_w) r->ring.x = 0, r->ring.y++;
}

static int32_t resize_ready(mbn *m, const mbn_step *s) {
  const mbn_state *r = state_of(m, s);
  const int16_t *at = resize_table(m, s) + 2 * r->ring.oy;
  return r->ring.oy < s->out_h && r->ring.y > at[0] + (at[1] != 0) ? s->out_w - r->ring.ox : 0;
}

static void resize_make(mbn *m, int i, int32_t n, int8_t *out) {
  const mbn_step *s = step_of(m, i);
  mbn_state *r = state_of(m, s);
  const int16_t *row = resize_table(m, s) + 2 * r->ring.oy, *column = resize_table(m, s) + 2 * (s->out_h + r->ring.ox);
  mbn_resize(s, resize_row(m, s, row[0]), resize_row(m, s, row[0] + (row[1] != 0)), row[1], column, n, out);
  COUNT(i, n);
  r->ring.ox = (uint16_t)(r->ring.ox + n);
  if (r->ring.ox == s->out_w) r->ring.ox = 0, r->ring.oy++;
}

static void sum_take(mbn *m, const mbn_step *s, const int8_t *pixels, int32_t n) {
  mbn_sum_add((int32_t *)(void *)(arena_of(m) + s->buffer), pixels, n, s->in_c);
  state_of(m, s)->sum.count += (uint32_t)n;
}

static void sum_make(mbn *m, int i, int8_t *out) {
  const mbn_step *s = step_of(m, i);
  mbn_sum_end(s, (const int32_t *)(const void *)(mbn_bytes(m->file) + s->constants), (const int32_t *)(void *)(arena_of(m) + s->buffer), out);
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

/* Each pixel's channels, then the other's, or the other way round. */
static void join(const mbn_step *s, const int8_t *pixels, const int8_t *other, int32_t n, int8_t *out) {
  const int32_t c = s->in_c, o = s->out_c - c, turned = mbn_has(s, MBN_OTHER_FIRST);
  for (; n; n--, pixels += c, other += o, out += c + o) {
    memmove(turned ? out + o : out, pixels, (size_t)c); /* of a file that lies, they may overlap */
    memcpy(turned ? out : out + c, other, (size_t)o);
  }
}

/* ADD, RECALL and CONCAT: `n` pixels come back. A kept map is read from its first pixel on. */
static void take_aside(mbn *m, int i, const int8_t *pixels, int32_t n, int8_t *out) {
  const mbn_step *s = step_of(m, i);
  mbn_state *a = state_of(m, s);
  if (!mbn_has(s, MBN_FROM_KEPT)) {
    if (a->aside.level < (uint32_t)n) { m->status = MBN_BROKEN; return; }
    a->aside.level -= (uint32_t)n;
  }
  while (n) {
    const int32_t room = (int32_t)(s->capacity - a->aside.out), k = n < room ? n : room;
    const int8_t *other = arena_of(m) + s->buffer + a->aside.out * mbn_other_c(s);
    if (s->op == MBN_RECALL) { memcpy(out, other, (size_t)(k * s->out_c)); COUNT(i, k); }
    else if (MBN_MINOR && s->op == MBN_CONCAT) { join(s, pixels, other, k, out); COUNT(i, k); }
    else { mbn_call c; c.step = s, c.row[0] = pixels, c.n = k, c.other = other, c.out = out; run_kernel(m, i, &c); }
    a->aside.out = k == room ? 0 : a->aside.out + (uint32_t)k;
    pixels += k * s->in_c, out += k * s->out_c, n -= k;
  }
}

/* Take `n` pixels through the steps from i on, until a head or the stage's output stores them. */
static void forward(mbn *m, int i, const int8_t *pixels, int32_t n) {
  const mbn_stage *st = stage_of(m);
  const int end = st->first + st->count;
  for (; i < end && !mbn_is_head(step_of(m, i)) && !m->status; i++) {
    const mbn_step *s = step_of(m, i);
    if (mbn_is_aside(s)) { put_aside(m, s, pixels, n); continue; }
    if (MBN_MINOR && s->op == MBN_AGAIN) continue; /* run_stage reads its map */
    int8_t *out = place_of(m, i);
    mbn_call c;
    c.step = s, c.row[0] = pixels, c.n = n, c.out = out;
    if (mbn_takes_aside(s)) take_aside(m, i, pixels, n, out);
    else run_kernel(m, i, &c);
    pixels = out;
  }
  if (m->status) return;
  if (i < end) { (mbn_is_sum(step_of(m, i)) ? sum_take : mbn_resizes(step_of(m, i)) ? resize_take : ring_take)(m, step_of(m, i), pixels, n); return; }
  const uint32_t bytes = (uint32_t)(n * step_of(m, end - 1)->out_c);
  int8_t *out = arena_of(m) + st->out + m->written;
  if (st->out + m->written + bytes > m->read) { m->status = MBN_BROKEN; return; } /* would overtake what is still to be read */
  if (pixels != out) memmove(out, pixels, bytes); /* a KEEP alone moves its input over itself */
  m->written += bytes;
}

static int next_head(const mbn *m, int i, int end) {
  for (i++; i < end && !mbn_is_head(step_of(m, i));) i++;
  return i;
}

static int previous_head(const mbn *m, int i, int first) {
  for (i--; i >= first && !mbn_is_head(step_of(m, i));) i--;
  return i;
}

static void yield_now(mbn *m) {
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
    if (mbn_is_sum(s)) sum_make(m, i, out);
    else if (mbn_resizes(s)) resize_make(m, i, n, out);
    else ring_make(m, i, n, out);
    forward(m, i + 1, out, n);
    yield_now(m);
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
    forward(m, st->first, row + x * s->in_c, n);
    yield_now(m);
    drain(m);
  }
}

static void enter_stage(mbn *m, uint16_t stage) {
  m->stage = stage, m->written = 0, m->read = m->file->arena_bytes - stage_of(m)->in_bytes;
  const mbn_stage *st = stage_of(m);
  memset(arena_of(m) + MBN_CONTEXT_BYTES + m->file->kept_bytes, 0, (size_t)st->states * MBN_STATE_BYTES);
  for (int i = st->first; i < st->first + st->count; i++)
    if (mbn_is_sum(step_of(m, i))) memset(arena_of(m) + step_of(m, i)->buffer, 0, (size_t)step_of(m, i)->in_c * 4);
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
  const int8_t *map = arena_of(m) + (MBN_MINOR && s->op == MBN_AGAIN ? s->buffer : m->file->arena_bytes - st->in_bytes); /* (in_h, in_w, in_c) */
  for (int32_t y = 0; y < s->in_h && !m->status; y++) feed_row(m, map + y * s->in_w * s->in_c);
  leave_stage(m);
}

int8_t *mbn_input(mbn *m) {
  return m->file->flags & MBN_HELD ? arena_of(m) + m->file->arena_bytes - mbn_stage_table(m->file)->in_bytes : 0;
}

const int8_t *mbn_get_output(const mbn *m, uint32_t k) {
  return k < m->file->outputs ? (const int8_t *)m + mbn_output_table(m->file)[k].at : 0;
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
  *output = mbn_get_output(m, 0);
  return (mbn_status)m->status;
}

mbn_status mbn_run(mbn *m, const int8_t *image, const int8_t **output) {
  const size_t row = (size_t)m->file->in_w * m->file->in_c;
  mbn_status status = mbn_begin(m);
  if (!status && mbn_input(m) == image && image) m->row = m->file->in_h;
  while (!status && m->row < m->file->in_h) status = mbn_push_row(m, image + m->row * row);
  return status ? status : mbn_finish(m, output);
}
