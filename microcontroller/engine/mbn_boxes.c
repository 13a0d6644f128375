/* Boxes from a detector's int8. A linker leaves this out of a firmware that calls none of it. */
#include "mbn_boxes.h"
#include "kernels/fixedpoint.h"
#include <stddef.h>

/* ---- the surest of many, by counting: a score has 256 values ---- */

typedef struct {
  uint32_t all;
  uint16_t at[256];  /* of the score 127 first: how many, then where the next one belongs; no list has more than 65,535 places */
} counter;

static void reset(counter *k) {
  k->all = 0;
  for (int i = 0; i < 256; i++) k->at[i] = 0;
}

static uint16_t *at_score(counter *k, int8_t score) { return &k->at[127 - score]; }

static void count(counter *k, int8_t score) {
  uint16_t *n = at_score(k, score);
  *n = (uint16_t)(*n + (*n < UINT16_MAX));
  k->all++;
}

static void to_places(counter *k) {
  uint32_t sum = 0;
  for (int i = 0; i < 256; i++) {
    const uint32_t here = k->at[i];
    k->at[i] = (uint16_t)sum;
    sum = sum + here > UINT16_MAX ? UINT16_MAX : sum + here;
  }
}

/* The place of the next one with that score; `room` where there is none. */
static uint16_t place(counter *k, int8_t score, uint16_t room) {
  uint16_t *at = at_score(k, score);
  return *at < room ? (*at)++ : room;
}

static uint16_t taken(const counter *k, uint16_t room) { return k->all < room ? (uint16_t)k->all : room; }

/* ---- boxes ---- */

static int sound(const mbn_box_map *maps, uint32_t n, const mbn_box_rule *rule, const mbn_box_list *list) {
  uint64_t scores = 0;
  if ((!maps && n) || (!list->order && list->order_room) || (!list->boxes && list->room)) return 0;
  for (uint32_t i = 0; i < n; i++) {
    const mbn_anchors *a = maps[i].anchors;
    if (!a || a->multiplier < 0 || a->shift < -31 || a->shift > 0) return 0;
    if (a->n && !(a->anchors && a->growth && maps[i].deltas && (maps[i].scores || !rule->classes))) return 0;
    scores += (uint64_t)a->n * rule->classes;
    if (scores > MBN_BOX_SCORES) return 0;
  }
  return 1;
}

static int8_t level(const mbn_anchors *a, int8_t score) { return a->levels ? a->levels[score + 128] : score; }

/* Counts the scores that are high enough, or, with an `order`, writes which they are: their numbers, counted through all maps. */
static void scan(const mbn_box_map *maps, uint32_t n, const mbn_box_rule *rule, counter *k, uint32_t *order, uint16_t room) {
  uint32_t number = 0;
  for (uint32_t i = 0; i < n; i++) {
    const int8_t *scores = maps[i].scores;
    for (uint32_t anchor = 0; anchor < maps[i].anchors->n; anchor++)
      for (uint32_t c = 0; c < rule->classes; c++, number++) {
        const int8_t score = level(maps[i].anchors, *scores++);
        if (c < rule->skip || score < rule->threshold) continue;
        if (!order) { count(k, score); continue; }
        const uint16_t at = place(k, score, room);
        if (at < room) order[at] = number;
      }
  }
}

static int16_t clipped(int32_t x) { return (int16_t)(x < 0 ? 0 : x > MBN_BOX_ONE ? MBN_BOX_ONE : x); }

/* One axis of a box: from its anchor's centre and size to its two edges. */
static void edges(const mbn_anchors *a, const int16_t *anchor, const int8_t *delta, int16_t *low, int16_t *high) {
  const int32_t size = anchor[2] < 0 ? 0 : anchor[2];
  const int32_t centre = anchor[0] + rescale((delta[0] - a->zero) * size, a->multiplier, a->shift);
  const uint64_t grown = ((uint64_t)size * a->growth[delta[2] + 128] + 32768) >> 16;
  const int32_t n = grown > 1 << 25 ? 1 << 25 : (int32_t)grown; /* a box so large covers the photo, wherever its centre is */
  *low = clipped((2 * centre - n) >> 1);
  *high = clipped((2 * centre + n) >> 1);
}

static mbn_box decode(const mbn_box_map *maps, const mbn_box_rule *rule, uint32_t number) {
  while (number >= (uint32_t)maps->anchors->n * rule->classes) number -= (uint32_t)maps->anchors->n * rule->classes, maps++;
  const uint32_t anchor = number / rule->classes, c = number % rule->classes;
  const int16_t *a = maps->anchors->anchors + 4 * anchor;
  const int8_t *delta = maps->deltas + 4 * anchor;
  mbn_box box;
  edges(maps->anchors, a, delta, &box.left, &box.right);
  edges(maps->anchors, a + 1, delta + 1, &box.top, &box.bottom);
  box.label = (uint16_t)(c - rule->skip);
  box.score = level(maps->anchors, maps->scores[number]);
  return box;
}

static uint32_t area(int32_t width, int32_t height) { return width > 0 && height > 0 ? (uint32_t)width * (uint32_t)height : 0; }

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

static int32_t most(int32_t a, int32_t b) { return a > b ? a : b; }

static uint32_t area_of(const mbn_box *b) { return area(b->right - b->left, b->bottom - b->top); }

static int same_thing(const mbn_box *a, const mbn_box *b, const mbn_box_rule *rule) {
  if (a->label != b->label && !rule->across) return 0;
  const uint32_t common = area(least(a->right, b->right) - most(a->left, b->left), least(a->bottom, b->bottom) - most(a->top, b->top));
  return (uint64_t)common * MBN_BOX_ONE > (uint64_t)rule->overlap * (area_of(a) + area_of(b) - common);
}

mbn_boxes_status mbn_find_boxes(const mbn_box_map *maps, uint32_t n, const mbn_box_rule *rule, mbn_box_list *list) {
  counter k;
  list->found = 0, list->candidates = 0;
  if (!sound(maps, n, rule, list)) return MBN_BOXES_BROKEN;
  reset(&k);
  scan(maps, n, rule, &k, NULL, 0);
  to_places(&k);
  list->candidates = k.all;
  const uint16_t candidates = taken(&k, list->order_room);
  if (candidates) scan(maps, n, rule, &k, list->order, list->order_room);
  for (uint32_t i = 0; i < candidates && list->found < list->room; i++) {
    const mbn_box box = decode(maps, rule, list->order[i]);
    uint32_t other = 0;
    while (other < list->found && !same_thing(&box, &list->boxes[other], rule)) other++;
    if (other == list->found && area_of(&box)) list->boxes[list->found++] = box;
  }
  return MBN_BOXES_OK;
}
