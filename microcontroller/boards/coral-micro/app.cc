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
}
}  // namespace

extern "C" [[noreturn]] void app_main(void *param) {
  (void)param;
  Run();
  vTaskSuspend(nullptr);
  for (;;) {
  }
}
