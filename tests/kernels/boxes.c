/* mbn_boxes.c on a core: many random cases, and one number of all that was found. A computer finds the same number. */
#include "../../microcontroller/engine/mbn_boxes.h"
#ifdef __arm__
void put(const char *text); /* bare.c */
#else
#include <stdio.h>
#define put(text) fputs(text, stdout)
#endif

#define MOST 48
#define CLASSES 3
static int16_t anchor[2][4 * MOST];
static uint32_t growth[256], order[100], state, hash, found; /* set by run: nothing copies .data */
static int8_t levels[256], deltas[2][4 * MOST], scores[2][CLASSES * MOST];
static mbn_box boxes[MOST];
static mbn_peak peaks[MOST];

static uint32_t any(uint32_t below) {
  state = state * 1664525u + 1013904223u;
  return (state >> 8) % below;
}

static void mix(int32_t v) {
  for (int i = 0; i < 4; i++, v = (int32_t)((uint32_t)v >> 8)) hash = (hash ^ ((uint32_t)v & 255)) * 16777619u;
}

static void find_boxes(void) {
  mbn_anchors a[2] = {{0}};
  mbn_box_map maps[2];
  const mbn_box_rule rule = {CLASSES, (uint16_t)any(2), (uint16_t)any(8193), (int8_t)any(100), (uint8_t)any(2)};
  mbn_box_list list = {0};
  list.order = order, list.boxes = boxes, list.order_room = (uint16_t)any(101), list.room = (uint16_t)any(MOST + 1);
  for (int i = 0; i < 256; i++) growth[i] = any(1 << 20), levels[i] = (int8_t)any(256);
  for (int m = 0; m < 2; m++) {
    for (int i = 0; i < 4 * MOST; i++) anchor[m][i] = (int16_t)any(8192), deltas[m][i] = (int8_t)any(256);
    for (int i = 0; i < CLASSES * MOST; i++) scores[m][i] = (int8_t)any(256);
    a[m].anchors = anchor[m], a[m].growth = growth, a[m].levels = any(2) ? levels : 0;
    a[m].multiplier = (int32_t)(any(1 << 23) << 8), a[m].shift = -(int32_t)any(32), a[m].n = (uint16_t)any(MOST + 1), a[m].zero = (int8_t)any(256);
    maps[m].anchors = &a[m], maps[m].deltas = deltas[m], maps[m].scores = scores[m];
  }
  mix((int32_t)mbn_find_boxes(maps, 2, &rule, &list)), mix((int32_t)list.candidates), mix(list.found);
  found += list.found;
  for (int i = 0; i < list.found; i++) {
    mix(boxes[i].left), mix(boxes[i].top), mix(boxes[i].right), mix(boxes[i].bottom), mix(boxes[i].label), mix(boxes[i].score);
  }
}

static void find_peaks(void) {
  const mbn_heat_map map = {scores[0], (uint16_t)any(7), (uint16_t)any(9), CLASSES, (int16_t)any(100)};
  mbn_peak_list list = {0};
  list.peaks = peaks, list.room = (uint16_t)any(MOST + 1);
  mix((int32_t)mbn_find_peaks(&map, &list)), mix((int32_t)list.candidates), mix(list.found);
  found += list.found;
  for (int i = 0; i < list.found; i++) mix(peaks[i].y), mix(peaks[i].x), mix(peaks[i].label), mix(peaks[i].score);
}

int run(void);
int run(void) {
  char text[] = "00000000 00000000\n";
  state = 1, hash = 2166136261u, found = 0;
  for (int i = 0; i < 200; i++) find_boxes(), find_peaks();
  for (int i = 0; i < 8; i++) text[i] = "0123456789abcdef"[hash >> (28 - 4 * i) & 15], text[9 + i] = "0123456789abcdef"[found >> (28 - 4 * i) & 15];
  put(text);
  return 0;
}

#ifndef __arm__
int main(void) { return run(); }
#endif
