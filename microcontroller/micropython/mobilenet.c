/* `import mobilenet` for MicroPython: one source for a native module (.mpy, by `mobilenet micropython module`) and for a
 * USER_C_MODULE of a custom firmware (micropython.mk, micropython.cmake).
 *
 *     m = mobilenet.Model("/rom/digits.mbn")     # a path, an open file or a buffer; weights are read where they lie
 *     m.predict(image)                           # int8 scores; allocates nothing
 *     m.top(3)                                   # [("seven", 0.98), ...]
 *
 * An exception, a Ctrl-C too, leaves a run at any moment: what begins a run puts the engine's context right again. Nothing
 * that Python can do between two calls is trusted: a bytearray that grew, an arena that was written to, or a file that
 * was changed is met with an exception.
 */
#include <stdarg.h> /* first: py/mpprint.h asks whether it was */
#include <string.h>
#if MICROPY_ENABLE_DYNRUNTIME
#include "py/dynruntime.h"
#define mp_type_MemoryError (*(mp_obj_type_t *)(mp_load_global(MP_QSTR_MemoryError)))
#define nlr_push (mp_fun_table.nlr_push)
#define nlr_pop (mp_fun_table.nlr_pop)
#define m_malloc_maybe(n) m_realloc_maybe(NULL, (n), false)
#else
#include "py/binary.h"
#include "py/builtin.h"
#include "py/nlr.h"
#include "py/objtuple.h"
#include "py/runtime.h"
#endif
#include "mbn.h"

#define PAUSES 32 /* of the engine's pauses, one serves Ctrl-C or the user's function */

typedef struct {
  mp_obj_base_t base;
  mp_obj_t file;          /* whose buffer holds the model: kept, so that it stays where it is */
  const uint8_t *bytes;   /* of that buffer */
  size_t file_bytes;
  mp_obj_t arena;         /* the user's buffer, or None */
  uint8_t *given;         /* where that buffer was when it was given */
  size_t given_bytes;
  void *place;            /* the arena: in that buffer, aligned, or on the heap */
  size_t arena_bytes;
  int8_t *row;            /* (in_w, in_c) on the heap */
  size_t row_bytes;
  mp_obj_t scores;        /* array('b') */
  mp_obj_t served;        /* called at pauses: the user's function, or None */
  mp_obj_t sleep_ms;      /* a native module has no other way to Ctrl-C */
  mbn *m;                 /* NULL: no run has begun */
  uint32_t tables_bytes, tables;  /* of the file: how many, and their hash when the run began */
  uint32_t states_at, states_bytes; /* in the arena: where the steps of the first stage stand */
  uint32_t seal;          /* of context and states, as the last call left them */
  uint32_t heap_bytes;    /* that the file was read into */
  uint16_t pauses;
  uint8_t running, scored;
} model;

enum { AUTO, GRAY, RGB565, RGB888, RGB565_BE, INT8, FORMATS };

/* ---- errors: a sentence, and what to do ---- */

typedef struct { char text[240]; size_t n; } sentence;

static void keep(void *data, const char *text, size_t n) {
  sentence *s = data;
  for (; n && s->n < sizeof s->text; n--) s->text[s->n++] = *text++;
}

static MP_NORETURN void fail(const mp_obj_type_t *type, const char *format, ...) {
  sentence s;
  const mp_print_t to = {&s, keep};
  va_list args;
  s.n = 0;
  va_start(args, format);
  mp_vprintf(&to, format, args);
  va_end(args);
  mp_raise_type_arg(type, mp_obj_new_str(s.text, s.n));
}

static void check(mbn_status status) {
  if (status == MBN_OK) return;
  fail(status >= MBN_TOO_FEW_ROWS && status != MBN_NO_PIXELS ? &mp_type_RuntimeError : &mp_type_ValueError, "%s", mbn_status_text(status));
}

/* ---- what a model was made of is still there ---- */

static const mbn_header *header_of(const model *self) { return (const mbn_header *)(const void *)self->bytes; }

