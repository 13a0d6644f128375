/* Opening a file without believing it: every number in it is a stranger's. */
#include "mbn.h"
#include "kernels/packed.h"
#include <stddef.h>

typedef char file_fits[sizeof(mbn_header) == 72 && sizeof(mbn_output) == 24 && sizeof(mbn_stage) == 24 && sizeof(mbn_step) == 52 ? 1 : -1];

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

static const int32_t *words_at(const checker *c, uint32_t at) { return (const int32_t *)(const void *)(mbn_bytes(c->h) + at); }

/* Whether the file says that its engine must know minor 2: its flags meant nothing before. */
#define IS_MINOR_2(c) (MBN_MINOR > 1 && (c)->h->version >> 8 > 1)

/* Pairs of (multiplier, shift): a shift of more than `most` would leave the range in which TFLM's arithmetic is defined. */
static int scales_ok(const int32_t *k, int pairs, int32_t most) {
  for (; pairs; pairs--, k += 2) if (k[0] < 0 || k[1] < -31 || k[1] > most) return 0;
  return 1;
}

/* The kernel covers the input: no output looks only at padding, and no row of input is left when all outputs are made. */
static int covers(uint32_t in, uint32_t out, uint32_t k, uint32_t s, uint32_t pad, int all) {
  return k >= 1 && s >= 1 && pad < k && (out - 1) * s < in + pad && (!all || out * s + k - 1 >= in + pad);
}

/* A window of kernel and stride, padded. */
static int window_ok(const mbn_step *s) {
  return covers(s->in_h, s->out_h, s->kh, s->sh, s->pt, 1) && covers(s->in_w, s->out_w, s->kw, s->sw, s->pl, 0);
}

/* Weights of the file's layout, whose extents and shifts its kernels rely on. */
static int packed_ok(const checker *c, const mbn_step *s) {
  const int layout = c->h->layout;
  const mbn_extent e = mbn_packed_extent(layout, s);
  if (mbn_taps_of(s) > MBN_MAX_TAPS || !e.weights || s->weights % 4 || !in_file(c, s->weights, e.weights)) return 0;
  if (s->constants % 4 || !in_file(c, s->constants, e.constants)) return 0;
  for (int32_t o = 0; o < s->out_c; o++) {
    const mbn_scale k = mbn_packed_scale(layout, s, (const int8_t *)words_at(c, s->weights), words_at(c, s->constants), o);
    if (k.multiplier < 0 || k.right < 1 || k.right > 30) return 0;
  }
  return 1;
}

static int convolution_ok(const checker *c, const mbn_step *dilated) {
  const mbn_step dense = mbn_dense(dilated), *s = &dense;
  if (s->kh > MBN_MAX_KERNEL || s->kw > MBN_MAX_KERNEL) return 0;
  if (MBN_PACKS && s->packed) return packed_ok(c, s);
  const uint32_t taps = s->op == MBN_CONV ? (uint32_t)s->kh * s->kw * s->in_c : (uint32_t)s->kh * s->kw;
  if (taps > MBN_MAX_TAPS || !in_file(c, s->weights, (uint64_t)(mbn_is_int4(s) ? (taps + 1) / 2 : taps) * s->out_c)) return 0;
  if (s->op == MBN_DEPTHWISE && s->out_c % s->in_c) return 0;
  if (!words_in_file(c, s->constants, 2 * (uint64_t)s->out_c) || !in_file(c, s->constants, 9 * (uint64_t)s->out_c)) return 0;
  const int32_t *multiplier = words_at(c, s->constants) + s->out_c; /* behind the biases, which may be anything */
  const int8_t *shift = (const int8_t *)(multiplier + s->out_c);
  for (int32_t i = 0; i < s->out_c; i++)
    if (multiplier[i] < 0 || shift[i] < -31 || shift[i] > 30) return 0;
  return 1;
}

static int softmax_ok(const checker *c, const mbn_step *s) {
  if ((s->out_c > 4095 && !IS_MINOR_2(c)) || !words_in_file(c, s->constants, 256)) return 0; /* 4096 exponentials of 2^19 overflow: before minor 2 none came so far */
  const int32_t *exponent = words_at(c, s->constants);
  for (int i = 0; i < 256; i++) if (exponent[i] < 0) return 0;
  return exponent[0] == INT32_MAX;
}

static int same_map(const mbn_step *s) { return s->in_h == s->out_h && s->in_w == s->out_w && s->in_c == s->out_c; }

