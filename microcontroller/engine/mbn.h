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
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

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
  X(MBN_STOPPED, "The yield function asked to stop: call mbn_begin to start again.")
#define MBN_NAME(name, sentence) name,
typedef enum { MBN_STATUSES(MBN_NAME) MBN_STATUS_COUNT } mbn_status;
#undef MBN_NAME

/* Steps. A head gathers its input and decides when a group of pixels can be made: rings and sums. The others take the
 * group that the step before made, and make one of as many pixels. */
typedef enum {
  MBN_CONV,           /* weights (out_c, kh, kw, in_c); a head unless it is 1x1 with stride 1 */
  MBN_DEPTHWISE,      /* weights (kh, kw, out_c); output channel c reads input channel c / (out_c / in_c); a head */
  MBN_MAX_POOL,       /* of kh x kw pixels; a head */
  MBN_AVERAGE_POOL,   /* of kh x kw pixels, as TFLM's AVERAGE_POOL_2D; a head */
  MBN_ADD,            /* its input plus the pixels that a TEE put aside */
  MBN_MEAN,           /* of the whole map, as TFLM's MEAN; a head */
  MBN_GLOBAL_AVERAGE, /* of the whole map, as TFLM's AVERAGE_POOL_2D; a head */
  MBN_SOFTMAX,        /* over the channels */
  MBN_LOOKUP,         /* each byte through a table, as LOGISTIC */
  MBN_TEE,            /* puts its input aside for an ADD or a RECALL and passes it on */
  MBN_KEEP,           /* writes its input into an output of the model and passes it on */
  MBN_RECALL,         /* drops its input and goes on with the pixels that a TEE put aside: where branches begin */
  MBN_OPS
} mbn_op;

#define MBN_HEAD 1        /* flags of a step */
#define MBN_COUNTS_PADS 2 /* a pool whose taps outside the map count as zero_in: a PAD was folded into it */
#define MBN_HELD 1        /* flags of a file: the input lies in the arena */
#define MBN_NCHW 2        /* the .tflite took (channels, height, width); here rows are (width, channels) all the same */
#define MBN_BGR 4         /* channel 0 of the input is blue */

/* The file: header, outputs, stages, steps, then constants. Offsets count from the header's first byte. */
typedef struct {
  uint32_t magic;           /* "MBN1" */
  uint16_t version;         /* 1 */
  uint16_t layout;          /* of the weights: 0 is portable */
  uint32_t file_bytes;      /* all of it, metadata too */
  uint32_t crc;             /* CRC-32 (IEEE 802.3) of the whole file with this field zero */
  uint32_t arena_bytes;     /* everything the engine writes, but the C stack */
  uint16_t flags;           /* MBN_HELD, MBN_NCHW, MBN_BGR */
  uint16_t align;           /* that the file needs in memory: 4 */
  uint16_t stages, steps, outputs, labels; /* how many */
  uint16_t in_h, in_w, in_c; /* the input, NHWC */
  uint16_t reserved;
  uint32_t in_scale;        /* bits of a float32: real = (q - in_zero) * in_scale */
  int32_t in_zero;          /* likewise */
  uint32_t kept_bytes;      /* of the outputs that KEEPs write, behind the context */
  uint32_t pixels;          /* file offset: int8 input[in_c][256] for each value of a photo's channel; 0: unknown */
  uint32_t label_text, label_bytes;  /* file offset and length: UTF-8 strings, each ended by a 0 */
  uint32_t metadata, metadata_bytes; /* file offset and length: JSON with name and preprocessing */
} mbn_header; /* 72 bytes */

typedef struct {
  uint32_t at, bytes;       /* arena offset, valid behind mbn_finish; height * width * channels */
  uint16_t h, w, c;         /* int8, NHWC */
  uint16_t reserved;
  uint32_t scale;           /* bits of a float32: real = (q - zero) * scale */
  int32_t zero;             /* likewise */
} mbn_output; /* 24 bytes */

