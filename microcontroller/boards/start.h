/* What start.c gives to the app. */
#ifndef START_H
#define START_H
#include <stdint.h>

uint32_t stack_used(void);           /* bytes of the C stack that were ever in use */
uint32_t second_stack_used(void);    /* of the second core's */
extern uint32_t stack_limit[], stack_top[], second_limit[], second_top[];
#define REG(address) (*(volatile uint32_t *)(uintptr_t)(address))
#endif
