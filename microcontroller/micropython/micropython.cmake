# cmake -DUSER_C_MODULES=.../microcontroller/micropython/micropython.cmake
file(GLOB MOBILENET_ENGINE ${CMAKE_CURRENT_LIST_DIR}/../engine/*.c ${CMAKE_CURRENT_LIST_DIR}/../engine/kernels/*.c)
add_library(usermod_mobilenet INTERFACE)
target_sources(usermod_mobilenet INTERFACE
    ${CMAKE_CURRENT_LIST_DIR}/mobilenet.c ${MOBILENET_ENGINE})
target_include_directories(usermod_mobilenet INTERFACE ${CMAKE_CURRENT_LIST_DIR}/../engine)
target_link_libraries(usermod INTERFACE usermod_mobilenet)