static uint64_t ring_bytes(const mbn_step *s, uint32_t group) {
  const uint32_t window = group + s->kw - 1u < s->in_w ? group + s->kw - 1u : s->in_w;
  return ((s->kh - 1u) * (uint64_t)s->in_w + window) * s->in_c;
}

/* Taps of a dilated kernel: a whole number of steps from the first to the last. */
static int dilation_ok(const mbn_step *s) {
  const uint32_t rows = s->capacity & 255, columns = s->capacity >> 8;
  return !s->capacity || (rows && columns && columns < 256 && (s->kh - 1u) % rows == 0 && (s->kw - 1u) % columns == 0 && s->kh && s->kw && (s->kh > 1 || s->kw > 1));
}

/* Each row and column of the output lies at one of the input, or between that and the next, and no row lies above the one before. */
static int resize_ok(const checker *c, const mbn_step *s) {
  const uint32_t n = (uint32_t)s->out_h + s->out_w;
  if (s->in_c != s->out_c || s->in_h > 32767 || s->in_w > 32767 || !words_in_file(c, s->constants, n)) return 0;
  const int16_t *at = (const int16_t *)(const void *)words_at(c, s->constants);
  for (uint32_t i = 0; i < n; i++, at += 2) {
    if (at[0] < 0 || at[1] < 0 || at[1] > 1023 || at[0] + (at[1] != 0) >= (i < s->out_h ? s->in_h : s->in_w)) return 0;
    if (i && i < s->out_h && (at[0] < at[-2] || (at[0] == at[-2] && at[1] < at[-1]))) return 0;
  }
  return in_arena(c, s->buffer, 2 * (uint64_t)s->in_w * s->in_c);
}

/* A whole map of so many channels, where KEEPs write: between context and states, or behind the states of the stage. */
static int kept_ok(const checker *c, const mbn_step *s, int32_t channels) {
  const uint64_t bytes = (uint64_t)s->capacity * (uint32_t)channels;
  if (s->capacity != (uint32_t)s->in_h * s->in_w && !(s->capacity == 1 && mbn_takes_aside(s))) return 0;
  return in_arena(c, s->buffer, bytes) || (s->buffer >= MBN_CONTEXT_BYTES && s->buffer + bytes <= MBN_CONTEXT_BYTES + (uint64_t)c->h->kept_bytes);
}

/* Where a step finds the pixels that it takes: kept, or put aside. */
static int taken_ok(const checker *c, const mbn_step *s) {
  return mbn_has(s, MBN_FROM_KEPT) ? kept_ok(c, s, mbn_other_c(s)) : s->capacity && in_arena(c, s->buffer, (uint64_t)s->capacity * (uint32_t)mbn_other_c(s));
}

/* Flags and zero points that its op has; those that came with minor 1 only where the file says it, since before they meant nothing. */
static int has_its_own(const checker *c, const mbn_step *s, int head) {
  const int minor = MBN_MINOR && c->h->version >> 8, conv = s->op == MBN_CONV;
  const int dense = conv && !s->capacity && !(s->packed | s->pt | s->pl) && s->kh <= s->in_h && s->kw <= s->in_w && (!head || (uint32_t)s->out_h * s->out_w == 1);
  int may = mbn_is_pool(s) ? MBN_COUNTS_PADS : 0;
  if (!minor && (s->op >= MBN_AGAIN || (head && s->capacity))) return 0;
  if (minor) may |= s->op == MBN_CONCAT ? MBN_OTHER_FIRST | MBN_FROM_KEPT : mbn_takes_aside(s) ? MBN_FROM_KEPT : dense ? MBN_ONCE : s->op == MBN_AVERAGE_POOL || s->op == MBN_GLOBAL_AVERAGE || s->op == MBN_RESIZE ? MBN_UNSIGNED : 0;
  if (conv && IS_MINOR_2(c) && !s->zero_other && !(s->flags & MBN_ONCE)) may |= MBN_INT4;
  return (s->flags & ~may) == (head ? MBN_HEAD : 0) && (!s->zero_other || s->op == MBN_ADD || (minor && (conv || s->op == MBN_DEPTHWISE || s->op == MBN_MUL)));
}