static void still_there(model *self) {
  mp_buffer_info_t now;
  if (!mp_get_buffer(self->file, &now, MP_BUFFER_READ) || now.buf != self->bytes || now.len < self->file_bytes)
    fail(&mp_type_RuntimeError, "The buffer with the model moved or shrank since Model() was made: make a new one.");
  if (self->arena == mp_const_none) return;
  if (!mp_get_buffer(self->arena, &now, MP_BUFFER_WRITE) || now.buf != self->given || now.len < self->given_bytes)
    fail(&mp_type_RuntimeError, "The arena's buffer moved or shrank since Model() was made: make a new one.");
}

/* Everything that reads the file first asks whether it still is one: a bytearray can be written to, flash too. */
static const mbn_header *checked(model *self) {
  const mbn_header *h = header_of(self);
  still_there(self);
  check(mbn_check(h, self->file_bytes, 0));
  if (h->arena_bytes > self->arena_bytes || (size_t)h->in_w * h->in_c != self->row_bytes)
    fail(&mp_type_RuntimeError, "The buffer holds another model than when Model() was made: make a new one.");
  return h;
}

/* Between two calls, and whenever Python runs in the middle of one, someone may write into the file's tables, or into what
 * the engine knows of a run: its context, and where steps stand. Wrong numbers there would lead it out of its arena. */

static uint32_t hash(uint32_t found, const void *from, size_t bytes) { /* FNV-1a, of words */
  const uint32_t *word = from;
  for (; bytes; bytes -= 4) found = (found ^ *word++) * 16777619u;
  return found;
}

static uint32_t tables_of(const model *self) { return hash(2166136261u, self->bytes, self->tables_bytes); }

static uint32_t state_of(const model *self) {
  const uint8_t *arena = self->place;
  return hash(hash(2166136261u, arena, MBN_CONTEXT_BYTES), arena + self->states_at, self->states_bytes);
}

static void remember_tables(model *self, const mbn_header *h) {
  const mbn_stage *first = (const mbn_stage *)(const void *)(mbn_outputs(h) + h->outputs);
  self->states_at = MBN_CONTEXT_BYTES + h->kept_bytes, self->states_bytes = first->states * MBN_STATE_BYTES;
  self->tables_bytes = (uint32_t)((const uint8_t *)(first + h->stages) - self->bytes) + h->steps * (uint32_t)sizeof(mbn_step);
  self->tables = tables_of(self);
}

static void unchanged(model *self, uint32_t state) {
  still_there(self);
  if (self->tables != tables_of(self)) fail(&mp_type_RuntimeError, "The model was written to during a run: call begin() again.");
  if (state != state_of(self)) fail(&mp_type_RuntimeError, "The arena was written to during a run: call begin() again.");
}

/* ---- pixels ---- */

static const uint8_t sizes[FORMATS] = {[GRAY] = 1, [RGB565] = 2, [RGB888] = 3, [RGB565_BE] = 2};

/* The format of `n` bytes for so many pixels: said, or told by their number. */
static int format_of(const mbn_header *h, const mp_buffer_info_t *buffer, int format, int32_t rows) {
  const size_t pixels = (size_t)h->in_w * (size_t)rows;
  const char *what = rows > 1 ? "image" : "row";
  if (format < AUTO || format >= FORMATS) fail(&mp_type_ValueError, "There is no format %d: GRAY, RGB565, RGB888, RGB565_BE or INT8.", format);
  if (format == AUTO && buffer->typecode == 'b') format = INT8;
  for (int f = GRAY; format == AUTO && f <= RGB888; f++) if (buffer->len == f * pixels) format = f;
  const size_t wanted = pixels * (format == INT8 ? h->in_c : sizes[format]);
  if (format != AUTO && format != INT8 && (!h->pixels || (h->in_c != 1 && h->in_c != 3)))
    fail(&mp_type_ValueError, "The model does not say how pixels become its %dx%dx%d input: give int8, as array('b') or format=mobilenet.INT8.", h->in_h, h->in_w, h->in_c);
  if (format == AUTO || buffer->len != wanted)
    fail(&mp_type_ValueError, "The %s has %u bytes. %dx%d pixels are %u of gray, %u of RGB565, %u of RGB888 or %u of int8.", what, (unsigned)buffer->len,
         (int)rows, h->in_w, (unsigned)pixels, (unsigned)(2 * pixels), (unsigned)(3 * pixels), (unsigned)(pixels * h->in_c));
  return format;
}

