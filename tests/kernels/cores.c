/* Every order in which two cores can go through mbn_cores.h, the C itself: its macros are where they take turns.
 *
 * Each core is a coroutine that stops before every load, store, barrier, signal and wait; a state is both stacks, the memory and what is
 * under way, and from each state every next step is taken, until no new state is found. Memory is weaker than that of a Cortex-M0+ or M33:
 * a store may be seen at any later time, and in any order with stores to other places, up to the core's next barrier; a load may find
 * any value that its place had since the core's last barrier, but none older than one it found there before; a job is two
 * places, so that it can be half new. A load is not seen after a later store of its core: neither core runs ahead of its loads.
 *
 * Asserts that each job runs once, on inputs and with a scratch that were written before, that its outputs are there when they are
 * read, and that nobody waits for ever. Prints how many states there are. */
#define _GNU_SOURCE /* REG_RSP */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

static void load(const volatile void *from, void *to, uint32_t bytes);
static void store(volatile void *to, const void *from, uint32_t bytes);
static void step(int kind, uint32_t place);
enum { LOAD, STORE, BARRIER, SIGNAL, WAIT, END };
#define MBN_LOAD(from) ({ __typeof__(from) v_; load(&(from), (void *)(uintptr_t)&v_, sizeof v_); v_; })
#define MBN_STORE(to, value) do { __typeof__(to) v_ = (value); store(&(to), (const void *)(uintptr_t)&v_, sizeof v_); } while (0)
#define MBN_BARRIER() step(BARRIER, 0)
#define MBN_SIGNAL() step(SIGNAL, 0)
#define MBN_WAIT() step(WAIT, 0)
#include "mbn_cores.h"

#ifndef JOBS
#define JOBS 2
#endif
#ifndef FIRST
#define FIRST 0xffffffffu /* numbers begin anew behind the first job */
#endif
enum { CORES = 2, STACK = 16384, PLACES = 12, VERSIONS = 8, PENDING = 12, WIDTH = 96, VALUES = 64, ROOM = 64 };

typedef uint8_t value; /* number of what was stored, in `values` */
typedef struct { uint8_t place; value v; } pending_store;
typedef struct {
  value version[PLACES][VERSIONS]; /* of a place, oldest first */
  uint8_t count[PLACES];
  uint8_t view[CORES][PLACES];     /* the oldest version that a core may still find */
  pending_store pending[CORES][PENDING];
  uint8_t pendings[CORES], kind[CORES], place[CORES], event[CORES];
  value held[CORES];               /* what a load found, or a store gives */
  uint8_t runs[JOBS], shared_jobs, fill[7];
} world;

static world w;
static uint32_t place_at[PLACES], places; /* where the places are in `shared` */
static uint8_t values[VALUES][WIDTH];
static uint32_t values_known;
static ucontext_t context[CORES], explorer;
static uint8_t stack[CORES][STACK] __attribute__((aligned(64)));
static int now; /* which core runs */

static struct { mbn_mailbox box; uint32_t input, output, own; } shared; /* addresses only: what is in them is in `w.mem` */
static int8_t second_scratch[ROOM];

static void wrong(const char *what) { printf("wrong: %s\n", what); exit(1); }
#define CHECK(condition) do { if (!(condition)) wrong(#condition); } while (0)

/* ---- a core ---- */

static uint32_t place_of(const volatile void *address, uint32_t bytes) {
  const uint32_t at = (uint32_t)((uintptr_t)address - (uintptr_t)&shared);
  CHECK(at < sizeof shared && bytes <= WIDTH);
  for (uint32_t i = 0; i < places; i++) if (place_at[i] == at) return i;
  wrong("an unknown place");
  return 0;
}

static value value_of(const void *from, uint32_t bytes) {
  uint8_t one[WIDTH] = {0};
  memcpy(one, from, bytes);
  for (uint32_t i = 0; i < values_known; i++) if (!memcmp(values[i], one, WIDTH)) return (value)i;
  CHECK(values_known < VALUES);
  memcpy(values[values_known], one, WIDTH);
  return (value)values_known++;
}

static void step(int kind, uint32_t place) {
  w.kind[now] = (uint8_t)kind, w.place[now] = (uint8_t)place;
  swapcontext(&context[now], &explorer);
}

static void load(const volatile void *from, void *to, uint32_t bytes) {
  const uint32_t most = sizeof(mbn_call) / 2;
  for (uint32_t i = 0, n; i < bytes; i += n) {
    n = bytes > 8 && bytes - i > most ? most : bytes - i;
    step(LOAD, place_of((const volatile uint8_t *)from + i, n));
    memcpy((uint8_t *)to + i, values[w.held[now]], n);
  }
}

