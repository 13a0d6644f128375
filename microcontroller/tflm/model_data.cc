// @MARKER@
#include "model_data.h"

const char kModelName[] = @NAME_STRING@;

const char* const kLabels[kClasses] = {
@LABELS@
};

const OutputInfo kOutput[kOutputs] = {
@OUTPUT_INFO@
};

const int8_t kExpected[kOutputBytes] = {
@EXPECTED@
};

const int8_t kPixelTable[256 * kChannels] = {
@PIXEL_TABLE@
};

const uint8_t kTestPixels[kInputBytes] = {
@TEST_PIXELS@
};

alignas(16) const unsigned char kModelData[kModelBytes] = {
@MODEL_DATA@
};