/* A pixel as red, green, blue. */
static void pixel(const uint8_t *p, int format, uint8_t rgb[3]) {
  if (format == RGB888) { rgb[0] = p[0], rgb[1] = p[1], rgb[2] = p[2]; return; }
  if (format == GRAY) { rgb[0] = rgb[1] = rgb[2] = p[0]; return; }
  const uint32_t v = format == RGB565 ? p[0] | p[1] << 8 : p[1] | p[0] << 8, r = v >> 11, g = v >> 5 & 63, b = v & 31;
  rgb[0] = (uint8_t)(r << 3 | r >> 2), rgb[1] = (uint8_t)(g << 2 | g >> 4), rgb[2] = (uint8_t)(b << 3 | b >> 2);
}

/* Row `y` of `rows` as the engine takes it. It is copied: whoever is called at a pause may change the image. */
static const int8_t *row_of(model *self, mp_obj_t image, int format, int32_t y, int32_t rows) {
  const mbn_header *h = header_of(self);
  mp_buffer_info_t buffer;
  if (!mp_get_buffer(image, &buffer, MP_BUFFER_READ)) fail(&mp_type_ValueError, "An image is a buffer: bytes, bytearray, memoryview or array. Received: %q", mp_obj_get_type(image)->name);
  format = format_of(h, &buffer, format, rows);
  const int32_t size = format == INT8 ? h->in_c : sizes[format];
  const uint8_t *p = (const uint8_t *)buffer.buf + y * h->in_w * size;
  if (format == INT8) { memmove(self->row, p, (size_t)(h->in_w * size)); return self->row; }
  const int8_t *table = (const int8_t *)self->bytes + h->pixels; /* (in_c, 256) */
  int8_t *row = self->row;
  for (int32_t x = 0; x < h->in_w; x++, p += size) {
    uint8_t rgb[3];
    pixel(p, format, rgb);
    if (h->in_c == 1 && size > 1) rgb[0] = (uint8_t)((19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 0x8000) >> 16); /* ITU-R 601, as PIL's "L" */
    for (int32_t c = 0; c < h->in_c; c++) *row++ = table[c * 256 + rgb[h->flags & MBN_BGR ? h->in_c - 1 - c : c]];
  }
  return self->row;
}

/* ---- runs ---- */

static int on_pause(void *user) {
  model *self = user;
  if (self->pauses++ % PAUSES) return 0;
  const uint32_t state = state_of(self);
  if (self->served != mp_const_none) mp_call_function_n_kw(self->served, 0, 0, NULL);
#if MICROPY_ENABLE_DYNRUNTIME
  const mp_obj_t nothing = mp_obj_new_int(0);
  mp_call_function_n_kw(self->sleep_ms, 1, 0, &nothing);
#else
  mp_handle_pending(true);
#endif
  unchanged(self, state);
  return 0;
}

static void keep_scores(model *self, const int8_t *output) {
  mp_buffer_info_t scores;
  mp_get_buffer_raise(self->scores, &scores, MP_BUFFER_WRITE);
  if (scores.len != mbn_outputs(self->bytes)->bytes) fail(&mp_type_RuntimeError, "The array m.scores was resized: make a new Model.");
  memmove(scores.buf, output, scores.len);
  self->scored = 1;
}

enum { BEGIN = 1, PUSH = 2, FINISH = 4, ALL = 7 };

