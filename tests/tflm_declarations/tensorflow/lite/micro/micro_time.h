// A stand-in for the tests; see README.md of tflm_declarations.
#pragma once
#include <cstdint>
namespace tflite {
inline uint32_t ticks_per_second() { return 1000; }
inline uint32_t GetCurrentTimeTicks() {
  static uint32_t now = 0;
  return now += 7;
}
}  // namespace tflite
