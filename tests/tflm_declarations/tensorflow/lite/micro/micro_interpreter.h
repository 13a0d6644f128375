// A stand-in for the tests; see README.md of tflm_declarations.
#pragma once
#include <cstddef>
#include <cstdint>
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

struct TfLiteTensor {
  union { int8_t* int8; } data;
  size_t bytes;
};
TfLiteStatus TestInvoke(const int8_t* input, int8_t* output);  // of the test
extern TfLiteTensor test_input, test_output;                    // of the test

namespace tflite {
class MicroInterpreter {
 public:
  template <class Resolver>
  MicroInterpreter(const Model*, const Resolver&, uint8_t*, size_t) {}
  TfLiteStatus AllocateTensors() { return kTfLiteOk; }
  size_t arena_used_bytes() const { return 1; }
  TfLiteTensor* input(size_t) { return &test_input; }
  TfLiteTensor* output(size_t) { return &test_output; }
  TfLiteStatus Invoke() { return TestInvoke(test_input.data.int8, test_output.data.int8); }
};
}  // namespace tflite