static __attribute__((noinline)) void work(model *self, mp_obj_t image, int format, int what) {
  const int32_t rows = what == ALL ? header_of(self)->in_h : 1;
  const int8_t *output;
  if (what & BEGIN) {
    remember_tables(self, checked(self));
    if (what == ALL) row_of(self, image, format, 0, rows); /* a wrong image is told before anything is lost */
    self->m = NULL, self->scored = 0, self->pauses = 0;
    check(mbn_open(&self->m, self->bytes, self->file_bytes, self->place, self->arena_bytes, 0));
    mbn_on_yield(self->m, on_pause, self);
    check(mbn_begin(self->m));
  } else {
    if (!self->m) fail(&mp_type_RuntimeError, "No run has begun, or it ended with an exception: call begin() first.");
    unchanged(self, self->seal);
    if (!self->m->begun) fail(&mp_type_RuntimeError, "The run has finished: call begin() for the next image.");
    if ((what == PUSH) == (self->m->row == header_of(self)->in_h)) fail(&mp_type_RuntimeError, "%d of %d rows were pushed: finish() comes after the last.", self->m->row, header_of(self)->in_h);
  }
  if (what & PUSH) for (int32_t y = 0; y < rows; y++) check(mbn_push_row(self->m, row_of(self, image, format, y, rows)));
  if (what & FINISH) {
    check(mbn_finish(self->m, &output));
    keep_scores(self, output);
  }
  self->seal = state_of(self);
}

/* nlr_push returns twice. A compiler has to know that, else it reuses what it thinks is dead, and can be told only of a
 * function that it calls by name: this one, which leads there. */
#if !MICROPY_NLR_SETJMP && (defined(__thumb__) || defined(__x86_64__))
__attribute__((naked, noinline, returns_twice)) static unsigned int push(nlr_buf_t *buf, unsigned int (*to)(nlr_buf_t *)) {
#ifdef __thumb__
  __asm__ volatile("bx r1");
#else
  __asm__ volatile("jmp *%rsi");
#endif
}
#define PUSH(buf) push(buf, nlr_push)
#else
#define PUSH(buf) nlr_push(buf)
#endif

/* Whatever is raised on the way passes through here, and leaves a model that can begin again. */
static __attribute__((noinline)) mp_obj_t run(model *self, mp_obj_t image, int format, int what) {
  union { nlr_buf_t buf; void *words[2 + MICROPY_NLR_NUM_REGS_ARM_THUMB_FP + 1]; } nlr; /* as large as any firmware's */
  if (self->running) fail(&mp_type_RuntimeError, "The model is in the middle of a run: this was called from its own on_yield function or an interrupt.");
  if (PUSH(&nlr.buf)) {
    if (self->m && (self->m->busy || self->m->status)) self->m = NULL;
    self->running = 0;
    nlr_raise(MP_OBJ_FROM_PTR(nlr.buf.ret_val));
  }
  self->running = 1; /* inside: the unix port raises KeyboardInterrupt between any two instructions */
  work(self, image, format, what);
  self->running = 0;
  nlr_pop();
  return what & FINISH ? self->scores : mp_const_none;
}

static int format_arg(size_t n_args, const mp_obj_t *args) { return n_args > 2 ? (int)mp_obj_get_int(args[2]) : AUTO; }

static mp_obj_t predict(size_t n_args, const mp_obj_t *args) { return run(MP_OBJ_TO_PTR(args[0]), args[1], format_arg(n_args, args), ALL); }
static mp_obj_t begin(size_t n_args, const mp_obj_t *args) { return run(MP_OBJ_TO_PTR(args[0]), mp_const_none, AUTO, BEGIN); }
static mp_obj_t push_row(size_t n_args, const mp_obj_t *args) { return run(MP_OBJ_TO_PTR(args[0]), args[1], format_arg(n_args, args), PUSH); }
static mp_obj_t finish(size_t n_args, const mp_obj_t *args) { return run(MP_OBJ_TO_PTR(args[0]), mp_const_none, AUTO, FINISH); }

static mp_obj_t on_yield(size_t n_args, const mp_obj_t *args) {
  model *self = MP_OBJ_TO_PTR(args[0]);
  /* An object of a class without __call__ passes, as its type has the slot: calling it is an exception then. */
  if (args[1] != mp_const_none && !MP_OBJ_TYPE_HAS_SLOT(mp_obj_get_type(args[1]), call))
    fail(&mp_type_TypeError, "A function without arguments was expected, which is called between groups of pixels, or None.");
  self->served = args[1];
  return mp_const_none;
}

/* ---- results ---- */

