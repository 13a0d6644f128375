/* Runs a compiled model in exactly the memory it asks for. Built with sanitizers. Hostile files: engine_fuzzer.c.
 *
 *   harness run FILE IMAGES     IMAGES holds int8 images, one behind the other; outputs go to standard output
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

int main(int argc, char **argv) {
  size_t n, images_n;
  if (argc < 4) return 2;
  uint8_t *file = slurp(argv[2], &n);
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
    for (uint32_t k = 0; !status && k < h->outputs; k++) fwrite(mbn_get_output(m, k), 1, mbn_outputs(file)[k].bytes, stdout);
  }
  if (status) fprintf(stderr, "%s\n", mbn_status_text(status));
  free(arena), free(images), free(file);
  return status;
}
