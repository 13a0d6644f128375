// A stand-in for the tests; see README.md of tflm_declarations.
#pragma once
#include <cstddef>
#include <cstdint>
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/micro_profiler_interface.h"
#include "tensorflow/lite/schema/schema_generated.h"
#define TFLITE_SCHEMA_VERSION (3)

typedef enum { kTfLiteNoType = 0, kTfLiteFloat32 = 1, kTfLiteInt8 = 9 } TfLiteType;
typedef union { void* data; int8_t* int8; } TfLitePtrUnion;
typedef struct { float scale; int32_t zero_point; } TfLiteQuantizationParams;
typedef enum { kTfLiteNoQuantization = 0 } TfLiteQuantizationType;
typedef struct { TfLiteQuantizationType type; void* params; } TfLiteQuantization;
typedef enum { kTfLiteMemNone = 0 } TfLiteAllocationType;
// The two forms of a tensor: which one an app sees must be the one that its library was built with.
#define TEST_PLACES(host, arm) (sizeof(void*) == 8 ? (host) : (arm))  // measured on the library's headers, gcc 12
#ifdef TF_LITE_STATIC_MEMORY
struct TfLiteTensor {
  TfLiteQuantization quantization;
  TfLiteQuantizationParams params;
  TfLitePtrUnion data;
  void* dims;
  size_t bytes;
  TfLiteType type;
  TfLiteAllocationType allocation_type;
  bool is_variable;
};
static_assert(sizeof(TfLiteTensor) == TEST_PLACES(64, 32) && offsetof(TfLiteTensor, type) == TEST_PLACES(48, 28) &&
              offsetof(TfLiteTensor, data) == TEST_PLACES(24, 16) && offsetof(TfLiteTensor, bytes) == TEST_PLACES(40, 24), "as in the library");
#else
struct TfLiteTensor {
  TfLiteType type;
  TfLitePtrUnion data;
  void* dims;
  TfLiteQuantizationParams params;
  TfLiteAllocationType allocation_type;
  size_t bytes;
  const void* allocation;
  const char* name;
  void* delegate;
  int buffer_handle;
  bool data_is_stale, is_variable;
  TfLiteQuantization quantization;
  void* sparsity;
  const void* dims_signature;
};
static_assert(sizeof(TfLiteTensor) == TEST_PLACES(112, 64) && offsetof(TfLiteTensor, type) == 0 &&
              offsetof(TfLiteTensor, data) == TEST_PLACES(8, 4) && offsetof(TfLiteTensor, bytes) == TEST_PLACES(40, 24), "as in the library");
#endif

namespace tflite {
class MicroResourceVariables;
class MicroInterpreter {
 public:
  template <class Resolver>
  MicroInterpreter(const Model*, const Resolver&, uint8_t*, size_t, MicroResourceVariables* = nullptr, MicroProfilerInterface* profiler = nullptr)
      : profiler_(profiler) {}
  TfLiteStatus initialization_status() const;
  TfLiteStatus AllocateTensors();
  size_t arena_used_bytes() const { return 1; }
  TfLiteTensor* input(size_t index);
  TfLiteTensor* output(size_t index);
  TfLiteStatus Invoke();

 private:
  MicroProfilerInterface* profiler_;
};
}  // namespace tflite
