/* The schedule with two cores on this computer, where one of them waits while the other makes its part of a kernel call: the second core's
 * before or after the first one's. Both must come to the same bytes, or the parts are not independent. */
static void after_signal(void);
static void while_waiting(void);
#define MBN_BARRIER() (void)0
#define MBN_SIGNAL() after_signal()
#define MBN_WAIT() while_waiting()
#include "../../microcontroller/engine/mbn_run.c"

static int second_first, serving; /* the second core's part first; it is being made */
uint32_t divided[MBN_OPS][2];     /* of an op: calls divided by pixels, by outputs */

static void serve(void) {
  const mbn_call *c = &mailbox.call;
  divided[c->step->op][c->first != 0]++;
  serving = 1;
  mbn_cores_serve(&mailbox);
  serving = 0;
}

static void after_signal(void) { if (second_first && !serving) serve(); }
static void while_waiting(void) { serve(); }

uint32_t jobs_under_way(void) { return mailbox.posted - mailbox.done; }

void second_core(int first, void *scratch, uint32_t scratch_bytes) {
  second_first = first;
  mbn_cores_open(&mailbox, scratch, scratch_bytes);
}
