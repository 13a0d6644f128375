// A stand-in for the tests; see README.md of tflm_declarations.
#pragma once
#include <cstddef>
#include <cstdint>
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/micro_profiler_interface.h"
#include "tensorflow/lite/schema/schema_generated.h"
#define TFLITE_SCHEMA_VERSION (3)

typedef enum { kTfLiteNoType = 0, kTfLiteFloat32 = 1, kTfLiteInt8 = 9 } TfLiteType;
struct TfLiteTensor {
  TfLiteType type;
  union { int8_t* int8; } data;
  size_t bytes;
};

// Of the test: what the stand-in has and answers.
struct TestTflm {
  TfLiteStatus started, allocated, invoked;
  TfLiteTensor* input;
  TfLiteTensor* outputs;
  void (*invoke)(const int8_t* input);
};
extern TestTflm test_tflm;

namespace tflite {
class MicroResourceVariables;
class MicroInterpreter {
 public:
  template <class Resolver>
  MicroInterpreter(const Model*, const Resolver&, uint8_t*, size_t, MicroResourceVariables* = nullptr, MicroProfilerInterface* profiler = nullptr)
      : profiler_(profiler) {}
  TfLiteStatus initialization_status() const { return test_tflm.started; }
  TfLiteStatus AllocateTensors() { return test_tflm.allocated; }
  size_t arena_used_bytes() const { return 1; }
  TfLiteTensor* input(size_t) { return test_tflm.input; }
  TfLiteTensor* output(size_t i) { return test_tflm.outputs ? test_tflm.outputs + i : nullptr; }
  TfLiteStatus Invoke() {
    const uint32_t event = profiler_ ? profiler_->BeginEvent("CONV_2D") : 0;
    test_tflm.invoke(test_tflm.input->data.int8);
    if (profiler_) profiler_->EndEvent(event);
    return test_tflm.invoked;
  }

 private:
  MicroProfilerInterface* profiler_;
};
}  // namespace tflite
