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
 *       static uint32_t arena[...];                                // mbn_arena_bytes(), which `mobilenet compile` prints
 *       if (mbn_open(&m, file, file_bytes, arena, sizeof arena, 0) != MBN_OK) ...
 *       mbn_begin(m);
 *       for (y = 0; y < height; y++) mbn_push_row(m, camera_row());
 *       mbn_finish(m, &scores);                                    // int8, lies in the arena until the next mbn_begin
 */
#ifndef MBN_H
#define MBN_H
#include <stdint.h>

#define MBN_MAGIC 0x314e424du /* "MBN1" */
#define MBN_VERSION 1
#define MBN_CONTEXT_BYTES 48  /* of struct mbn, at the start of the arena; the states follow */
#define MBN_STATE_BYTES 12    /* of a state */
#define MBN_MAX_KERNEL 7      /* rows and columns of a kernel */
#define MBN_MAX_TAPS 32768    /* kernel rows * columns * input channels: the sum of so many products fits in 31 bits */
#define MBN_MAX_STEPS 1024
#define MBN_MAX_BYTES (1 << 30) /* of a file, an arena, a row: offsets inside them fit in 31 bits */
#define MBN_DIRECT 0xffffffffu /* a step's output goes straight into the next ring, or the stage's output */

/* status: one sentence for each in mbn_sentence(). */
#define MBN_STATUSES(X) \
  X(MBN_OK, "Done.") \
  X(MBN_NOT_A_MODEL, "The file does not begin with MBN1: it is no compiled model.") \
  X(MBN_VERSION_UNKNOWN, "The file has another version than this engine: compile the model again, or update the firmware.") \
  X(MBN_LAYOUT_UNKNOWN, "The weights are laid out for other kernels than this engine has: compile with --target portable.") \
  X(MBN_CUT_SHORT, "The file is shorter than it says.") \
  X(MBN_MISALIGNED, "The file or the arena does not start at a multiple of its alignment.") \
  X(MBN_ARENA_TOO_SMALL, "The arena is smaller than mbn_arena_bytes().") \
  X(MBN_BROKEN, "The file contradicts itself: it was damaged, or not made by the compiler.") \
  X(MBN_TOO_MUCH_WORK, "The model computes more than the limit that was given to mbn_open.") \
  X(MBN_CRC, "The checksum is wrong: the file was damaged after it was made.") \
  X(MBN_TOO_FEW_ROWS, "mbn_finish was called before all rows were pushed.") \
  X(MBN_TOO_MANY_ROWS, "More rows were pushed than the input has, or none was expected: call mbn_begin first.") \
  X(MBN_HELD_ONLY, "mbn_input needs a model compiled with --input held.")
#define MBN_NAME(name, sentence) name,
typedef enum { MBN_STATUSES(MBN_NAME) MBN_STATUS_COUNT } mbn_status;
#undef MBN_NAME

/* Steps. A head gathers its input and decides when a group of pixels can be made: rings and pools. The others take the
 * group that the step before made, and make one of as many pixels. */
typedef enum {
  MBN_CONV,      /* weights (out_c, kh, kw, in_c); a head unless it is 1x1 with stride 1 */
  MBN_DEPTHWISE, /* weights (kh, kw, out_c); output channel c reads input channel c / (out_c / in_c); a head */
  MBN_ADD,       /* its input plus the pixels that a TEE put aside */
  MBN_MEAN,      /* of the whole map, as TFLM's MEAN; a head */
  MBN_AVERAGE,   /* of the whole map, as TFLM's AVERAGE_POOL_2D; a head */
  MBN_SOFTMAX,   /* over the channels */
  MBN_LOOKUP,    /* each byte through a table, as LOGISTIC */
  MBN_TEE,       /* puts its input aside for an ADD and passes it on */
  MBN_OPS
} mbn_op;

#define MBN_HEAD 1 /* flag of a step */
#define MBN_HELD 1 /* flag of a file: the input lies in the arena */

/* The file: header, stages, steps, then constants. Offsets count from the header's first byte. */
typedef struct {
  uint32_t magic;
  uint16_t version;
  uint16_t layout;          /* of the weights: 0 is portable */
  uint32_t file_bytes;      /* all of it, metadata too */
  uint32_t crc;             /* CRC-32 (IEEE 802.3) of the whole file with this field zero */
  uint32_t arena_bytes;     /* everything the engine writes, but the C stack */
  uint16_t flags;           /* MBN_HELD */
  uint16_t stages, steps;   /* how many */
  uint16_t align;           /* that the file needs in memory: 4 */
  uint16_t in_h, in_w, in_c; /* the input, NHWC */
  uint16_t states;          /* the most that a stage needs */
  uint32_t out_bytes;       /* of the output */
  uint32_t in_scale, out_scale; /* bits of a float32: real = (q - zero) * scale */
  int32_t in_zero, out_zero;
  uint32_t metadata, metadata_bytes; /* where, and how long: JSON with labels and preprocessing */
} mbn_header; /* 64 bytes */

typedef struct {
  uint16_t first, count;    /* steps */
  uint16_t group;           /* pixels of a row that are fed at once */
  uint16_t reserved;
  uint32_t in_bytes;        /* of the whole map it reads, which ends where the arena ends; 0: rows are pushed */
  uint32_t out;             /* arena offset of the map it writes, over input that was consumed */
  uint32_t out_bytes;
} mbn_stage; /* 20 bytes */

