/* Which kernel makes an op, by the layout of the file: constant, and chosen by the compiler. A layout's row starts from portable and
 * replaces ops by the kernels of its instruction set, kernels/<layout>.c, each of which hands steps that aren't packed, and shapes that
 * it doesn't take, to the portable one. Ops without weights are the same in all rows. Every file is compiled into every build; a layout
 * that a build has no kernels of has an empty row, and its files are refused. */
#include "kernels.h"
#include "packed.h"

#ifndef MBN_OVERRIDES /* ops without weights that an instruction set makes faster */
#if defined(MBN_HAS_DSP)
#define MBN_OVERRIDES [MBN_ADD] = mbn_dsp_add,
#elif defined(MBN_HAS_V6M)
#define MBN_OVERRIDES [MBN_ADD] = mbn_v6m_add,
#elif defined(MBN_HAS_MVE)
#define MBN_OVERRIDES [MBN_ADD] = mbn_mve_add,
#else
#define MBN_OVERRIDES
#endif
#endif
#if MBN_MINOR
#define MBN_MORE [MBN_ARG_MAX] = mbn_portable_arg_max, [MBN_MUL] = mbn_portable_mul,
#else
#define MBN_MORE
#endif
#define ROW(conv, depthwise) \
  {[MBN_CONV] = conv, [MBN_DEPTHWISE] = depthwise, [MBN_MAX_POOL] = mbn_portable_pool, [MBN_AVERAGE_POOL] = mbn_portable_pool, \
   [MBN_ADD] = mbn_portable_add, [MBN_SOFTMAX] = mbn_portable_softmax, [MBN_LOOKUP] = mbn_portable_lookup, MBN_MORE MBN_OVERRIDES}

#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Woverride-init" /* that a later entry replaces an earlier one is meant */
#endif
const mbn_kernel mbn_kernels[MBN_LAYOUTS][MBN_OPS] = {
    [MBN_PORTABLE] = ROW(mbn_portable_conv, mbn_portable_depthwise),
#if defined(MBN_HAS_V6M)
    [MBN_V6M] = ROW(mbn_v6m_conv, mbn_v6m_depthwise),
#elif defined(MBN_HAS_DSP)
    [MBN_DSP] = ROW(mbn_dsp_conv, mbn_dsp_depthwise),
#elif defined(MBN_HAS_MVE)
    [MBN_MVE] = ROW(mbn_mve_conv, mbn_mve_depthwise),
#elif defined(MBN_EVERY_LAYOUT)
    [MBN_V6M] = ROW(mbn_unpacked_v6m, mbn_unpacked_v6m),
    [MBN_DSP] = ROW(mbn_unpacked_dsp, mbn_unpacked_dsp),
    [MBN_MVE] = ROW(mbn_unpacked_mve, mbn_unpacked_mve),
#endif
};
