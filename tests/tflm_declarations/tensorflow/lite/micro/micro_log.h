// A stand-in for the tests; see README.md of tflm_declarations.
#pragma once
#include <cstdio>
#define MicroPrintf(...) (std::printf(__VA_ARGS__), std::printf("\n"))
