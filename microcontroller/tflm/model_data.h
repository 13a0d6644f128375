// @MARKER@
#ifndef MODEL_DATA_H_
#define MODEL_DATA_H_

#include <cstddef>
#include <cstdint>

struct HeatMap {
  uint16_t height, width, classes;
  int16_t threshold;  // the least value of a cell in which something is
};

struct OutputInfo {
  size_t bytes;    // of int8
  float scale;     // value = (byte - zero_point) * scale
  int zero_point;
};

constexpr size_t kModelBytes = @MODEL_BYTES@;
constexpr size_t kInputBytes = @INPUT_BYTES@;  // @INPUT_SHAPE@
constexpr size_t kChannels = @CHANNELS@;
constexpr bool kReversed = @REVERSED@;  // whether the model takes blue first
constexpr int kOutputs = @OUTPUTS@;
constexpr size_t kOutputBytes = @OUTPUT_BYTES@;  // of all outputs
constexpr bool kClassifier = @CLASSIFIER@;  // whether the first output is one value for each label
constexpr int kClasses = @CLASSES@;
constexpr HeatMap kMap = @MAP@;  // of a model that finds things: its first output

extern const char kModelName[];
extern const char* const kLabels[kClasses];          // UTF-8
extern const OutputInfo kOutput[kOutputs];
extern const unsigned char kModelData[kModelBytes];  // the .tflite file, aligned to 16
extern const int8_t kPixelTable[256 * kChannels];    // [value of a pixel][channel of the input]: its int8 input
extern const uint8_t kTestPixels[kInputBytes];       // @PIXELS@
extern const int8_t kExpected[kOutputBytes];         // what @REFERENCE@ computed from it, output after output

#endif  // MODEL_DATA_H_
