# make USER_C_MODULES=.../microcontroller (the folder above this one, which holds engine/ too)
MOBILENET_DIR := $(USERMOD_DIR)
MOBILENET_ENGINE := $(patsubst %/,%,$(dir $(USERMOD_DIR)))/engine
SRC_USERMOD_C += $(MOBILENET_DIR)/mobilenet.c
SRC_USERMOD_LIB_C += $(wildcard $(MOBILENET_ENGINE)/*.c $(MOBILENET_ENGINE)/kernels/*.c)
CFLAGS_USERMOD += -I$(MOBILENET_ENGINE)