/* One step, whose input comes in groups of up to `group` pixels. */
static int step_ok(const checker *c, const mbn_step *s, uint32_t group) {
  const int head = s->op == MBN_DEPTHWISE || s->op == MBN_RESIZE || mbn_is_pool(s) || mbn_is_sum(s) ||
                   (s->op == MBN_CONV && (s->kh != 1 || s->kw != 1 || s->sh != 1 || s->sw != 1));
  if (s->op >= MBN_OPS || !has_its_own(c, s, head)) return 0;
  if (s->packed > MBN_PACKS || (s->packed && (c->h->layout == MBN_PORTABLE || (s->op != MBN_CONV && s->op != MBN_DEPTHWISE)))) return 0;
  if (s->low > s->high || !s->out_h || !s->out_w || !s->out_c) return 0;
  if (head && (!s->group || s->group > s->out_w)) return 0;
  switch (s->op) {
    case MBN_CONV:
    case MBN_DEPTHWISE:
      if (!dilation_ok(s) || !window_ok(s) || !convolution_ok(c, s)) return 0;
      return head ? in_arena(c, s->buffer, ring_bytes(s, group)) : s->in_h == s->out_h && s->in_w == s->out_w;
    case MBN_MAX_POOL:
    case MBN_AVERAGE_POOL: return window_ok(s) && s->kh <= MBN_MAX_KERNEL && s->kw <= MBN_MAX_KERNEL && !s->capacity && s->in_c == s->out_c && in_arena(c, s->buffer, ring_bytes(s, group));
    case MBN_MEAN:
    case MBN_GLOBAL_AVERAGE:
      return s->out_h == 1 && s->out_w == 1 && s->in_c == s->out_c && (uint32_t)s->in_h * s->in_w <= 65536 &&
             s->buffer % 4 == 0 && in_arena(c, s->buffer, 4 * (uint64_t)s->in_c) &&
             (s->op == MBN_GLOBAL_AVERAGE || (words_in_file(c, s->constants, 2) && scales_ok(words_at(c, s->constants), 1, 30)));
    case MBN_SOFTMAX: return same_map(s) && softmax_ok(c, s);
    case MBN_LOOKUP: return same_map(s) && in_file(c, s->constants, 256);
    case MBN_ARG_MAX: return s->in_h == s->out_h && s->in_w == s->out_w && s->out_c == 1 && s->in_c <= 256;
    case MBN_RESIZE: return MBN_MINOR && resize_ok(c, s);
    case MBN_KEEP:
    case MBN_AGAIN: return same_map(s) && kept_ok(c, s, s->in_c);
    case MBN_CONCAT: if (s->in_c >= s->out_c) return 0; /* then as a RECALL */ /* fall through */
    case MBN_RECALL: return s->in_h == s->out_h && s->in_w == s->out_w && taken_ok(c, s);
    case MBN_MUL: return same_map(s) && words_in_file(c, s->constants, 2) && scales_ok(words_at(c, s->constants), 1, 14) && taken_ok(c, s);
    case MBN_ADD: return same_map(s) && words_in_file(c, s->constants, 6) && scales_ok(words_at(c, s->constants), 3, 0) && taken_ok(c, s);
    default: break;
  }
  return same_map(s) && s->capacity && in_arena(c, s->buffer, (uint64_t)s->capacity * s->in_c);
}

/* The output group of step i of a stage has a place: in the arena, in the next ring, or in the stage's output. */
static int place_ok(const checker *c, const mbn_step *s, int last, uint32_t group) {
  if (mbn_is_aside(s) || s->op == MBN_AGAIN) return s->op != MBN_TEE || !last;
  return s->out == MBN_DIRECT ? last || mbn_is_ring(s + 1) : in_arena(c, s->out, (uint64_t)group * s->out_c);
}

/* States: heads, TEEs, KEEPs and those that take a kept map number theirs in order, so that no two share one; those that take
 * a TEE's pixels have that of a TEE before them. */
static int state_ok(const mbn_step *first, const mbn_step *s, uint32_t *states) {
  if (!mbn_takes_aside(s) || mbn_has(s, MBN_FROM_KEPT))
    return !(mbn_is_head(s) || mbn_is_aside(s) || mbn_takes_aside(s)) || s->state == (*states)++;
  for (const mbn_step *tee = first; tee < s; tee++)
    if (tee->op == MBN_TEE && tee->state == s->state)
      return tee->buffer == s->buffer && tee->capacity == s->capacity && tee->in_c == mbn_other_c(s);
  return 0;
}

typedef struct { uint64_t at, end; } range;

static int disjoint(range a, range b) { return a.end <= b.at || b.end <= a.at; }

