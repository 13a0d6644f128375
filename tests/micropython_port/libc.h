/* Of a C library, what MicroPython's core declares and uses; all of its headers lead here. None is linked. */
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef int32_t ssize_t;
typedef int jmp_buf[32];

#define assert(e) ((void)0)
#define alloca __builtin_alloca
#define MICROPY_PLATFORM_COMPILER ""

void abort(void);
void *memcpy(void *, const void *, size_t);
void *memmove(void *, const void *, size_t);
void *memset(void *, int, size_t);
void *memchr(const void *, int, size_t);
int memcmp(const void *, const void *, size_t);
size_t strlen(const char *);
int strcmp(const char *, const char *);
int strncmp(const char *, const char *, size_t);
char *strchr(const char *, int);
char *strcpy(char *, const char *);

float powf(float, float);
float fmodf(float, float);
float floorf(float);
float ceilf(float);
float truncf(float);
float nearbyintf(float);
float nanf(const char *);
#define fabsf __builtin_fabsf
#define copysignf __builtin_copysignf
#define isnan(x) __builtin_isnan(x)
#define isinf(x) __builtin_isinf(x)
#define isfinite(x) __builtin_isfinite(x)
#define signbit(x) __builtin_signbit(x)
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
