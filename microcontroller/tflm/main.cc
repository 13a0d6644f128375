// @MARKER@
// Runs a photo through the model on TensorFlow Lite Micro (TFLM). At start it classifies the built-in photo, compares the
// output with the bytes that were computed on the machine that wrote this file, and prints PASS, or FAIL with the likely
// cause and the remedy. Then give `Classify` the pixels of a camera.
//
// TFLM's release builds have no messages and no function for them, so this file prints by itself and asks TFLM's headers
// for none. It links with debug and release builds alike.
#ifndef TF_LITE_STRIP_ERROR_STRINGS
#define TF_LITE_STRIP_ERROR_STRINGS
#endif
@STATIC_MEMORY@
@BOARD_INCLUDES@
#include <cstdint>

#include "model_data.h"@PEAKS_INCLUDE@
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"
#ifdef MOBILENET_PROFILE
#include "tensorflow/lite/micro/micro_profiler_interface.h"
#include "tensorflow/lite/micro/micro_time.h"
#endif

// Prints text; at the end of this file.
extern "C" void BoardPut(const char* text);

namespace {

// @ARENA_COMMENT@
#if UINTPTR_MAX > 0xffffffffu  // this computer
constexpr int kArenaBytes = @ARENA_64@;
#elif defined(__ARM_FEATURE_MVE) && !defined(TFLM_REFERENCE_KERNELS)  // Cortex-M55, M85: CMSIS-NN's Helium kernels want scratch memory
constexpr int kArenaBytes = @ARENA_HELIUM@;
#else  // every other 32-bit core
constexpr int kArenaBytes = @ARENA_BYTES@;
#endif
alignas(16) uint8_t arena[kArenaBytes];

void Put(long number) {
  char digits[24];
  int at = sizeof digits - 1;
  const bool negative = number < 0;
  unsigned long rest = negative ? 0ul - static_cast<unsigned long>(number) : static_cast<unsigned long>(number);
  digits[at] = 0;
  do digits[--at] = static_cast<char>('0' + rest % 10); while (rest /= 10);
  if (negative) digits[--at] = '-';
  BoardPut(digits + at);
}
void Put(const char* text) { BoardPut(text); }

// Prints texts and integers on one line.
void Line() { Put("\n"); }
template <class First, class... Rest>
void Line(First first, Rest... rest) {
  Put(first);
  Line(rest...);
}

#ifdef MOBILENET_PROFILE
// Ticks of each op, in the order in which they run.
class Profiler : public tflite::MicroProfilerInterface {
 public:
  uint32_t BeginEvent(const char* tag) override {
    if (count_ == kMost) return kMost;
    tags_[count_] = tag;
    begun_[count_] = tflite::GetCurrentTimeTicks();
    took_[count_] = 0;
    return count_++;
  }
  void EndEvent(uint32_t event) override {
    if (event < count_) took_[event] = tflite::GetCurrentTimeTicks() - begun_[event];
  }
  void Print() {
    uint32_t total = 0;
    for (uint32_t i = 0; i < count_; ++i) {
      Line("op ", static_cast<long>(i), " ", tags_[i], ": ", static_cast<long>(took_[i]), " ticks");
      total += took_[i];
    }
    Line("profile: ", static_cast<long>(count_), " ops, ", static_cast<long>(total), " ticks of 1/", static_cast<long>(tflite::ticks_per_second()), " s");
    if (!count_) Line("No op was seen: this TFLM is a release build, which leaves profiling out. Build it with BUILD_TYPE=default.");
    else if (!total) Line("All ticks are 0: this TFLM has no clock for the board. Write GetCurrentTimeTicks() for it (micro_time.h).");
    count_ = 0;
  }