static void store(volatile void *to, const void *from, uint32_t bytes) {
  const uint32_t most = sizeof(mbn_call) / 2;
  for (uint32_t i = 0, n; i < bytes; i += n) {
    n = bytes > 8 && bytes - i > most ? most : bytes - i;
    const uint32_t place = place_of((volatile uint8_t *)to + i, n);
    w.held[now] = value_of((const uint8_t *)from + i, n);
    step(STORE, place);
  }
}

static void kernel(const mbn_call *c) { /* the second core's part */
  CHECK(c->n >= 0 && c->n < JOBS && c->out == (int8_t *)&shared + c->n); /* both halves of the job are of one */
  CHECK(c->scratch == second_scratch);
  CHECK(++w.runs[c->n] == 1);
  const uint32_t x = MBN_LOAD(shared.input);
  CHECK(x == 100u + (uint32_t)c->n);
  MBN_STORE(shared.output, 2 * x);
}

static void first_core(void) {
  for (int32_t job = 0; job < JOBS; job++) {
    mbn_call c;
    memset(&c, 0, sizeof c);
    c.n = job, c.out = (int8_t *)&shared + job;
    MBN_STORE(shared.input, 100u + (uint32_t)job);
    const int64_t room = mbn_cores_room(&shared.box);
    CHECK(room == -1 || room == ROOM);
    if (room == -1) { w.runs[job]++; MBN_STORE(shared.output, 2 * (100u + (uint32_t)job)); }
    else {
      w.shared_jobs++;
      mbn_cores_post(&shared.box, kernel, &c);
      MBN_STORE(shared.own, (uint32_t)job);
      mbn_cores_join(&shared.box);
    }
    CHECK(w.runs[job] == 1);
    CHECK(MBN_LOAD(shared.output) == 2 * (100u + (uint32_t)job) && (room == -1 || MBN_LOAD(shared.own) == (uint32_t)job));
  }
  for (;;) step(END, 0);
}

static void second_core(void) {
  mbn_cores_open(&shared.box, second_scratch, ROOM);
  for (;;) mbn_cores_serve(&shared.box);
}

/* ---- all steps from a state ---- */

static void add_place(const volatile void *address, uint64_t initial) {
  const uint32_t i = places++;
  CHECK(i < PLACES);
  place_at[i] = (uint32_t)((uintptr_t)address - (uintptr_t)&shared);
  w.count[i] = 1, w.version[i][0] = value_of(&initial, sizeof initial);
}

/* Versions that nobody can find any more go, so that a core that waits comes back to the same state. */
static void forget(void) {
  for (uint32_t i = 0; i < places; i++) {
    const uint8_t a = w.view[0][i], b = w.view[1][i], least = a < b ? a : b, left = (uint8_t)(w.count[i] - least);
    memmove(w.version[i], w.version[i] + least, left);
    memset(w.version[i] + left, 0, VERSIONS - left);
    w.count[i] = left, w.view[0][i] = (uint8_t)(a - least), w.view[1][i] = (uint8_t)(b - least);
  }
}

static void see_all(int core) { for (uint32_t i = 0; i < places; i++) w.view[core][i] = (uint8_t)(w.count[i] - 1); }

static void resume(int core) {
  now = core;
  swapcontext(&explorer, &context[core]);
}

/* Take choice `which` of what can happen next; 0: there are no so many. */
static int take(uint32_t which) {
  for (int core = 0; core < CORES; core++) {
    for (uint32_t k = 0; k < w.pendings[core]; k++) { /* a store is seen: the oldest of its place */
      pending_store *all = w.pending[core], one = all[k];
      int oldest = 1;
      for (uint32_t j = 0; j < k; j++) oldest &= all[j].place != one.place;
      if (!oldest || which--) continue;
      memmove(all + k, all + k + 1, (w.pendings[core] - k - 1) * sizeof *all);
      memset(all + --w.pendings[core], 0, sizeof *all);
      CHECK(w.count[one.place] < VERSIONS);
      w.version[one.place][w.count[one.place]++] = one.v;
      w.view[core][one.place] = (uint8_t)(w.count[one.place] - 1);
      return 1;
    }
    const uint32_t place = w.place[core];
    switch (w.kind[core]) {
      case LOAD:
        for (uint32_t k = w.pendings[core]; k--;)
          if (w.pending[core][k].place == place) { /* its own, not yet seen by others */
            if (which--) goto next;
            w.held[core] = w.pending[core][k].v;
            resume(core);
            return 1;
          }
        for (uint32_t v = w.view[core][place]; v < w.count[place]; v++) {
          if (which--) continue;
          w.view[core][place] = (uint8_t)v, w.held[core] = w.version[place][v];
          resume(core);
          return 1;
        }
        break;
      case STORE:
        if (which--) break;
        CHECK(w.pendings[core] < PENDING);
        w.pending[core][w.pendings[core]++] = (pending_store){(uint8_t)place, w.held[core]};
        resume(core);
        return 1;
      case BARRIER:
      case SIGNAL:
        if (w.pendings[core] || which--) break;
        see_all(core);
        if (w.kind[core] == SIGNAL) w.event[0] = w.event[1] = 1;
        resume(core);
        return 1;
      case WAIT:
        if (!w.event[core] || which--) break;
        w.event[core] = 0;
        see_all(core);
        resume(core);
        return 1;
      default: break;
    }
  next:;
  }
  return 0;
}