static range range_of(uint32_t at, uint64_t n) {
  const range found = {at, at + n};
  return found;
}

/* Reads a map that an earlier stage kept. */
static int reads_kept(const mbn_step *s) { return MBN_MINOR && (s->op == MBN_AGAIN || (mbn_takes_aside(s) && s->flags & MBN_FROM_KEPT)); }

/* What a step keeps between calls; those that take what was put aside keep nothing of their own. */
static range state_range(const mbn_step *s, uint32_t group) {
  if (mbn_is_sum(s)) return range_of(s->buffer, 4 * (uint64_t)s->in_c);
  if (mbn_is_aside(s) || s->op == MBN_AGAIN) return range_of(s->buffer, (uint64_t)s->capacity * s->in_c);
  if (s->op == MBN_RESIZE) return range_of(s->buffer, 2 * (uint64_t)s->in_w * s->in_c);
  if (reads_kept(s)) return range_of(s->buffer, (uint64_t)s->capacity * (uint32_t)mbn_other_c(s));
  return range_of(s->buffer, mbn_is_head(s) ? ring_bytes(s, group) : 0);
}

/* Where its output group passes. */
static range output_range(const mbn_step *s, uint32_t group) {
  return range_of(s->out, s->out == MBN_DIRECT || mbn_is_aside(s) ? 0 : (uint64_t)group * s->out_c);
}

/* No buffer of a stage lies in another, in the map it reads or in the one it writes; groups in transit may share. */
static int buffers_ok(const checker *c, const mbn_stage *st, const mbn_step *first) {
  const mbn_step *end = first + st->count;
  const range in = range_of(c->h->arena_bytes - st->in_bytes, st->in_bytes), out = range_of(st->out, st->out_bytes);
  uint32_t a_in = st->group, a_out, b_in, b_out;
  uint32_t most = 0;
  for (const mbn_step *a = first; a < end; a++) most = mbn_scratch_bytes(c->h->layout, a) > most ? mbn_scratch_bytes(c->h->layout, a) : most;
  const range scratch = range_of(st->scratch, most);
  if (most && (st->scratch % 4 || !in_arena(c, st->scratch, most) || !disjoint(scratch, in) || !disjoint(scratch, out))) return 0;
  for (const mbn_step *a = first; a < end; a++, a_in = a_out) {
    a_out = mbn_is_head(a) ? a->group : a_in;
    const range kept = state_range(a, a_in), passed = output_range(a, a_out);
    if (!disjoint(kept, in) || !disjoint(kept, out) || !disjoint(passed, in) || !disjoint(passed, out)) return 0;
    if (!disjoint(scratch, kept) || !disjoint(scratch, passed)) return 0;
    b_in = st->group;
    for (const mbn_step *b = first; b < end; b++, b_in = b_out) {
      b_out = mbn_is_head(b) ? b->group : b_in;
      if ((b > a && !(reads_kept(a) && reads_kept(b)) && !disjoint(kept, state_range(b, b_in))) || !disjoint(kept, output_range(b, b_out))) return 0;
    }
  }
  return 1;
}

static mbn_status stage_ok(checker *c, const mbn_stage *st, uint32_t *h, uint32_t *w, uint32_t *ch) {
  const mbn_step *first = mbn_step_table(c->h) + st->first, *s = first;
  const int again = first->op == MBN_AGAIN;
  if (again) *h = first->in_h, *w = first->in_w, *ch = first->in_c;
  const uint64_t in = (uint64_t)*h * *w * *ch;
  uint32_t group = st->group, states = 0;
  c->reserved = MBN_CONTEXT_BYTES + c->h->kept_bytes + (uint32_t)st->states * MBN_STATE_BYTES;
  if (!st->count || !group || group > *w || c->reserved > c->h->arena_bytes) return MBN_BROKEN;
  if (st->in_bytes && (st->in_bytes != in || in > c->h->arena_bytes - c->reserved)) return MBN_BROKEN;
  for (int i = 0; i < st->count; i++, s++) {
    if (s->in_h != *h || s->in_w != *w || s->in_c != *ch || (s->op == MBN_AGAIN && i) || !step_ok(c, s, group) || !state_ok(first, s, &states)) return MBN_BROKEN;
    if (mbn_is_head(s)) group = s->group;
    if (!place_ok(c, s, i == st->count - 1, group)) return MBN_BROKEN;
    if ((uint64_t)s->in_w * s->in_c > MBN_MAX_BYTES || (uint64_t)s->out_w * s->out_c > MBN_MAX_BYTES) return MBN_BROKEN;
    const uint64_t per = s->op == MBN_CONV ? (uint64_t)s->kh * s->kw * s->in_c : mbn_is_ring(s) ? (uint64_t)s->kh * s->kw : 1;
    c->work += (uint64_t)s->out_h * s->out_w * s->out_c * per + (uint64_t)s->in_h * s->in_w * s->in_c; /* < 2^32 * 2^32 */
    if (c->work >> 62) return MBN_TOO_MUCH_WORK;
    *h = s->out_h, *w = s->out_w, *ch = s->out_c;
  }
  return states == st->states && st->out_bytes == (uint64_t)*h * *w * *ch && in_arena(c, st->out, st->out_bytes) && buffers_ok(c, st, first) ? MBN_OK : MBN_BROKEN;
}