 private:
  static constexpr uint32_t kMost = @OPS@ + 8;
  const char* tags_[kMost];
  uint32_t begun_[kMost], took_[kMost], count_ = 0;
};
Profiler profiler;
#endif

// The ops of this model and no others: each one that is added costs flash.
using Resolver = tflite::MicroMutableOpResolver<@OP_COUNT@>;

bool Added(TfLiteStatus status, const char* op) {
  if (status == kTfLiteOk) return true;
  Line("FAIL: ", op, " was refused. Likely cause: the number of Resolver is smaller than the number of ops. Remedy: export the model again.");
  return false;
}

bool AddOps(Resolver& resolver) {
  return @ADD_OPS@;
}

// True if a tensor is int8 and has `bytes` bytes; else it prints what is wrong.
bool Checked(const TfLiteTensor* tensor, const char* what, long index, size_t bytes) {
  if (tensor == nullptr) {
    Line("FAIL: there is no ", what, " ", index, ". Likely cause: model_data.cc holds another model. Remedy: export again, and take all files.");
    return false;
  }
  if (tensor->type == kTfLiteInt8 && tensor->bytes == bytes) return true;
  Line("FAIL: ", what, " ", index, " is of type ", static_cast<long>(tensor->type), " with ", static_cast<long>(tensor->bytes), " bytes, wanted ",
       static_cast<long>(bytes), " of int8. Likely causes: model_data.cc holds another model (remedy: export again, and take all files); or ",
       "@STATIC_REMEDY@.");
  return false;
}

// The model ready to run, or nullptr after printing why not. All work is done by the first call.
tflite::MicroInterpreter* Start() {
  const tflite::Model* model = tflite::GetModel(kModelData);
  if (model->version() != TFLITE_SCHEMA_VERSION) {
    Line("FAIL: the model has schema version ", static_cast<long>(model->version()), ", this TFLM reads ", static_cast<long>(TFLITE_SCHEMA_VERSION),
         ". Likely cause: kModelData was changed, or TFLM is very old. Remedy: export again; update TFLM.");
    return nullptr;
  }
  static Resolver resolver;
  static const bool added = AddOps(resolver);
  if (!added) return nullptr;
#ifdef MOBILENET_PROFILE
  static tflite::MicroInterpreter interpreter(model, resolver, arena, kArenaBytes, nullptr, &profiler);
#else
  static tflite::MicroInterpreter interpreter(model, resolver, arena, kArenaBytes);
#endif
  if (interpreter.initialization_status() != kTfLiteOk) {
    Line("FAIL: the interpreter could not start. Likely cause: ", static_cast<long>(kArenaBytes), " bytes of arena do not even hold its own records. ",
         "Remedy: export again without --arena, so that it is measured.");
    return nullptr;
  }
  static const TfLiteStatus allocated = interpreter.AllocateTensors();
  if (allocated != kTfLiteOk) {
    Line("FAIL: AllocateTensors. Likely causes: ", static_cast<long>(kArenaBytes), " bytes of arena are too few for the kernels of this TFLM ",
         "(remedy: add 4096 to kArenaBytes until it passes); if twice the arena fails too, this TFLM is older than an op of the model ",
         "or lacks a type of it (remedy: update TFLM; a debug build says which op).");
    return nullptr;
  }
  if (!Checked(interpreter.input(0), "input", 0, kInputBytes)) return nullptr;
  for (int i = 0; i < kOutputs; ++i) {
    if (!Checked(interpreter.output(i), "output", i, kOutput[i].bytes)) return nullptr;
  }
  Line("arena: ", static_cast<long>(interpreter.arena_used_bytes()), " of ", static_cast<long>(kArenaBytes), " bytes used");
  return &interpreter;
}

// uint8 pixels of the model's size, @PIXEL_ORDER@, rows from the top, into its int8 input: the bytes that Python computes.
void Prepare(const uint8_t* pixels, int8_t* input) {
  for (size_t i = 0; i < kInputBytes; i += kChannels) {
    for (size_t c = 0; c < kChannels; ++c) input[i + c] = kPixelTable[pixels[i + (kReversed ? kChannels - 1 - c : c)] * kChannels + c];
  }
}

// True if the outputs hold the result for `pixels`; the input is overwritten while the model runs, so it is written each time.
bool Classify(tflite::MicroInterpreter& interpreter, const uint8_t* pixels) {
  Prepare(pixels, interpreter.input(0)->data.int8);
  const TfLiteStatus status = interpreter.Invoke();
  if (status == kTfLiteOk) return true;
  Line("FAIL: Invoke gave status ", static_cast<long>(status), ". Likely causes: a kernel of this TFLM can't do one of the ops, or something ",
       "overwrote the arena (a stack that is too small grows into it). Remedy: give more stack; a debug build of TFLM says which op.");
  return false;
}

// Compares byte by byte; false after printing the first difference.
bool SelfTest(tflite::MicroInterpreter& interpreter) {
  const int8_t* expected = kExpected;
  long compared = 0;
  for (int k = 0; k < kOutputs; ++k) {
    const int8_t* output = interpreter.output(k)->data.int8;
    for (size_t i = 0; i < kOutput[k].bytes; ++i, ++compared, ++expected) {
      if (output[i] == *expected) continue;
      Line("FAIL: output ", static_cast<long>(k), ", byte ", static_cast<long>(i), " is ", static_cast<long>(output[i]), ", wanted ", static_cast<long>(*expected),
           ". Likely causes: a kernel of this TFLM rounds differently (remedy: build it with the reference kernels and compare), or ",
           "memory was overwritten (remedy: give more stack).");
      return false;
    }
  }
  Line("PASS: ", compared, " output bytes equal the expected ones.");
  return true;
}

#ifdef MBN_PEAKS_H
// Prints what is where, at most ten things, the surest first; their middles in thousandths of the photo's width and height.
void PrintAnswer(const int8_t* output) {
  mbn_peak peaks[10];
  mbn_peak_list list = {peaks, 10, 0, 0};
  const mbn_heat_map map = {output, kMap.height, kMap.width, kMap.classes, kMap.threshold};
  if (mbn_find_peaks(&map, &list) != MBN_BOXES_OK || !list.found) return Line("found nothing");
  Line("found ", static_cast<long>(list.candidates));
  for (long i = 0; i < list.found; ++i) {
    Line(i + 1, ": ", kLabels[peaks[i].label], " ", ((peaks[i].score + 128L) * 100 + 128) / 256, " % at x ", ((2L * peaks[i].x + 1) * 1000 + map.w) / (2L * map.w),
         ", y ", ((2L * peaks[i].y + 1) * 1000 + map.h) / (2L * map.h), " of 1000");
  }
}
#else
// Prints the likeliest classes, at most five, in thousandths.
void PrintAnswer(const int8_t* output) {
  static bool printed[kClasses];
  for (int i = 0; i < kClasses; ++i) printed[i] = false;
  for (int n = 0; kClassifier && n < kClasses && n < 5; ++n) {
    int best = -1;
    for (int i = 0; i < kClasses; ++i) {
      if (!printed[i] && (best < 0 || output[i] > output[best])) best = i;
    }
    printed[best] = true;
    const float score = static_cast<float>(output[best] - kOutput[0].zero_point) * kOutput[0].scale * 1000.0f;
    Line(static_cast<long>(best), ": ", kLabels[best], " ", static_cast<long>(score + (score < 0 ? -0.5f : 0.5f)), "/1000");
  }
}
#endif

}  // namespace

// Classifies the built-in photo; 0 if all is well, else 1 after printing why.
int Run() {
  tflite::InitializeTarget();
  Line(kModelName, " on TensorFlow Lite Micro");
  tflite::MicroInterpreter* interpreter = Start();
  if (interpreter == nullptr || !Classify(*interpreter, kTestPixels)) return 1;
  const bool passed = SelfTest(*interpreter);
  PrintAnswer(interpreter->output(0)->data.int8);
#ifdef MOBILENET_PROFILE
  profiler.Print();
#endif
  return passed ? 0 : 1;
}

@BOARD@
