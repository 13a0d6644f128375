// A model under Google's coralmicro SDK: reads it from the board's file system, classifies the photo beside it, and says whether the
// scores are those of the build. FreeRTOS calls app_main in a task of its own. Untested on hardware.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "libs/base/filesystem.h"
#include "libs/base/timer.h"
#include "third_party/freertos_kernel/include/FreeRTOS.h"
#include "third_party/freertos_kernel/include/task.h"

#include "mbn.h"
#ifdef APP_THRESHOLD
#include "mbn_peaks.h"
#endif

#ifndef SDRAM
#define SDRAM __attribute__((section(".sdram_bss,\"aw\",%nobits @")))
#endif
SDRAM alignas(8) static uint8_t arena[ARENA_BYTES];

namespace {
bool Read(const char *path, std::vector<uint8_t> *bytes) {
  if (coralmicro::LfsReadFile(path, bytes)) return true;
  std::printf("%s is not on the board: flash it with its data.\r\n", path);
  return false;
}

mbn_status Classify(const std::vector<uint8_t> &model, const std::vector<uint8_t> &photo, const int8_t **scores) {
  const auto n = static_cast<uint32_t>(model.size());
  mbn *m = nullptr;
  mbn_status status = mbn_verify(model.data(), n);
  if (status == MBN_OK) status = mbn_open(&m, model.data(), n, arena, sizeof arena, 0);
  return status == MBN_OK ? mbn_run(m, reinterpret_cast<const int8_t *>(photo.data()), scores) : status;
}

#ifdef APP_THRESHOLD
// What is where, at most ten things, the surest first; their middles in thousandths of the photo's width and height.
void SayFound(const std::vector<uint8_t> &model, const int8_t *scores) {
  const mbn_output *output = mbn_outputs(model.data());
  const mbn_heat_map map = {scores, output->h, output->w, output->c, APP_THRESHOLD};
  mbn_peak peaks[10];
  mbn_peak_list list = {peaks, 10, 0, 0};
  if (mbn_find_peaks(&map, &list) != MBN_BOXES_OK || !list.found) { std::printf("found nothing\r\n"); return; }
  std::printf("found %u\r\n", static_cast<unsigned>(list.candidates));
  for (int i = 0; i < list.found; i++) {
    const mbn_peak &p = peaks[i];
    std::printf("%d: ", i + 1);
    for (const char *c = mbn_label(model.data(), p.label); c && *c; c++) std::putchar(static_cast<unsigned char>(*c) < 32 || *c == 127 ? '?' : *c);
    std::printf(" %d %% at x %d, y %d of 1000\r\n", ((p.score + 128) * 100 + 128) / 256,
                ((2 * p.x + 1) * 1000 + map.w) / (2 * map.w), ((2 * p.y + 1) * 1000 + map.h) / (2 * map.h));
  }
}
#endif

void Run() {
  std::vector<uint8_t> model, photo, expected;
  if (!Read("/data/model.mbn", &model) || !Read("/data/photo.bin", &photo) || !Read("/data/expected.bin", &expected)) return;
  const int8_t *scores = nullptr;
  const uint64_t start = coralmicro::TimerMicros();
  const mbn_status status = Classify(model, photo, &scores);
  const auto took = static_cast<unsigned>(coralmicro::TimerMicros() - start);
  std::printf("status %s\r\n", mbn_status_text(status));
  if (status != MBN_OK) return;
  bool same = true;
  std::printf("microseconds %u\r\narena_bytes %u\r\noutput", took, static_cast<unsigned>(sizeof arena));
  for (size_t i = 0; i < expected.size(); i++) {
    std::printf(" %d", scores[i]);
    same = same && scores[i] == static_cast<int8_t>(expected[i]);
  }
  std::printf("\r\nphoto %s\r\n", same ? "as expected" : "different");
#ifdef APP_THRESHOLD
  SayFound(model, scores);
#endif
}
}  // namespace

extern "C" [[noreturn]] void app_main(void *param) {
  (void)param;
  Run();
  vTaskSuspend(nullptr);
  for (;;) {
  }
}
