/* The `.mbn` file: header, outputs, stages, steps, then constants. Offsets count from the header's first byte; all is little-endian.
 * mbn_check.c says what must hold, mbn_run.c what it means. */
#ifndef MBN_FORMAT_H
#define MBN_FORMAT_H
#include <stdint.h>

#define MBN_MAGIC 0x314e424du /* "MBN1" */
#define MBN_VERSION 2          /* the version's low byte: an engine reads its own, and no other */
#ifndef MBN_MINOR               /* its high byte: an engine reads all up to its own; a file has the least that it needs. 1: AGAIN, CONCAT, RESIZE, */
#define MBN_MINOR 2            /* ARG_MAX, MUL, MBN_FROM_KEPT, dilation, weights with a zero point, MBN_UNSIGNED, MBN_ONCE. 2: MBN_INT4, a SOFTMAX of more than */
#endif                         /* 4,095 channels. With -DMBN_MINOR=0 or 1 what came later is left out: a firmware whose only model needs none of 1 is 3 KB smaller */
#define MBN_CONTEXT_BYTES 48  /* of struct mbn, at the start of the arena; the states follow */
#define MBN_STATE_BYTES 12    /* of a state */
#define MBN_MAX_KERNEL 7      /* rows and columns of a kernel */
#define MBN_MAX_TAPS 32768    /* kernel rows * columns * input channels: the sum of so many products fits in 31 bits */
#define MBN_MAX_STEPS 1024
#define MBN_MAX_BYTES (1 << 30) /* of a file, an arena, a row: offsets inside them fit in 31 bits */
#define MBN_DIRECT 0xffffffffu /* a step's output goes straight into the next ring, or the stage's output */

/* How the weights of a file lie. A step whose shape has no place in the file's layout has portable weights all the same, and says
 * so. kernels/packed.h says how each layout packs a step; a build has portable kernels, and those of the layout that is the fastest
 * on its core. */
typedef enum {
  MBN_PORTABLE,       /* as mbn_op says */
  MBN_V6M,            /* two pixels in one multiplication: Cortex-M0, M0+, M3 */
  MBN_DSP,            /* two products an instruction: Cortex-M4, M7, M33 */
  MBN_MVE,            /* sixteen products an instruction: Cortex-M55 */
  MBN_LAYOUTS
} mbn_layout;

/* Steps. A head gathers its input and decides when a group of pixels can be made: rings and sums. The others take the
 * group that the step before made, and make one of as many pixels. */
typedef enum {
  MBN_CONV,           /* weights (out_c, kh, kw, in_c), less zero_other; a head unless it is 1x1 with stride 1 */
  MBN_DEPTHWISE,      /* weights (kh, kw, out_c), likewise; output channel c reads input channel c / (out_c / in_c); a head */
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
  MBN_AGAIN,          /* the first of a stage: another chain begins, with the map that a KEEP wrote, which the stage reads where it lies */
  MBN_CONCAT,         /* the channels of its input, then those of the pixels that a TEE put aside */
  MBN_RESIZE,         /* each pixel from the four around it, as TFLM's RESIZE_BILINEAR; a head */
  MBN_ARG_MAX,        /* which channel is the largest, the first of several: its number - 128 */
  MBN_MUL,            /* its input times the pixels that a TEE put aside, or times a kept one */
  MBN_OPS
} mbn_op;

#define MBN_HEAD 1        /* flags of a step */
#define MBN_COUNTS_PADS 2 /* a pool whose taps outside the map count as zero_in: a PAD was folded into it */
#define MBN_OTHER_FIRST 4 /* a CONCAT whose input comes second */
#define MBN_FROM_KEPT 8   /* an ADD, MUL, RECALL or CONCAT of pixels that a KEEP wrote, instead of a TEE */
#define MBN_UNSIGNED 16   /* an average of bytes that were unsigned: it rounds halves up, not away from zero */
#define MBN_ONCE 32       /* a CONV without padding whose sums are rounded once, halves up: a dense layer of unsigned bytes */
#define MBN_INT4 64       /* a CONV whose weights have 4 bits, -8 to 7, two in a byte */
#define MBN_HELD 1        /* flags of a file: the input lies in the arena */
#define MBN_NCHW 2        /* the .tflite took (channels, height, width); here rows are (width, channels) all the same */
#define MBN_BGR 4         /* channel 0 of the input is blue */

typedef struct {
  uint32_t magic;           /* "MBN1" */
  uint16_t version;         /* MBN_VERSION + 256 * minor */
  uint16_t layout;          /* of the weights: mbn_layout */
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
  uint32_t in_bytes;        /* of the whole map it reads, which ends where the arena ends; 0: rows are pushed, or it begins with AGAIN */
  uint32_t out;             /* arena offset of the map it writes, over input that was consumed */
  uint32_t out_bytes;       /* of that map */
  uint32_t scratch;         /* arena offset of what the kernels of its steps may use meanwhile: mbn_scratch_bytes of the hungriest; 0: none needs any */
} mbn_stage; /* 24 bytes */

