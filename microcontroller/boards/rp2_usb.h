/* What rp2_usb.c gives to rp2.c. */
#ifndef RP2_USB_H
#define RP2_USB_H
#include <stdint.h>

void usb_poll(void);        /* answers what the host asks; touches nothing until the first usb_get */
void usb_put(uint8_t byte); /* for who listens; waits 0.25 s at most, and then drops */
int usb_get(void);          /* next byte, or -1; sends what usb_put has collected */
#endif
