// A stand-in for the tests; see README.md of tflm_declarations.
#pragma once
#include <cstdint>
namespace tflite {
struct Model {
  uint32_t version() const;  // of the test
};
inline const Model* GetModel(const void* data) { return static_cast<const Model*>(data); }
}  // namespace tflite
