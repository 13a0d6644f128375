/* Which kernel makes an op, by the layout of the weights: constant, and chosen by the compiler. A row starts from portable; an
 * instruction set overrides ops in it. For that its kernels/<isa>.c defines them inside its #ifdef, so that every build compiles every
 * file, and its kernels/<isa>.h, included here inside the same #ifdef, declares them and says
 *
 *     #define MBN_OVERRIDES [MBN_CONV] = mbn_mve_conv, [MBN_DEPTHWISE] = mbn_mve_depthwise,
 *
 * A kernel that reads other weights is no override but belongs in the row of its layout. */
#include "portable.h"

#ifndef MBN_OVERRIDES
#define MBN_OVERRIDES
#endif
#define PORTABLE \
  [MBN_CONV] = mbn_portable_conv, [MBN_DEPTHWISE] = mbn_portable_depthwise, [MBN_MAX_POOL] = mbn_portable_pool, \
  [MBN_AVERAGE_POOL] = mbn_portable_pool, [MBN_ADD] = mbn_portable_add, [MBN_SOFTMAX] = mbn_portable_softmax, \
  [MBN_LOOKUP] = mbn_portable_lookup,

#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Woverride-init" /* that a later entry replaces an earlier one is meant */
#endif
const mbn_kernel mbn_kernels[MBN_LAYOUTS][MBN_OPS] = {[MBN_PORTABLE] = {PORTABLE MBN_OVERRIDES}};
