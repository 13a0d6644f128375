# cmake -DUSER_C_MODULES=.../microcontroller/micropython/micropython.cmake
add_library(usermod_mobilenet INTERFACE)
target_sources(usermod_mobilenet INTERFACE
    ${CMAKE_CURRENT_LIST_DIR}/mobilenet.c
    ${CMAKE_CURRENT_LIST_DIR}/../engine/mbn.c
    ${CMAKE_CURRENT_LIST_DIR}/../engine/mbn_kernels.c)
target_include_directories(usermod_mobilenet INTERFACE ${CMAKE_CURRENT_LIST_DIR}/../engine)
target_link_libraries(usermod INTERFACE usermod_mobilenet)