static void has_scores(const model *self) {
  if (!self->scored) fail(&mp_type_RuntimeError, "There are no scores yet: call predict(image), or begin(), push_row(row) and finish().");
}

static mp_obj_t shape_of(uint32_t h, uint32_t w, uint32_t c) {
  const mp_obj_t shape[3] = {mp_obj_new_int(h), mp_obj_new_int(w), mp_obj_new_int(c)};
  return mp_obj_new_tuple(3, shape);
}

static mp_obj_t label(const mbn_header *h, uint32_t i) {
  const char *text = mbn_label(h, i), *end = text;
  if (!text) return mp_obj_new_int((mp_int_t)i);
  while (*end) end++;
  return mp_obj_new_str(text, (size_t)(end - text));
}

static mp_obj_t labels(const mbn_header *h) {
  mp_obj_t all = mp_obj_new_tuple(h->labels, NULL);
  for (uint32_t i = 0; i < h->labels; i++) ((mp_obj_tuple_t *)MP_OBJ_TO_PTR(all))->items[i] = label(h, i);
  return all;
}

/* A float from its bits and by Python's own arithmetic: how floats are passed differs between firmwares of one arch. */
static mp_obj_t real(const mbn_output *o, int8_t q) {
  const mp_obj_t scale = mp_binary_get_val_array('f', (void *)(uintptr_t)&o->scale, 0);
  return mp_binary_op(MP_BINARY_OP_MULTIPLY, mp_obj_new_int(q - o->zero), scale);
}

static mp_obj_t top(size_t n_args, const mp_obj_t *args) {
  model *self = MP_OBJ_TO_PTR(args[0]);
  const mbn_header *h = checked(self);
  mp_buffer_info_t scores;
  has_scores(self);
  mp_get_buffer_raise(self->scores, &scores, MP_BUFFER_READ);
  const mp_int_t k = n_args > 1 ? mp_obj_get_int(args[1]) : 5, n = (mp_int_t)scores.len;
  mp_obj_t found = mp_obj_new_list(0, NULL);
  for (mp_int_t i = 0, last = -1; i < k && i < n; i++) { /* the next one in order of (score, index) */
    mp_int_t best = -1;
    const int8_t *q = scores.buf;
    for (mp_int_t j = 0; j < n; j++)
      if ((last < 0 || q[j] < q[last] || (q[j] == q[last] && j > last)) && (best < 0 || q[j] > q[best])) best = j;
    const mp_obj_t pair[2] = {label(h, (uint32_t)best), real(mbn_outputs(h), q[best])};
    mp_obj_list_append(found, mp_obj_new_tuple(2, pair));
    last = best;
  }
  return found;
}

static mp_obj_t output(size_t n_args, const mp_obj_t *args) {
  model *self = MP_OBJ_TO_PTR(args[0]);
  const mbn_header *h = checked(self);
  const mp_int_t k = n_args > 1 ? mp_obj_get_int(args[1]) : 0;
  if (k < 0 || k >= h->outputs) fail(&mp_type_ValueError, "The model has %d outputs, counted from 0. Received: %d", h->outputs, (int)k);
  if (!self->m || !self->scored || self->m->begun || self->running) fail(&mp_type_RuntimeError, "There is no output yet: it can be read between finish() and the next begin().");
  return mp_obj_new_bytes((const uint8_t *)self->place + mbn_outputs(h)[k].at, mbn_outputs(h)[k].bytes);
}

/* ---- attributes ---- */

static mp_obj_t input_shape(const mbn_header *h) { return shape_of(h->in_h, h->in_w, h->in_c); }
static mp_obj_t output_shape(const mbn_output *o) { return shape_of(o->h, o->w, o->c); }
static mp_obj_t metadata(const mbn_header *h) { return mp_obj_new_str((const char *)h + h->metadata, h->metadata_bytes); }