typedef struct {
  uint8_t op, flags;
  uint8_t kh, kw, sh, sw;   /* kernel and stride */
  uint8_t pt, pl;           /* rows and columns of padding before the first; after the last they follow from the shapes */
  uint16_t in_h, in_w, in_c, out_h, out_w, out_c;
  int8_t zero_in, zero_other, zero_out; /* zero points; other: of what a TEE put aside */
  int8_t low, high;         /* bounds of the output: the fused activation */
  uint8_t reserved;
  uint16_t group;           /* a head makes at most so many pixels at once */
  uint32_t out;             /* arena offset of its output group, or MBN_DIRECT */
  uint32_t buffer;          /* arena offset of its ring, sums or pixels put aside */
  uint32_t capacity;        /* TEE and ADD: pixels that fit there */
  uint32_t state;           /* which state is its own; an ADD's is its TEE's */
  uint32_t weights;         /* file offset */
  uint32_t constants;       /* file offset: CONV, DEPTHWISE int32 bias[out_c], int32 multiplier[out_c], int8 shift[out_c];
                               ADD int32 {multiplier, shift} of input, other, output; MEAN int32 {multiplier, shift};
                               SOFTMAX int32 exponent[256], by how far a value lies below the largest;
                               LOOKUP int8 output[256], for inputs from -128 on */
} mbn_step; /* 52 bytes */

/* State of a step: where it stands. */
typedef union {
  struct { uint16_t x, y;   /* the next input pixel */
           uint16_t ox, oy; /* the next output pixel */
           uint16_t base;   /* column of the window's first pixel */
           uint16_t reserved; } ring;
  struct { uint32_t in, out, level; } aside;   /* pixel positions in the buffer, and how many are there */
  struct { uint32_t count, done; } pool;       /* pixels that were added up */
} mbn_state;

typedef struct mbn {
  const mbn_header *file;
  uint16_t stage;           /* that runs */
  uint16_t row;             /* the next one of the input */
  uint32_t written;         /* bytes of the stage's output */
  uint32_t read;            /* arena offset behind the pixels of the stage's input that were read */
  uint32_t status;          /* the first that was not MBN_OK since mbn_begin */
  uint32_t begun;
  void (*yield)(void *user); /* if set, called between groups: to serve a watchdog or a radio */
  void *user;
} mbn;

/* Check everything that the file says about itself, but not its checksum. `max_work` bounds the multiply-adds and bytes
 * moved of one inference; 0 is no bound. */
mbn_status mbn_check(const void *file, uint32_t file_bytes, uint64_t max_work);
mbn_status mbn_verify(const void *file, uint32_t file_bytes);   /* the checksum */
uint32_t mbn_arena_bytes(const void *file);                     /* of a file that mbn_check accepts */
mbn_status mbn_open(mbn **m, const void *file, uint32_t file_bytes, void *arena, uint32_t arena_bytes, uint64_t max_work);

mbn_status mbn_begin(mbn *m);
mbn_status mbn_push_row(mbn *m, const int8_t *row);             /* row: (in_w, in_c) */
mbn_status mbn_finish(mbn *m, const int8_t **output);           /* output: (out_bytes), until the next mbn_begin */
mbn_status mbn_run(mbn *m, const int8_t *image, const int8_t **output); /* image: (in_h, in_w, in_c) */
int8_t *mbn_input(mbn *m);            /* held: where the image belongs; consumed by mbn_run; NULL if it is streamed */
const char *mbn_sentence(mbn_status status);

/* The kernel contract. A kernel makes `n` pixels of one row. It gets row pointers, each contiguous, and the taps that lie
 * inside the map, and knows nothing of rings or stages. Taps outside count as zero_in. `bias` holds -zero_in * sum(weights)
 * already, so taps outside add zero_in * weight back. */
typedef struct {
  const mbn_step *step;
  const int8_t *row[MBN_MAX_KERNEL]; /* (columns, in_c) each; row[0] is the input of steps that are no head */
  int32_t ky0, ky1;          /* kernel rows ky0 <= ky < ky1 lie inside the map */
  int32_t column;            /* of tap 0 of the first output, counted from row[]; negative: outside on the left */
  int32_t width;             /* columns from row[] to the right edge */
  int32_t n;                 /* output pixels */
  const int8_t *other;       /* ADD: (n, out_c) */
  const int8_t *weights;
  const int32_t *constants;
  int8_t *out;               /* (n, out_c) */
} mbn_call;
typedef void (*mbn_kernel)(const mbn_call *call);
extern const mbn_kernel mbn_kernels[1][MBN_OPS]; /* by layout and op; pools and TEE have none */

void mbn_pool_add(int32_t *sums, const int8_t *pixels, int32_t n, int32_t channels); /* pixels: (n, channels) */
void mbn_pool_end(const mbn_step *step, const int32_t *constants, const int32_t *sums, int8_t *out); /* out: (out_c) */

#ifdef MBN_COUNT /* tests: how many pixels each step has made */
extern uint32_t mbn_counts[MBN_MAX_STEPS];
#endif
#endif
