// @MARKER@
#include "model_data.h"

const char kModelName[] = @NAME_STRING@;

const char* const kLabels[kClasses] = {
@LABELS@
};

const int8_t kExpected[kClasses] = {
@EXPECTED@
};

const int8_t kTestInput[kInputBytes] = {
@TEST_INPUT@
};

alignas(16) const unsigned char kModelData[kModelBytes] = {
@MODEL_DATA@
};