static mp_obj_t attribute(model *self, qstr name) { /* MP_OBJ_NULL: none, so perhaps a method */
  if (name == MP_QSTR_scores) { has_scores(self); return self->scores; }
  if (name == MP_QSTR_labels) return labels(checked(self));
  if (name == MP_QSTR_metadata) return metadata(checked(self));
  if (name == MP_QSTR_input_shape) return input_shape(checked(self));
  if (name == MP_QSTR_output_shape) return output_shape(mbn_outputs(checked(self)));
  if (name == MP_QSTR_arena_bytes) return mp_obj_new_int_from_uint(checked(self)->arena_bytes);
  if (name == MP_QSTR_model_bytes) return mp_obj_new_int_from_uint(checked(self)->file_bytes);
  if (name == MP_QSTR_heap_bytes) return mp_obj_new_int_from_uint(self->heap_bytes);
  return MP_OBJ_NULL;
}

static void model_attr(mp_obj_t self, qstr name, mp_obj_t *dest) {
  if (dest[0] != MP_OBJ_NULL) return; /* attributes are only read */
  dest[0] = attribute(MP_OBJ_TO_PTR(self), name);
  if (dest[0] == MP_OBJ_NULL) dest[1] = MP_OBJ_SENTINEL;
}

static mp_obj_t info(size_t n_args, const mp_obj_t *args) {
  model *self = MP_OBJ_TO_PTR(args[0]);
  const qstr names[] = {MP_QSTR_input_shape, MP_QSTR_output_shape, MP_QSTR_labels, MP_QSTR_arena_bytes, MP_QSTR_model_bytes, MP_QSTR_heap_bytes, MP_QSTR_metadata};
  mp_obj_t found = mp_obj_new_dict(0);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) mp_obj_dict_store(found, MP_OBJ_NEW_QSTR(names[i]), attribute(self, names[i]));
  return found;
}

static void model_print(const mp_print_t *print, mp_obj_t o, mp_print_kind_t kind) {
  const model *self = MP_OBJ_TO_PTR(o);
  mp_printf(print, "<Model: %u bytes %s, arena of %u>", (unsigned)self->file_bytes, self->heap_bytes ? "copied to the heap" : "used in place", (unsigned)self->arena_bytes);
}

/* ---- Model(model, arena=None, verify=True) ---- */

static void *heap(size_t n, const char *what, const char *hint) {
  void *found = m_malloc_maybe(n);
  if (!found) fail(&mp_type_MemoryError, "%s needs %u bytes of the heap in one piece. %s", what, (unsigned)n, hint);
  return found;
}

static mp_obj_t call_with(mp_obj_t object, qstr method, size_t n, mp_obj_t a, mp_obj_t b) {
  const mp_obj_t args[2] = {a, b};
  return mp_call_function_n_kw(mp_load_attr(object, method), n, 0, args);
}

/* A file that can't be used in place is read once. */
static mp_obj_t read_whole(model *self, mp_obj_t file) {
  mp_obj_t method[2];
  mp_load_method_maybe(file, MP_QSTR_readinto, method);
  if (method[0] == MP_OBJ_NULL) fail(&mp_type_ValueError, "A model is a path, an open file or a buffer. Received: %q", mp_obj_get_type(file)->name);
  const mp_int_t n = mp_obj_get_int(call_with(file, MP_QSTR_seek, 2, mp_obj_new_int(0), mp_obj_new_int(2)));
  if (n < (mp_int_t)sizeof(mbn_header) || n > MBN_MAX_BYTES) check(MBN_CUT_SHORT);
  call_with(file, MP_QSTR_seek, 1, mp_obj_new_int(0), MP_OBJ_NULL);
  uint8_t *bytes = heap((size_t)n, "This file can't be used in place: it", "Put it into a ROMFS, or into flash above the firmware: mobilenet micropython flash");
  self->bytes = bytes, self->heap_bytes = (uint32_t)n;
  for (mp_int_t done = 0, more; done < n; done += more) {
    mp_obj_t left = mp_obj_new_bytearray_by_ref((size_t)(n - done), bytes + done);
    mp_obj_t got = call_with(file, MP_QSTR_readinto, 1, left, MP_OBJ_NULL);
    more = got == mp_const_none ? 0 : mp_obj_get_int(got);
    if (more <= 0 || more > n - done) check(MBN_CUT_SHORT);
  }
  return mp_obj_new_bytearray_by_ref((size_t)n, bytes);
}

