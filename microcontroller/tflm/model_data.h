// @MARKER@
#ifndef MODEL_DATA_H_
#define MODEL_DATA_H_

#include <cstddef>
#include <cstdint>

constexpr size_t kModelBytes = @MODEL_BYTES@;
constexpr size_t kInputBytes = @INPUT_BYTES@;  // @INPUT_SHAPE@ of int8
constexpr int kClasses = @CLASSES@;
constexpr float kOutputScale = @OUTPUT_SCALE@;  // probability = (byte - zero point) * scale
constexpr int kOutputZeroPoint = @OUTPUT_ZERO_POINT@;

extern const char kModelName[];
extern const char* const kLabels[kClasses];      // UTF-8
extern const unsigned char kModelData[kModelBytes];  // the .tflite file, aligned to 16
extern const int8_t kTestInput[kInputBytes];     // @PIXELS@
extern const int8_t kExpected[kClasses];         // what @JUDGE@ computed from it

#endif  // MODEL_DATA_H_
