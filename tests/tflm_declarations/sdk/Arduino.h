// A stand-in for the tests; see README.md of tflm_declarations.
#pragma once
struct TestSerial {
  void begin(long);
  explicit operator bool() const;
  unsigned print(const char*);
};
extern TestSerial Serial;
void delay(unsigned long milliseconds);
