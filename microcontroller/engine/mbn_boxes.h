/* What the int8 of a detector mean: boxes (mbn_find_boxes), or the middles of things (mbn_find_peaks, in mbn_peaks.h). Integers only, no heap,
 * and bounded time: each score is read twice, each box that is looked at is compared with those that were found.
 * nbs/api/tasks/04_fixed_boxes.ipynb says how it is computed, and computes the same in Python, bit for bit.
 *
 *   deltas, scores -->  the surest `order_room` scores  -->  decoded  -->  not overlapped by a surer one: found, at most `room`
 *
 *       static uint32_t order[200];
 *       static mbn_box boxes[10];
 *       const mbn_box_map map = {&anchors, mbn_get_output(m, 0), mbn_get_output(m, 1)};
 *       const mbn_box_rule rule = {.classes = 3, .threshold = 0, .overlap = MBN_BOX_ONE / 2};
 *       mbn_box_list list = {order, boxes, 200, 10};
 *       if (mbn_find_boxes(&map, 1, &rule, &list) == MBN_BOXES_OK)
 *         for (i = 0; i < list.found; i++) left = boxes[i].left * width / MBN_BOX_ONE; ...
 */
#ifndef MBN_BOXES_H
#define MBN_BOXES_H
#include "mbn_peaks.h"
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define MBN_BOX_ONE 8192           /* the photo's width, and its height: boxes and anchors are in 8192ths of them */

/* ---- boxes ---- */

typedef struct {              /* the constants of one map: belongs into flash */
  const int16_t *anchors;     /* (n, 4): centre x, centre y, width, height; a width or height below 0 counts as 0 */
  const uint32_t *growth;     /* (256,): what a size is multiplied by, in 65536ths, for deltas -128 to 127 */
  const int8_t *levels;       /* (256,): what scores -128 to 127 come to, so that those of several maps compare; NULL: themselves */
  int32_t multiplier, shift;  /* a centre moves by (delta - zero) * size * multiplier * 2^(shift - 31); multiplier >= 0, shift -31 to 0 */
  uint16_t n;
  int8_t zero;
} mbn_anchors;

typedef struct {
  const mbn_anchors *anchors;
  const int8_t *deltas;       /* (n, 4): x, y, width, height */
  const int8_t *scores;       /* (n, classes) */
} mbn_box_map;

typedef struct {
  uint16_t classes;           /* columns of the scores */
  uint16_t skip;              /* the first of them are no classes, as a background; labels count from behind them */
  uint16_t overlap;           /* IoU, in 8192ths: a box that a surer one overlaps by more is the same thing */
  int8_t threshold;           /* lower scores, as `levels` has them, are none */
  uint8_t across;             /* not 0: one of another class is the same thing, too */
} mbn_box_rule;

typedef struct {
  int16_t left, top, right, bottom; /* 0 to MBN_BOX_ONE */
  uint16_t label;
  int8_t score;               /* as `levels` has it */
} mbn_box;

typedef struct {
  uint32_t *order;            /* (order_room,): scratch */
  mbn_box *boxes;             /* (room,): here they come, the surest first; of equals by map, anchor and class */
  uint16_t order_room, room;
  uint16_t found;             /* boxes; if it is `room`, there may have been more */
  uint32_t candidates;        /* scores from the threshold on; only the surest `order_room` of them were looked at */
} mbn_box_list;

mbn_boxes_status mbn_find_boxes(const mbn_box_map *maps, uint32_t n, const mbn_box_rule *rule, mbn_box_list *list); /* maps: (n,) */

#ifdef __cplusplus
}
#endif
#endif
