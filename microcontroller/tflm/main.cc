// @MARKER@
// Runs one image through the model on TensorFlow Lite Micro, compares the output with the bytes that
// were computed on the machine that wrote this file, and prints the result. Replace kTestInput by a camera.
#include <cstdint>
#include <cstring>

#include "model_data.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

// @ARENA_COMMENT@
constexpr int kArenaBytes = @ARENA_BYTES@;
alignas(16) uint8_t arena[kArenaBytes];

// The ops of this model and no others: each one that is added costs flash.
using Resolver = tflite::MicroMutableOpResolver<@OP_COUNT@>;

bool AddOps(Resolver& resolver) {
  return @ADD_OPS@;
}

// Prints the likeliest classes, at most five, in tenths of a percent: MicroPrintf may lack %f.
void PrintScores(const int8_t* output) {
  bool printed[kClasses] = {};
  for (int n = 0; n < kClasses && n < 5; ++n) {
    int best = -1;
    for (int i = 0; i < kClasses; ++i) {
      if (!printed[i] && (best < 0 || output[i] > output[best])) best = i;
    }
    printed[best] = true;
    const float score = static_cast<float>(output[best] - kOutputZeroPoint) * kOutputScale;
    MicroPrintf("%d: %s %d/1000", best, kLabels[best], static_cast<int>(score * 1000.0f + 0.5f));
  }
}

// Compares byte by byte; false after printing the first difference.
bool SelfTest(const int8_t* output) {
  for (int i = 0; i < kClasses; ++i) {
    if (output[i] == kExpected[i]) continue;
    MicroPrintf("FAIL: output %d is %d, wanted %d. A kernel of this TFLM build rounds differently: "
                "build it with the reference kernels and compare.", i, output[i], kExpected[i]);
    return false;
  }
  MicroPrintf("PASS: %d output bytes equal the expected ones.", kClasses);
  return true;
}

}  // namespace

int main() {
  tflite::InitializeTarget();
  MicroPrintf("%s on TensorFlow Lite Micro", kModelName);

  const tflite::Model* model = tflite::GetModel(kModelData);
  if (model->version() != TFLITE_SCHEMA_VERSION) {
    MicroPrintf("FAIL: the model has schema version %d, this TFLM reads %d. Convert the model again or update TFLM.",
                static_cast<int>(model->version()), TFLITE_SCHEMA_VERSION);
    return 1;
  }
  static Resolver resolver;
  if (!AddOps(resolver)) {
    MicroPrintf("FAIL: an op could not be registered. Raise the number in Resolver.");
    return 1;
  }
  static tflite::MicroInterpreter interpreter(model, resolver, arena, kArenaBytes);
  if (interpreter.AllocateTensors() != kTfLiteOk) {
    MicroPrintf("FAIL: %d bytes of arena are not enough, or an op is missing (see above). Raise kArenaBytes in main.cc.",
                kArenaBytes);
    return 1;
  }
  MicroPrintf("arena: %d of %d bytes used", static_cast<int>(interpreter.arena_used_bytes()), kArenaBytes);

  TfLiteTensor* input = interpreter.input(0);
  TfLiteTensor* output = interpreter.output(0);
  if (input->bytes != kInputBytes || output->bytes != static_cast<size_t>(kClasses)) {
    MicroPrintf("FAIL: the model takes %d bytes and gives %d; model_data.cc holds another model. Export again.",
                static_cast<int>(input->bytes), static_cast<int>(output->bytes));
    return 1;
  }
  std::memcpy(input->data.int8, kTestInput, kInputBytes);
  if (interpreter.Invoke() != kTfLiteOk) {
    MicroPrintf("FAIL: the model did not run (see above). Check that this TFLM is at least as new as the model's converter.");
    return 1;
  }
  const bool passed = SelfTest(output->data.int8);
  PrintScores(output->data.int8);
  return passed ? 0 : 1;
}