typedef struct {
  uint8_t op, flags;        /* mbn_op; MBN_HEAD, MBN_COUNTS_PADS, MBN_OTHER_FIRST, MBN_FROM_KEPT, MBN_UNSIGNED, MBN_ONCE, MBN_INT4 */
  uint8_t kh, kw, sh, sw;   /* kernel and stride; of a dilated kernel, what it spans */
  uint8_t pt, pl;           /* rows and columns of padding before the first; after the last they follow from the shapes */
  uint16_t in_h, in_w, in_c, out_h, out_w, out_c; /* of its maps, NHWC */
  int8_t zero_in, zero_other, zero_out; /* zero points; other: of what a TEE put aside, or of the weights of CONV and DEPTHWISE */
  int8_t low, high;         /* bounds of the output: the fused activation */
  uint8_t packed;           /* 1: weights and constants lie as the file's layout says; 0: portable */
  uint16_t group;           /* a head makes at most so many pixels at once */
  uint32_t out;             /* arena offset of its output group, or MBN_DIRECT */
  uint32_t buffer;          /* arena offset of its ring, sums, pixels put aside or kept */
  uint32_t capacity;        /* TEE, KEEP, AGAIN and those that take their pixels: how many fit there; 1 of a larger map: the same for all.
                               CONV, DEPTHWISE: 0, or rows + 256 * columns from one tap of a dilated kernel to the next */
  uint32_t state;           /* which state is its own; those that take a TEE's pixels have the TEE's */
  uint32_t weights;         /* file offset; with MBN_INT4 of each output its taps, the first in the low half of a byte, or as kernels/packed.h says */
  uint32_t constants;       /* file offset: CONV, DEPTHWISE int32 bias[out_c], int32 multiplier[out_c], int8 shift[out_c];
                               ADD int32 {multiplier, shift} of input, other, output; MEAN and MUL int32 {multiplier, shift};
                               SOFTMAX int32 exponent[256], by how far a value lies below the largest;
                               LOOKUP int8 output[256], for inputs from -128 on;
                               RESIZE int16 {lower pixel, 1024ths of the next one}[out_h + out_w] */
} mbn_step; /* 52 bytes */

#ifndef __cplusplus /* what follows is for the engine itself */

static inline const uint8_t *mbn_bytes(const mbn_header *h) { return (const uint8_t *)h; }
static inline const mbn_output *mbn_output_table(const mbn_header *h) { return (const mbn_output *)(const void *)(h + 1); }
static inline const mbn_stage *mbn_stage_table(const mbn_header *h) { return (const mbn_stage *)(const void *)(mbn_output_table(h) + h->outputs); }
static inline const mbn_step *mbn_step_table(const mbn_header *h) { return (const mbn_step *)(const void *)(mbn_stage_table(h) + h->stages); }
static inline int mbn_zero_w(const mbn_step *s) { return MBN_MINOR ? s->zero_other : 0; } /* of the weights of CONV and DEPTHWISE */
static inline int mbn_has(const mbn_step *s, int flag) { return MBN_MINOR && s->flags & flag; } /* a flag of minor 1 */
static inline int mbn_is_int4(const mbn_step *s) { return MBN_MINOR > 1 && s->flags & MBN_INT4; }
static inline int mbn_is_head(const mbn_step *s) { return s->flags & MBN_HEAD; }
static inline int mbn_is_sum(const mbn_step *s) { return s->op == MBN_MEAN || s->op == MBN_GLOBAL_AVERAGE; }
static inline int mbn_is_pool(const mbn_step *s) { return s->op == MBN_MAX_POOL || s->op == MBN_AVERAGE_POOL; }
static inline int mbn_resizes(const mbn_step *s) { return MBN_MINOR && s->op == MBN_RESIZE; }
static inline int mbn_is_ring(const mbn_step *s) { return mbn_is_head(s) && !mbn_is_sum(s) && !mbn_resizes(s); }
static inline int mbn_is_dilated(const mbn_step *s) { return MBN_MINOR && s->capacity && (s->op == MBN_CONV || s->op == MBN_DEPTHWISE); }

/* A step with its kernel's taps side by side, as they are gathered for it. */
static inline mbn_step mbn_dense(const mbn_step *s) {
  mbn_step dense = *s;
  if (mbn_is_dilated(s)) dense.kh = (uint8_t)((s->kh - 1u) / (s->capacity & 255) + 1), dense.kw = (uint8_t)((s->kw - 1u) / (s->capacity >> 8) + 1), dense.capacity = 0;
  return dense;
}
static inline int mbn_is_aside(const mbn_step *s) { return s->op == MBN_TEE || s->op == MBN_KEEP; } /* makes nothing, puts its input aside */
static inline int mbn_takes_aside(const mbn_step *s) { return s->op == MBN_ADD || s->op == MBN_RECALL || (MBN_MINOR && (s->op == MBN_MUL || s->op == MBN_CONCAT)); }
static inline int32_t mbn_other_c(const mbn_step *s) { return MBN_MINOR && s->op == MBN_CONCAT ? s->out_c - s->in_c : s->out_c; } /* channels of what such a step takes */
#endif

#endif
