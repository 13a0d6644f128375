/* Runs mbn_boxes.c on cases from standard input, each in exactly the memory it says. Built with sanitizers.
 * Numbers are little-endian int32; arrays follow as they are. What comes out: status, candidates, found, and the found ones.
 *
 *   0, maps, classes, skip, overlap, threshold, across, order_room, room, missing; for each map: n, multiplier, shift, zero, has levels, claimed n,
 *   then anchors, growth, levels, deltas, scores. 1, h, w, c, threshold, room, missing, claimed h, then scores. A claimed size of -1 is the
 *   real one. The bits of missing say which pointers are NULL. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../microcontroller/engine/mbn_boxes.h"

#define MAPS 16
static void *kept[8 * MAPS];
static int held;

static void *room_for(size_t n) { return kept[held++] = malloc(n ? n : 1); }

static void *taken_in(size_t n) {
  void *data = room_for(n);
  if (fread(data, 1, n, stdin) != n) exit(3);
  return data;
}

static int32_t number(void) {
  int32_t v;
  if (fread(&v, 4, 1, stdin) != 1) exit(4);
  return v;
}

static void say(int32_t v) { fwrite(&v, 4, 1, stdout); }

static void boxes(void) {
  mbn_anchors anchors[MAPS];
  mbn_box_map maps[MAPS];
  const int32_t n = number();
  mbn_box_rule rule = {0};
  mbn_box_list list = {0};
  rule.classes = (uint16_t)number(), rule.skip = (uint16_t)number(), rule.overlap = (uint16_t)number();
  rule.threshold = (int8_t)number(), rule.across = (uint8_t)number();
  list.order_room = (uint16_t)number(), list.room = (uint16_t)number();
  const int32_t missing = number();
  list.order = room_for(4u * list.order_room), list.boxes = room_for(sizeof(mbn_box) * list.room);
  memset(list.order, 0xA5, 4u * list.order_room);
  for (int32_t i = 0; i < n; i++) {
    const size_t count = (size_t)number();
    mbn_anchors *a = &anchors[i];
    memset(a, 0, sizeof *a);
    a->n = (uint16_t)count, a->multiplier = number(), a->shift = number(), a->zero = (int8_t)number();
    const int32_t levels = number(), claimed = number();
    a->anchors = taken_in(8 * count), a->growth = taken_in(1024);
    if (levels) a->levels = taken_in(256);
    maps[i].anchors = a, maps[i].deltas = taken_in(4 * count), maps[i].scores = taken_in(count * rule.classes);
    if (claimed >= 0) a->n = (uint16_t)claimed;
    if (missing & 1) maps[i].scores = NULL;
    if (missing & 2) maps[i].deltas = NULL;
    if (missing & 4) a->anchors = NULL;
    if (missing & 8) a->growth = NULL;
    if (missing & 16) maps[i].anchors = NULL;
  }
  if (missing & 32) list.order = NULL;
  if (missing & 64) list.boxes = NULL;
  say(mbn_find_boxes(n && !(missing & 128) ? maps : NULL, (uint32_t)n, &rule, &list));
  say((int32_t)list.candidates), say(list.found);
  for (int i = 0; i < list.found; i++) {
    const mbn_box *b = &list.boxes[i];
    say(b->left), say(b->top), say(b->right), say(b->bottom), say(b->label), say(b->score);
  }
}

static void peaks(void) {
  mbn_heat_map map = {0};
  mbn_peak_list list = {0};
  const size_t h = (size_t)number(), w = (size_t)number(), c = (size_t)number();
  map.h = (uint16_t)h, map.w = (uint16_t)w, map.c = (uint16_t)c, map.threshold = (int16_t)number();
  list.room = (uint16_t)number();
  const int32_t missing = number(), claimed = number();
  map.scores = taken_in(h * w * c), list.peaks = room_for(sizeof(mbn_peak) * list.room);
  if (claimed >= 0) map.h = map.w = map.c = (uint16_t)claimed;
  if (missing & 1) map.scores = NULL;
  if (missing & 2) list.peaks = NULL;
  say(mbn_find_peaks(&map, &list));
  say((int32_t)list.candidates), say(list.found);
  for (int i = 0; i < list.found; i++) say(list.peaks[i].y), say(list.peaks[i].x), say(list.peaks[i].label), say(list.peaks[i].score);
}

int main(void) {
  int32_t kind;
  while (fread(&kind, 4, 1, stdin) == 1) {
    if (kind) peaks(); else boxes();
    while (held) free(kept[--held]);
  }
  return 0;
}
