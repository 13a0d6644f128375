/* Two cores: how the one that runs the schedule hands kernel calls to a second one. With -DMBN_CORES=2; untested on hardware.
 *
 *   first core                          mailbox                     second core
 *   job, barrier, posted = number  -->  job, posted, done  -->  posted == number, barrier, run the job
 *   its own part of the outputs                                 barrier, done = number
 *   done == number, barrier        <--                     <--
 *
 * Each variable has one writer, and one job is under way at most, so aligned loads and stores are all that is needed: an Armv6-M core has
 * no exclusive ones. Numbers, not a flag, since a flag would need two writers. Between two calls of the engine, and while `yield` runs, no
 * job is under way, whatever the status: the second core sleeps, and reads and writes nothing but the mailbox. A kernel can't fail; if
 * the second core faults in one, the first waits for ever, for its watchdog to tell.
 *
 * WFE sleeps unless an event came since the last one, so an event between the look at a number and WFE is not lost. */
#ifndef MBN_CORES_H
#define MBN_CORES_H
#include "mbn_kernel.h"

#ifndef MBN_BARRIER /* tests replace all of these, to let the cores take turns at each */
#if defined(__arm__) && defined(__thumb__)
#define MBN_BARRIER() __asm__ volatile("dmb" ::: "memory")
#define MBN_SIGNAL() __asm__ volatile("dsb\n\tsev" ::: "memory") /* what was stored is seen before the event is */
#define MBN_WAIT() __asm__ volatile("wfe" ::: "memory")
#else
#error "Two cores need MBN_BARRIER, MBN_SIGNAL and MBN_WAIT of this processor."
#endif
#endif
#ifndef MBN_LOAD
#define MBN_LOAD(from) (from)
#define MBN_STORE(to, value) ((to) = (value))
#endif

typedef struct {
  volatile uint32_t posted;  /* number of the last job that was handed over; the first core writes it, and the job */
  volatile uint32_t done;    /* number of the last job that was finished; the second core writes these */
  volatile uint32_t here;    /* it serves */
  uint32_t room;             /* bytes of its scratch */
  int8_t *scratch;
  mbn_kernel kernel;
  mbn_call call;
} mbn_mailbox; /* all zero at first */

/* ---- first core ---- */

/* Bytes of scratch that the second core has for a job; -1: it doesn't serve yet. */
static inline int64_t mbn_cores_room(mbn_mailbox *b) {
  if (!MBN_LOAD(b->here)) return -1;
  MBN_BARRIER();
  return MBN_LOAD(b->room);
}

static inline void mbn_cores_post(mbn_mailbox *b, mbn_kernel kernel, const mbn_call *call) {
  MBN_STORE(b->kernel, kernel);
  MBN_STORE(b->call, *call);
  MBN_BARRIER(); /* the job, and what it reads, before its number */
  MBN_STORE(b->posted, MBN_LOAD(b->posted) + 1);
  MBN_SIGNAL();
}

static inline void mbn_cores_join(mbn_mailbox *b) {
  while (MBN_LOAD(b->done) != MBN_LOAD(b->posted)) MBN_WAIT();
  MBN_BARRIER(); /* its number before what the job made */
}

/* ---- second core ---- */

static inline void mbn_cores_open(mbn_mailbox *b, void *scratch, uint32_t room) {
  MBN_STORE(b->scratch, (int8_t *)scratch);
  MBN_STORE(b->room, room);
  MBN_BARRIER();
  MBN_STORE(b->here, 1);
}

/* One job. */
static inline void mbn_cores_serve(mbn_mailbox *b) {
  const uint32_t number = MBN_LOAD(b->done) + 1;
  while (MBN_LOAD(b->posted) != number) MBN_WAIT();
  MBN_BARRIER(); /* its number before the job */
  mbn_call call;
  call = MBN_LOAD(b->call), call.scratch = MBN_LOAD(b->scratch);
  MBN_LOAD(b->kernel)(&call);
  MBN_BARRIER(); /* what the job made before its number */
  MBN_STORE(b->done, number);
  MBN_SIGNAL();
}

#endif
