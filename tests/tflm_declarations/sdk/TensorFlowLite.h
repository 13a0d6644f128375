// A stand-in for the tests; see README.md of tflm_declarations.