typedef struct {
  uint16_t first, count;    /* steps */
  uint16_t group;           /* pixels of a row that are fed at once */
  uint16_t states;          /* of its steps */
  uint32_t in_bytes;        /* of the whole map it reads, which ends where the arena ends; 0: rows are pushed */
  uint32_t out;             /* arena offset of the map it writes, over input that was consumed */
  uint32_t out_bytes;       /* of that map */
} mbn_stage; /* 20 bytes */

typedef struct {
  uint8_t op, flags;        /* mbn_op; MBN_HEAD, MBN_COUNTS_PADS */
  uint8_t kh, kw, sh, sw;   /* kernel and stride */
  uint8_t pt, pl;           /* rows and columns of padding before the first; after the last they follow from the shapes */
  uint16_t in_h, in_w, in_c, out_h, out_w, out_c; /* of its maps, NHWC */
  int8_t zero_in, zero_other, zero_out; /* zero points; other: of what a TEE put aside */
  int8_t low, high;         /* bounds of the output: the fused activation */
  uint8_t reserved;
  uint16_t group;           /* a head makes at most so many pixels at once */
  uint32_t out;             /* arena offset of its output group, or MBN_DIRECT */
  uint32_t buffer;          /* arena offset of its ring, sums, pixels put aside or kept */
  uint32_t capacity;        /* TEE, ADD, RECALL and KEEP: pixels that fit there */
  uint32_t state;           /* which state is its own; an ADD's or RECALL's is its TEE's */
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
  struct { uint32_t in, out, level; } aside;   /* TEE, KEEP: pixel positions in the buffer, and how many are there */
  struct { uint32_t count, done; } sum;        /* pixels that were added up */
} mbn_state;

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
mbn_status mbn_row(const void *file, const uint8_t *photo, int8_t *row); /* (in_w, in_c) of a photo, red first or gray -> input */
const char *mbn_sentence(mbn_status status);

mbn_status mbn_open(mbn **m, const void *file, uint32_t file_bytes, void *arena, uint32_t arena_bytes, uint64_t max_work);
mbn_status mbn_begin(mbn *m);
mbn_status mbn_push_row(mbn *m, const int8_t *row);             /* row: (in_w, in_c) */
mbn_status mbn_finish(mbn *m, const int8_t **output);           /* output 0, until the next mbn_begin */
mbn_status mbn_run(mbn *m, const int8_t *image, const int8_t **output); /* image: (in_h, in_w, in_c) */
const int8_t *mbn_result(const mbn *m, uint32_t k);             /* output k, likewise; NULL if there is none */
int8_t *mbn_input(mbn *m);            /* held: where the image belongs; consumed by mbn_run; NULL if it is streamed */

/* `yield` is called between any two groups of pixels, to serve a watchdog or a radio; what it returns stops the inference
 * with MBN_STOPPED, unless it is 0. It may run other models, not this one. NULL: none. */
void mbn_on_yield(mbn *m, int (*yield)(void *user), void *user);

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

/* Where nearly all time is spent. With -DMBN_IN_RAM these functions are in a section of their own, which a linker script can put
 * into RAM, away from a slow or cached flash. */
#ifdef MBN_IN_RAM
#define MBN_HOT __attribute__((section(".mbn_hot")))
#else
#define MBN_HOT
#endif
extern const mbn_kernel mbn_kernels[1][MBN_OPS]; /* by layout and op; sums, TEE, KEEP and RECALL have none */

void mbn_sum_add(int32_t *sums, const int8_t *pixels, int32_t n, int32_t channels); /* pixels: (n, channels) */
void mbn_sum_end(const mbn_step *step, const int32_t *constants, const int32_t *sums, int8_t *out); /* out: (out_c) */

#ifdef MBN_COUNT /* tests: how many pixels each step has made */
extern uint32_t mbn_counts[MBN_MAX_STEPS];
#endif

#ifdef __cplusplus
}
#endif
#endif
