/* mbn: a row-streaming int8 engine for MobileNets.
 *
 *   A compiled model (`.mbn`) is a plan: stages of steps, where every buffer of every step has its place in one arena.
 *   A stage runs depth-first: as soon as a step has the rows that its kernel needs, it makes a few pixels of one row and
 *   hands them on, so that only rings of k-1 rows are kept instead of whole maps. Nothing is computed twice.
 *
 *       row of the camera --> | conv 3x3 | --> | depthwise 3x3 | --> conv 1x1 --> ... --> whole map of the stage
 *                             2 rows + window    2 rows + window      (no memory)
 *
 *   Arithmetic is TensorFlow Lite Micro's, bit for bit. C99; no heap, no recursion, no floating point; of the C library
 *   only memcpy, memmove and memset, which a freestanding compiler may call anyway. Little-endian cores only.
 *
 *       mbn *m;
 *       static uint32_t arena[...];                                // mbn_arena_bytes(), which `mobilenet compile` prints; aligned as a pointer
 *       if (mbn_open(&m, file, file_bytes, arena, sizeof arena, 0) != MBN_OK) ...
 *       mbn_begin(m);
 *       for (y = 0; y < height; y++) mbn_push_row(m, camera_row());
 *       mbn_finish(m, &scores);                                    // int8, lies in the arena until the next mbn_begin
 */
#ifndef MBN_H
#define MBN_H
#include "mbn_format.h"
#ifdef __cplusplus
extern "C" {
#endif

/* Statuses: what is said of each, mbn_status_text() gives. */
#define MBN_STATUSES(X) \
  X(MBN_OK, "Done.") \
  X(MBN_NOT_A_MODEL, "The file does not begin with MBN1: it is no compiled model.") \
  X(MBN_VERSION_UNKNOWN, "The file has another version than this engine: compile the model again, or update the firmware.") \
  X(MBN_LAYOUT_UNKNOWN, "The weights are laid out for other kernels than this engine has: compile it for this engine.") \
  X(MBN_CUT_SHORT, "The file is shorter than it says.") \
  X(MBN_MISALIGNED, "The file or the arena does not start at a multiple of its alignment.") \
  X(MBN_ARENA_TOO_SMALL, "The arena is smaller than mbn_arena_bytes().") \
  X(MBN_BROKEN, "The file contradicts itself: it was damaged, or not made by the compiler.") \
  X(MBN_TOO_MUCH_WORK, "The model computes more than the limit that was given to mbn_open.") \
  X(MBN_CRC, "The checksum is wrong: the file was damaged after it was made.") \
  X(MBN_TOO_FEW_ROWS, "mbn_finish was called before all rows were pushed.") \
  X(MBN_TOO_MANY_ROWS, "More rows were pushed than the input has, or none was expected: call mbn_begin first.") \
  X(MBN_NO_PIXELS, "The file does not say how photos become its input: prepare the int8 rows yourself.") \
  X(MBN_BUSY, "The model is in the middle of a call: this was called from its own yield function.") \
  X(MBN_STOPPED, "The yield function asked to stop: call mbn_begin to start again.") \
  MBN_STATUSES_2(X)
#if MBN_MINOR > 1
#define MBN_STATUSES_2(X) \
  X(MBN_TOO_MANY_ALIKE, "So many classes are about as likely as the best one that the sum of a SOFTMAX exceeds 32 bits, which TensorFlow Lite Micro does not define.")
#else
#define MBN_STATUSES_2(X)
#endif
#define MBN_NAME(name, text) name,
typedef enum { MBN_STATUSES(MBN_NAME) MBN_STATUS_COUNT } mbn_status;
#undef MBN_NAME

typedef struct mbn {
  const mbn_header *file;
  uint16_t stage;           /* that runs */
  uint16_t row;             /* the next one of the input */
  uint32_t written;         /* bytes of the stage's output */
  uint32_t read;            /* arena offset behind the pixels of the stage's input that were read */
  uint32_t status;          /* the first that was not MBN_OK since mbn_begin */
  uint16_t begun, busy;
  int (*yield)(void *user); /* see mbn_on_yield */
  void *user;
} mbn;

/* Check everything that the file says about itself, but not its checksum. `max_work` bounds the multiply-adds and bytes
 * moved of one inference; 0 is no bound. The functions that take a `file` and no size need one that this accepted. */
mbn_status mbn_check(const void *file, uint32_t file_bytes, uint64_t max_work);
mbn_status mbn_verify(const void *file, uint32_t file_bytes);   /* the checksum */
uint32_t mbn_arena_bytes(const void *file);
const mbn_output *mbn_outputs(const void *file);                /* (outputs,) */
const char *mbn_label(const void *file, uint32_t i);            /* UTF-8; NULL if there is none */
mbn_status mbn_quantize_row(const void *file, const uint8_t *photo, int8_t *row); /* (in_w, in_c) of a photo, red first or gray -> input */
const char *mbn_status_text(mbn_status status);

mbn_status mbn_open(mbn **m, const void *file, uint32_t file_bytes, void *arena, uint32_t arena_bytes, uint64_t max_work);
mbn_status mbn_begin(mbn *m);
mbn_status mbn_push_row(mbn *m, const int8_t *row);             /* row: (in_w, in_c) */
mbn_status mbn_finish(mbn *m, const int8_t **output);           /* output 0, until the next mbn_begin */
mbn_status mbn_run(mbn *m, const int8_t *image, const int8_t **output); /* image: (in_h, in_w, in_c) */
const int8_t *mbn_get_output(const mbn *m, uint32_t k);         /* output k, likewise; NULL if there is none */
int8_t *mbn_input(mbn *m);            /* held: where the image belongs; consumed by mbn_run; NULL if it is streamed */

/* `yield` is called between any two groups of pixels, to serve a watchdog or a radio; what it returns stops the inference
 * with MBN_STOPPED, unless it is 0. It may run other models, not this one. NULL: none. */
void mbn_on_yield(mbn *m, int (*yield)(void *user), void *user);

#if MBN_CORES > 1 /* -DMBN_CORES=2: a second core makes a part of what each kernel makes. Untested on hardware; mbn_cores.h says how. */
/* Serves the first core for ever: to be called on the second. `scratch`, aligned to 4, is its own; a step that wants more of it than
 * there is runs on the first core alone, as all do until the second core is here. One first core at a time may run models, and no
 * interrupt of it. */
void mbn_second_core(void *scratch, uint32_t scratch_bytes);
uint32_t mbn_second_core_scratch(const void *file); /* bytes that suffice for all steps */
uint32_t mbn_second_core_jobs(void);                /* how many it has done */
#endif

#ifdef __cplusplus
}
#endif
#endif
