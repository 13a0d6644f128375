// A stand-in for the tests; see README.md of tflm_declarations.
#pragma once
namespace tflite {
inline void InitializeTarget() {}
}  // namespace tflite