/* An output is one that a KEEP wrote, or what the last stage made: (h, w, ch), at the end of the arena. */
static int output_ok(const mbn_header *h, const mbn_output *o, uint32_t height, uint32_t width, uint32_t channels) {
  if (!o->bytes || o->bytes != (uint64_t)o->h * o->w * o->c || o->at < MBN_CONTEXT_BYTES) return 0;
  const int last = o->h == height && o->w == width && o->c == channels && o->bytes <= h->arena_bytes && o->at == h->arena_bytes - o->bytes;
  return last || o->at + (uint64_t)o->bytes <= (h->version >> 8 ? h->arena_bytes : MBN_CONTEXT_BYTES + (uint64_t)h->kept_bytes);
}

static int labels_ok(const checker *c) {
  const mbn_header *h = c->h;
  uint32_t ends = 0;
  if (!in_file(c, h->label_text, h->label_bytes) || (h->label_bytes && mbn_bytes(h)[h->label_text + h->label_bytes - 1])) return 0;
  for (uint32_t i = 0; i < h->label_bytes; i++) ends += !mbn_bytes(h)[h->label_text + i];
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
  if ((h->version & 255) != MBN_VERSION || h->version >> 8 > MBN_MINOR) return MBN_VERSION_UNKNOWN;
  if (h->layout >= MBN_LAYOUTS || !mbn_kernels[h->layout][MBN_CONV]) return MBN_LAYOUT_UNKNOWN;
  if (h->file_bytes > file_bytes) return MBN_CUT_SHORT;
  if (!header_ok(&c)) return MBN_BROKEN;
  uint32_t height = h->in_h, width = h->in_w, channels = h->in_c, steps = 0;
  for (int i = 0; i < h->stages; i++) {
    const mbn_stage *st = mbn_stage_table(h) + i;
    if (st->first != steps || st->count > h->steps - steps) return MBN_BROKEN;
    if (!st->count || ((mbn_step_table(h) + st->first)->op == MBN_AGAIN && !i)) return MBN_BROKEN;
    if ((st->in_bytes == 0) != ((mbn_step_table(h) + st->first)->op == MBN_AGAIN || (i == 0 && !(h->flags & MBN_HELD)))) return MBN_BROKEN;
    const mbn_status status = stage_ok(&c, st, &height, &width, &channels);
    if (status) return status;
    steps += st->count;
  }
  for (int i = 0; i < h->outputs; i++) if (!output_ok(h, mbn_output_table(h) + i, height, width, channels)) return MBN_BROKEN;
  if (steps != h->steps) return MBN_BROKEN;
  return max_work && c.work > max_work ? MBN_TOO_MUCH_WORK : MBN_OK;
}

mbn_status mbn_verify(const void *file, uint32_t file_bytes) {
  const mbn_header *h = file;
  const uint32_t skip = offsetof(mbn_header, crc);
  if ((uintptr_t)file % 4) return MBN_MISALIGNED;
  if (file_bytes < sizeof *h || h->file_bytes > file_bytes) return MBN_CUT_SHORT;
  static const uint32_t halves[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                      0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
  uint32_t crc = 0xffffffffu;
  for (uint32_t i = 0; i < h->file_bytes; i++) { /* half a byte at a time: 1 KB of table would be a tenth of the engine */
    crc ^= i >= skip && i < skip + 4 ? 0 : mbn_bytes(h)[i];
    for (int half = 0; half < 2; half++) crc = crc >> 4 ^ halves[crc & 15];
  }
  return (crc ^ 0xffffffffu) == h->crc ? MBN_OK : MBN_CRC;
}

