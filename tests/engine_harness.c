/* Runs a compiled model in exactly the memory it asks for, or thousands of broken copies of it. Built with sanitizers.
 *
 *   harness run FILE IMAGES     IMAGES holds int8 images, one behind the other; outputs go to standard output
 *   harness fuzz FILE N SEED    N copies with some bytes of header and tables changed and the checksum repaired
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../microcontroller/engine/mbn.h"

static uint8_t *slurp(const char *path, size_t *n) {
  FILE *f = fopen(path, "rb");
  if (!f) exit(2);
  fseek(f, 0, SEEK_END);
  *n = (size_t)ftell(f);
  rewind(f);
  uint8_t *data = malloc(*n ? *n : 1); /* exactly as long as the file: reading one byte more is an error */
  if (fread(data, 1, *n, f) != *n) exit(2);
  fclose(f);
  return data;
}

static void repair(uint8_t *file, uint32_t n) {
  mbn_header *h = (void *)file;
  uint32_t crc = 0xffffffffu;
  h->crc = 0;
  for (uint32_t i = 0; i < n; i++) {
    crc ^= file[i];
    for (int b = 0; b < 8; b++) crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
  }
  h->crc = crc ^ 0xffffffffu;
}

/* One inference on rows of noise in an arena of exactly the bytes it asks for. */
static mbn_status infer(const uint8_t *file, uint32_t n, uint64_t max_work) {
  mbn_status status = mbn_check(file, n, max_work);
  if (status) return status;
  const mbn_header *h = (const void *)file;
  if (h->arena_bytes > 1 << 24) return MBN_ARENA_TOO_SMALL;
  void *arena = malloc(h->arena_bytes);
  memset(arena, 0xA5, h->arena_bytes);
  const size_t row = (size_t)h->in_w * h->in_c;
  int8_t *pixels = malloc(row);
  for (size_t i = 0; i < row; i++) pixels[i] = (int8_t)(i * 37);
  mbn *m;
  const int8_t *out;
  status = mbn_open(&m, file, n, arena, h->arena_bytes, max_work);
  if (!status) status = mbn_begin(m);
  for (int y = 0; !status && y < h->in_h; y++) status = mbn_push_row(m, pixels);
  if (!status) status = mbn_finish(m, &out);
  if (!status) { volatile int sum = 0; for (uint32_t k = 0; k < h->outputs; k++) for (uint32_t i = 0; i < mbn_outputs(file)[k].bytes; i++) sum += mbn_result(m, k)[i]; }
  free(pixels), free(arena);
  return status;
}

static uint32_t seed;
static uint32_t chance(uint32_t below) {
  seed = seed * 1664525u + 1013904223u;
  return (uint32_t)(((uint64_t)seed * below) >> 32);
}

static int fuzz(const uint8_t *good, uint32_t n, int count) {
  static const uint32_t odd[] = {0, 1, 2, 3, 4, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 0x7fffffff, 0x80000000u, 0xfffffff0u, 0xffffffffu};
  const mbn_header *h = (const void *)good;
  const uint32_t tables = (uint32_t)(sizeof *h + h->outputs * sizeof(mbn_output) + h->stages * sizeof(mbn_stage) + h->steps * sizeof(mbn_step));
  int seen[MBN_STATUS_COUNT] = {0};
  for (int k = 0; k < count; k++) {
    const uint32_t size = chance(50) ? n : chance(n + 1);
    uint8_t *file = malloc(size ? size : 1);
    memcpy(file, good, size);
    for (uint32_t edits = 1 + chance(3); edits--;) {
      const uint32_t width = 1u << chance(3), at = chance(chance(8) ? tables : n) / width * width;
      uint32_t value = 0;
      if (at + width > size) continue;
      memcpy(&value, file + at, width);
      switch (chance(3)) {
        case 0: value = odd[chance(sizeof odd / sizeof *odd)]; break;
        case 1: value ^= 1u << chance(8 * width); break;
        default: value += chance(2) ? 1 + chance(4) : 0u - 1 - chance(4);
      }
      memcpy(file + at, &value, width);
    }
    if (size >= sizeof *h && ((mbn_header *)(void *)file)->file_bytes <= size) repair(file, ((mbn_header *)(void *)file)->file_bytes);
    seen[infer(file, size, 30000000)]++;
    free(file);
  }
  for (int i = 0; i < MBN_STATUS_COUNT; i++) if (seen[i]) printf("%d %d %s\n", i, seen[i], mbn_sentence((mbn_status)i));
  return 0;
}

int main(int argc, char **argv) {
  size_t n, images_n;
  if (argc < 4) return 2;
  uint8_t *file = slurp(argv[2], &n);
  if (!strcmp(argv[1], "fuzz")) {
    seed = (uint32_t)atoi(argv[4]);
    const int status = fuzz(file, (uint32_t)n, atoi(argv[3]));
    free(file);
    return status;
  }
  uint8_t *images = slurp(argv[3], &images_n);
  const mbn_header *h = (const void *)file;
  const size_t image = (size_t)h->in_h * h->in_w * h->in_c;
  void *arena = malloc(mbn_arena_bytes(file));
  memset(arena, 0xA5, mbn_arena_bytes(file));
  mbn *m;
  mbn_status status = mbn_verify(file, (uint32_t)n);
  if (!status) status = mbn_open(&m, file, (uint32_t)n, arena, mbn_arena_bytes(file), 0);
  for (size_t at = 0; !status && at < images_n; at += image) {
    const int8_t *out;
    status = mbn_run(m, (const int8_t *)images + at, &out);
    for (uint32_t k = 0; !status && k < h->outputs; k++) fwrite(mbn_result(m, k), 1, mbn_outputs(file)[k].bytes, stdout);
  }
  if (status) fprintf(stderr, "%s\n", mbn_sentence(status));
  free(arena), free(images), free(file);
  return status;
}
