// A stand-in for the tests; see README.md of tflm_declarations.
#pragma once
void vTaskDelay(const TickType_t ticks);
