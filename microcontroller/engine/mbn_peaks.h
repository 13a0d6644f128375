/* The middles of things in a detector's map of int8: cells whose best class is at least as sure as that of each of their 3x3 neighbours; of
 * equals the first. Integers only, no heap, and it needs nothing but this file, in C or C++. nbs/api/tasks/07_centroids.ipynb says why, and
 * computes the same in Python, bit for bit.
 *
 *       static mbn_peak peaks[10];
 *       const mbn_heat_map map = {scores, 10, 10, 3, 0};
 *       mbn_peak_list list = {peaks, 10, 0, 0};
 *       if (mbn_find_peaks(&map, &list) == MBN_BOXES_OK)
 *         for (i = 0; i < list.found; i++) x = (2 * peaks[i].x + 1) * width / (2 * map.w); ...
 */
#ifndef MBN_PEAKS_H
#define MBN_PEAKS_H
#include <stddef.h>
#include <stdint.h>

#define MBN_BOX_SCORES (1u << 30)  /* a list is made of at most so many scores */

typedef enum {
  MBN_BOXES_OK,     /* that there is nothing to find, or no room, too: then `found` is 0 */
  MBN_BOXES_BROKEN  /* a pointer is NULL, a shift outside its range, or there are more than MBN_BOX_SCORES scores; nothing was found */
} mbn_boxes_status;

typedef struct {
  const int8_t *scores;       /* (h, w, c) */
  uint16_t h, w, c;
  int16_t threshold;          /* lower scores are none; 128: all are */
} mbn_heat_map;

typedef struct {
  uint16_t y, x, label;       /* the cell's row and column, and its best class, of equals the first */
  int8_t score;
} mbn_peak;

typedef struct {
  mbn_peak *peaks;            /* (room,): here they come, the surest first; of equals by row and column */
  uint16_t room, found;
  uint32_t candidates;        /* so many there were: all are found if this is no more than `room` */
} mbn_peak_list;

static inline const int8_t *mbn_best_of(const mbn_heat_map *m, int32_t y, int32_t x) {
  const int8_t *cell = m->scores + ((ptrdiff_t)y * m->w + x) * m->c, *best = cell;
  for (int32_t c = 1; c < m->c; c++)
    if (cell[c] > *best) best = cell + c;
  return best;
}

/* No neighbour is larger, and none before it is as large. */
static inline int mbn_is_peak(const mbn_heat_map *m, int8_t score, int32_t y, int32_t x) {
  for (int32_t dy = -1; dy <= 1; dy++)
    for (int32_t dx = -1; dx <= 1; dx++) {
      if (y + dy < 0 || y + dy >= m->h || x + dx < 0 || x + dx >= m->w) continue;
      const int8_t other = *mbn_best_of(m, y + dy, x + dx);
      if (other > score || (other == score && (dy < 0 || (dy == 0 && dx < 0)))) return 0;
    }
  return 1;
}

/* Behind those that are as sure; the least sure one has to go where there is no room. */
static inline void mbn_take(mbn_peak_list *list, mbn_peak peak) {
  uint32_t at = list->found;
  list->candidates++;
  while (at && list->peaks[at - 1].score < peak.score) at--;
  if (at == list->room) return;
  if (list->found < list->room) list->found++;
  for (uint32_t i = list->found - 1u; i > at; i--) list->peaks[i] = list->peaks[i - 1];
  list->peaks[at] = peak;
}

static inline mbn_boxes_status mbn_find_peaks(const mbn_heat_map *map, mbn_peak_list *list) {
  list->found = 0, list->candidates = 0;
  const uint64_t scores = (uint64_t)map->h * map->w * map->c;
  if (scores > MBN_BOX_SCORES || (scores && !map->scores) || (list->room && !list->peaks)) return MBN_BOXES_BROKEN;
  for (int32_t y = 0; scores && y < map->h; y++)
    for (int32_t x = 0; x < map->w; x++) {
      const int8_t *cell = map->scores + ((ptrdiff_t)y * map->w + x) * map->c, *best = mbn_best_of(map, y, x);
      if (*best < map->threshold || !mbn_is_peak(map, *best, y, x)) continue;
      const mbn_peak peak = {(uint16_t)y, (uint16_t)x, (uint16_t)(best - cell), *best};
      mbn_take(list, peak);
    }
  return MBN_BOXES_OK;
}

#endif
