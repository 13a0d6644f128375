/* The kernel contract. A kernel makes `n` pixels of one row. It gets row pointers, each contiguous, and the taps that lie
 * inside the map, and knows nothing of rings or stages. Taps outside count as zero_in. `bias` holds -zero_in * sum(weights)
 * already, so taps outside add zero_in * weight back. Weights count less their zero point, zero_other. tests/test_kernels.py holds every kernel of the table to this. */
#ifndef MBN_KERNEL_H
#define MBN_KERNEL_H
#include "mbn_format.h"
#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  const mbn_step *step;
  const int8_t *row[MBN_MAX_KERNEL]; /* (columns, in_c) each; row[0] is the input of steps that are no head */
  int32_t ky0, ky1;          /* of a head: kernel rows ky0 <= ky < ky1 lie inside the map */
  int32_t column;            /* of a head: of tap 0 of the first output, counted from row[]; negative: outside on the left */
  int32_t width;             /* of a head: columns from row[] to the right edge */
  int32_t n;                 /* output pixels */
  const int8_t *other;       /* ADD: (n, out_c) */
  int8_t *scratch;           /* mbn_scratch_bytes, aligned to 4 */
  const int8_t *weights;
  const int32_t *constants;
  int8_t *out;               /* (n, out_c) */
#if MBN_CORES > 1
  int32_t first, last;       /* outputs first <= o < last are made: all, or, of packed matrices, as many on each core; a multiple of 4, or out_c */
#endif
} mbn_call;
typedef void (*mbn_kernel)(const mbn_call *call);

#if MBN_CORES > 1
#define MBN_FIRST(call) ((call)->first)
#define MBN_LAST(call, all) ((call)->last)
#define MBN_SKIP(call) ((call)->step->out_c - ((call)->last - (call)->first)) /* outputs that another core makes */
#else
#define MBN_FIRST(call) 0
#define MBN_LAST(call, all) (all)
#define MBN_SKIP(call) 0
#endif

/* Where nearly all time is spent. With -DMBN_IN_RAM these functions are in a section of their own, which a linker script can put
 * into RAM, away from a slow or cached flash. */
#ifdef MBN_IN_RAM
#define MBN_HOT __attribute__((section(".mbn_hot")))
#else
#define MBN_HOT
#endif
extern const mbn_kernel mbn_kernels[MBN_LAYOUTS][MBN_OPS]; /* in kernels/table.c; sums, TEE, KEEP and RECALL have none; a layout that a build lacks has none at all */

/* MEAN and GLOBAL_AVERAGE: pixels are added as they come, and the sums become the one output pixel. */
void mbn_sum_add(int32_t *sums, const int8_t *pixels, int32_t n, int32_t channels); /* pixels: (n, channels) */
void mbn_sum_end(const mbn_step *step, const int32_t *constants, const int32_t *sums, int8_t *out); /* out: (out_c) */

/* RESIZE: `n` pixels of a row between two rows of the input, `share` 1024ths of which are of the second one; column: {lower pixel, 1024ths of the next}[n]. */
void mbn_resize(const mbn_step *step, const int8_t *low, const int8_t *high, int32_t share, const int16_t *column, int32_t n, int8_t *out);

/* SOFTMAX: whether the sums of `n` pixels fit in 31 bits, as of up to 4,095 channels all do. */
int mbn_softmax_fits(const mbn_call *call);

#ifdef MBN_COUNT /* tests: how many pixels each step has made, in how many groups */
extern uint32_t mbn_counts[MBN_MAX_STEPS], mbn_groups[MBN_MAX_STEPS];
#endif

#ifdef __cplusplus
}
#endif
#endif
