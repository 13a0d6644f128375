/* Functions in assembly, outside of any C function: compilers keep many registers busy badly. */
#ifndef MBN_ASSEMBLY_H
#define MBN_ASSEMBLY_H

#ifdef MBN_IN_RAM
#define MBN_SECTION ".section .mbn_hot,\"ax\",%progbits\n"
#else
#define MBN_SECTION ".text\n"
#endif
#define FUNCTION(name, text) \
  __asm__(".syntax unified\n.thumb\n" MBN_SECTION ".balign 4\n.global " #name "\n.hidden " #name "\n.thumb_func\n.type " #name ", %function\n" #name ":\n" text ".size " #name ", . - " #name "\n.text\n")

#endif