static void take_model(model *self, mp_obj_t given) {
  const int path = mp_obj_get_type(given) == &mp_type_str;
  mp_buffer_info_t buffer;
  if (path) given = call_with(mp_import_name(MP_QSTR_io, mp_const_none, mp_obj_new_int(0)), MP_QSTR_open, 2, given, MP_OBJ_NEW_QSTR(MP_QSTR_rb));
  self->file = given;
  if (!mp_get_buffer(given, &buffer, MP_BUFFER_READ)) { /* a file in a ROMFS is a buffer */
    self->file = read_whole(self, given);
    if (path) call_with(given, MP_QSTR_close, 0, MP_OBJ_NULL, MP_OBJ_NULL);
    mp_get_buffer_raise(self->file, &buffer, MP_BUFFER_READ);
  }
  self->bytes = buffer.buf, self->file_bytes = buffer.len;
  if ((uintptr_t)buffer.buf % 4)
    fail(&mp_type_ValueError, "The model lies %d bytes behind a multiple of 4: put it where mobilenet micropython flash puts it, which aligns it, or copy it with Model(bytearray(buffer)).",
         (int)((uintptr_t)buffer.buf % 4));
}

static void take_arena(model *self, mp_obj_t given) {
  const size_t wanted = mbn_arena_bytes(self->bytes), align = sizeof(void *);
  mp_buffer_info_t buffer;
  self->arena = given;
  if (given == mp_const_none) {
    self->place = heap(wanted, "The arena", "Make the model at the start of the program, after gc.collect(), or take a smaller one.");
    self->arena_bytes = wanted;
    return;
  }
  if (!mp_get_buffer(given, &buffer, MP_BUFFER_WRITE)) fail(&mp_type_ValueError, "The arena is a buffer to write to, as bytearray(%u). Received: %q", (unsigned)wanted, mp_obj_get_type(given)->name);
  const size_t skip = -(uintptr_t)buffer.buf % align;
  if (buffer.len < wanted + skip)
    fail(&mp_type_ValueError, "The arena takes %u bytes from a multiple of %d on, so %u here. Received: %u", (unsigned)wanted, (int)align, (unsigned)(wanted + skip), (unsigned)buffer.len);
  self->given = buffer.buf, self->given_bytes = buffer.len;
  self->place = self->given + skip, self->arena_bytes = buffer.len - skip;
  if (self->given < self->bytes + self->file_bytes && self->bytes < self->given + buffer.len) fail(&mp_type_ValueError, "The arena overlaps the model: give it a buffer of its own.");
}

static mp_obj_t new_scores(const model *self) { /* array('b') of as many bytes; the arena's are taken, for want of others */
  const size_t n = mbn_outputs(self->bytes)->bytes;
  mp_obj_t array = mp_import_name(MP_QSTR_array, mp_const_none, mp_obj_new_int(0));
  return call_with(array, MP_QSTR_array, 2, MP_OBJ_NEW_QSTR(MP_QSTR_b), mp_obj_new_bytes(self->place, n));
}

static mp_obj_t model_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
  enum { MODEL, ARENA, VERIFY, ARGS };
  const mp_arg_t allowed[ARGS] = {
    {MP_QSTR_model, MP_ARG_OBJ | MP_ARG_REQUIRED, {.u_obj = MP_OBJ_NULL}},
    {MP_QSTR_arena, MP_ARG_OBJ, {.u_obj = mp_const_none}},
    {MP_QSTR_verify, MP_ARG_BOOL, {.u_bool = true}},
  };
  mp_arg_val_t given[ARGS];
  mp_arg_parse_all_kw_array(n_args, n_kw, args, ARGS, allowed, given);
  model *self = mp_obj_malloc(model, type);
  memset(&self->file, 0, sizeof *self - offsetof(model, file));
  self->served = mp_const_none;
  take_model(self, given[MODEL].u_obj);
  check(mbn_check(self->bytes, self->file_bytes, 0));
  if (given[VERIFY].u_bool) check(mbn_verify(self->bytes, self->file_bytes));
  take_arena(self, given[ARENA].u_obj);
  self->row_bytes = (size_t)header_of(self)->in_w * header_of(self)->in_c;
  self->row = heap(self->row_bytes, "A row of the image", "Take a smaller model.");
  self->scores = new_scores(self);
