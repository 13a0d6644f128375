// A stand-in for the tests; see README.md of tflm_declarations.
#pragma once
#include <cstdint>
bool stdio_init_all(void);
void sleep_ms(uint32_t milliseconds);
