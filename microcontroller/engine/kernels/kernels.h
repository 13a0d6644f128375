/* The kernels by name. Those of an instruction set may call the portable ones for shapes that they don't take themselves. */
#ifndef MBN_KERNELS_H
#define MBN_KERNELS_H
#include "../mbn_kernel.h"

void mbn_portable_conv(const mbn_call *call);
void mbn_portable_depthwise(const mbn_call *call);
void mbn_portable_pool(const mbn_call *call); /* MAX_POOL and AVERAGE_POOL */
void mbn_portable_add(const mbn_call *call);
void mbn_portable_softmax(const mbn_call *call);
void mbn_portable_lookup(const mbn_call *call);
void mbn_portable_arg_max(const mbn_call *call);
void mbn_portable_mul(const mbn_call *call);

void mbn_v6m_conv(const mbn_call *call);
void mbn_v6m_depthwise(const mbn_call *call);
void mbn_v6m_add(const mbn_call *call);

void mbn_dsp_conv(const mbn_call *call);
void mbn_dsp_depthwise(const mbn_call *call);
void mbn_dsp_add(const mbn_call *call);

void mbn_mve_conv(const mbn_call *call);
void mbn_mve_depthwise(const mbn_call *call);
void mbn_mve_add(const mbn_call *call);

void mbn_unpacked_v6m(const mbn_call *call); /* CONV and DEPTHWISE */
void mbn_unpacked_dsp(const mbn_call *call); /* likewise */
void mbn_unpacked_mve(const mbn_call *call); /* likewise */

#endif
