/* What start.c gives to the app. */
#ifndef START_H
#define START_H
#include <stdint.h>

uint32_t stack_used(void);           /* bytes of the C stack that were ever in use */
#define REG(address) (*(volatile uint32_t *)(uintptr_t)(address))
#endif