/* A core is what is on its stack, and its registers. */
typedef struct { world w; ucontext_t context[CORES]; uint8_t *stack[CORES]; } snapshot;

static uint8_t *top_of(const ucontext_t *c) { return (uint8_t *)(uintptr_t)c->uc_mcontext.gregs[REG_RSP]; }

static void save(snapshot *s) {
  s->w = w, memcpy(s->context, context, sizeof context);
  for (int i = 0; i < CORES; i++) {
    const size_t used = (size_t)(stack[i] + STACK - top_of(context + i));
    s->stack[i] = memcpy(malloc(used), top_of(context + i), used);
  }
}

static void restore(const snapshot *s) {
  w = s->w, memcpy(context, s->context, sizeof context);
  for (int i = 0; i < CORES; i++) memcpy(top_of(context + i), s->stack[i], (size_t)(stack[i] + STACK - top_of(context + i)));
}

static uint64_t mixed(uint64_t h, const void *data, size_t n) {
  const uint64_t *p = data;
  for (size_t i = 0; i < n / 8; i++) h = (h ^ p[i]) * 0x9e3779b97f4a7c15u, h ^= h >> 29;
  return h;
}

#define SLOTS (1u << 24)
static uint64_t *seen;
static uint32_t states, ends, most_shared, least_shared = JOBS;

/* By 64 bits: of a million states, two are taken for one with a chance of 1 in 40 million. */
static int is_new(void) {
  uint64_t h = mixed(1, &w, sizeof w & ~7u);
  for (int i = 0; i < CORES; i++) {
    const uint8_t *sp = top_of(context + i);
    h = mixed(h, context[i].uc_mcontext.gregs, sizeof context[i].uc_mcontext.gregs & ~7u);
    h = mixed(h, sp, (size_t)(stack[i] + STACK - sp) & ~7u);
  }
  if (!h) h = 1;
  for (uint32_t i = (uint32_t)h % SLOTS;; i = (i + 1) % SLOTS) {
    if (seen[i] == h) return 0;
    if (!seen[i]) { CHECK(++states < SLOTS / 2); seen[i] = h; return 1; }
  }
}

static void explore(void) {
  snapshot *here = malloc(sizeof *here);
  save(here);
  uint32_t which = 0;
  while (take(which)) {
    forget();
    if (is_new()) explore();
    restore(here);
    which++;
  }
  if (!which) {
    CHECK(w.kind[0] == END && w.kind[1] == WAIT); /* nobody waits for ever, but the second core when all is done */
    ends++;
    if (w.shared_jobs > most_shared) most_shared = w.shared_jobs;
    if (w.shared_jobs < least_shared) least_shared = w.shared_jobs;
  }
  for (int i = 0; i < CORES; i++) free(here->stack[i]);
  free(here);
}

int main(void) {
  mbn_mailbox *b = &shared.box;
  seen = calloc(SLOTS, sizeof *seen);
  add_place(&b->posted, FIRST), add_place(&b->done, FIRST), add_place(&b->here, 0), add_place(&b->room, 0), add_place(&b->scratch, 0), add_place(&b->kernel, 0);
  add_place(&b->call, 0), add_place((uint8_t *)&b->call + sizeof(mbn_call) / 2, 0);
  add_place(&shared.input, 0), add_place(&shared.output, 0), add_place(&shared.own, ~0u);
  void (*const runs[CORES])(void) = {first_core, second_core};
  for (int i = 0; i < CORES; i++) {
    getcontext(&context[i]);
    context[i].uc_stack.ss_sp = stack[i], context[i].uc_stack.ss_size = STACK, context[i].uc_link = &explorer;
    makecontext(&context[i], runs[i], 0);
    resume(i);
  }
  is_new();
  explore();
  CHECK(ends && most_shared == JOBS && least_shared == 0);
  printf("%u states %u ends\n", states, ends);
  return 0;
}