#if MICROPY_ENABLE_DYNRUNTIME
  self->sleep_ms = mp_load_attr(mp_import_name(MP_QSTR_time, mp_const_none, mp_obj_new_int(0)), MP_QSTR_sleep_ms);
#endif
  return MP_OBJ_FROM_PTR(self);
}

/* ---- the module ---- */

#define METHODS(X) X(predict, 2, 3) X(begin, 1, 1) X(push_row, 2, 3) X(finish, 1, 1) X(top, 1, 2) X(output, 1, 2) X(info, 1, 1) X(on_yield, 2, 2)
#define FORMATS_OF(X) X(GRAY) X(RGB565) X(RGB888) X(RGB565_BE) X(INT8)

#define FUNCTION(name, least, most) static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(name##_obj, least, most, name);
METHODS(FUNCTION)

#if MICROPY_ENABLE_DYNRUNTIME

#define COUNT(...) + 1
static mp_map_elem_t methods[METHODS(COUNT)];
static MP_DEFINE_CONST_DICT(methods_dict, methods);
static mp_obj_full_type_t type;

__attribute__((section(".text.mpy_init"), visibility("default")))
mp_obj_t mpy_init(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args) {
  MP_DYNRUNTIME_INIT_ENTRY
  size_t n = 0;
#define METHOD(name, least, most) methods[n++] = (mp_map_elem_t){MP_OBJ_NEW_QSTR(MP_QSTR_##name), MP_OBJ_FROM_PTR(&name##_obj)};
  METHODS(METHOD)
  type.base.type = &mp_type_type;
  type.name = MP_QSTR_Model;
  MP_OBJ_TYPE_SET_SLOT(&type, make_new, model_make_new, 0);
  MP_OBJ_TYPE_SET_SLOT(&type, print, model_print, 1);
  MP_OBJ_TYPE_SET_SLOT(&type, attr, model_attr, 2);
  MP_OBJ_TYPE_SET_SLOT(&type, locals_dict, &methods_dict, 3);
  mp_store_global(MP_QSTR_Model, MP_OBJ_FROM_PTR(&type));
#define CONSTANT(name) mp_store_global(MP_QSTR_##name, mp_obj_new_int(name));
  FORMATS_OF(CONSTANT)
  MP_DYNRUNTIME_INIT_EXIT
}

/* Of the C library the engine needs these, and a compiler may ask for them anywhere. */
void *memcpy(void *to, const void *from, size_t n) { return mp_fun_table.memmove_(to, from, n); }
void *memmove(void *to, const void *from, size_t n) { return mp_fun_table.memmove_(to, from, n); }
void *memset(void *to, int value, size_t n) { return mp_fun_table.memset_(to, value, n); }

#else

#define METHOD(name, least, most) {MP_ROM_QSTR(MP_QSTR_##name), MP_ROM_PTR(&name##_obj)},
static const mp_rom_map_elem_t methods[] = {METHODS(METHOD)};
static MP_DEFINE_CONST_DICT(methods_dict, methods);
static MP_DEFINE_CONST_OBJ_TYPE(type, MP_QSTR_Model, MP_TYPE_FLAG_NONE, make_new, model_make_new, print, model_print, attr, model_attr, locals_dict, &methods_dict);

#define CONSTANT(name) {MP_ROM_QSTR(MP_QSTR_##name), MP_ROM_INT(name)},
static const mp_rom_map_elem_t globals[] = {
  {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_mobilenet)},
  {MP_ROM_QSTR(MP_QSTR_Model), MP_ROM_PTR(&type)},
  FORMATS_OF(CONSTANT)
};
static MP_DEFINE_CONST_DICT(globals_dict, globals);
const mp_obj_module_t mobilenet_module = {.base = {&mp_type_module}, .globals = (mp_obj_dict_t *)&globals_dict};
MP_REGISTER_MODULE(MP_QSTR_mobilenet, mobilenet_module);

#endif
