# LANNER_KERNEL_OBJECTS, LANNER_ISA_TABLES: the kernels. Included, not a subdirectory: CMake knows how a file is made only
# within one folder.
#
# Every file under kernels/ and gemm/ is compiled once for each instruction set. The objects of one set are then linked
# into a single relocatable object in which all but its table is local: no function compiled for AVX-512 can be picked
# by the linker for the rest of the program.
file(GLOB kernel_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/kernels/*.cpp ${CMAKE_CURRENT_LIST_DIR}/gemm/*.cpp)

set(LANNER_KERNEL_OBJECTS "")
set(tables "")

function(lanner_isa name bytes)
  set(target lanner_kernels_${name})
  add_library(${target} OBJECT ${kernel_sources})
  target_compile_definitions(${target} PRIVATE LANNER_ISA=${name} LANNER_VECTOR_BYTES=${bytes})
  target_compile_options(${target} PRIVATE -O3 -fno-math-errno -fno-trapping-math -fno-exceptions -fno-rtti -Wall -Wextra
    -Wno-psabi -Wno-ignored-attributes ${ARGN})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/cpp/src ${PROJECT_SOURCE_DIR}/cpp/include)
  set(object ${CMAKE_CURRENT_BINARY_DIR}/${target}.o)
  if(APPLE)
    set(localize ${CMAKE_CXX_COMPILER} -nostdlib -r -Wl,-exported_symbol,_${target} -o ${object} $<TARGET_OBJECTS:${target}>)
    add_custom_command(OUTPUT ${object} DEPENDS ${target} $<TARGET_OBJECTS:${target}> COMMAND_EXPAND_LISTS COMMAND ${localize})
  else()
    add_custom_command(OUTPUT ${object} DEPENDS ${target} $<TARGET_OBJECTS:${target}> COMMAND_EXPAND_LISTS
      COMMAND ${CMAKE_LINKER} -r --force-group-allocation -o ${object} $<TARGET_OBJECTS:${target}>
      COMMAND ${CMAKE_OBJCOPY} --keep-global-symbol=${target} ${object})
  endif()
  set_source_files_properties(${object} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  set(LANNER_KERNEL_OBJECTS ${LANNER_KERNEL_OBJECTS} ${object} PARENT_SCOPE)
  set(tables "${tables} LANNER_ISA_TABLE(${name})" PARENT_SCOPE)
endfunction()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  lanner_isa(baseline 16)
  lanner_isa(avx2 32 -mavx2 -mfma -mf16c)
  # GCC prefers 256-bit vectors for some CPUs even where 512 are asked for.
  lanner_isa(avx512 64 -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx2 -mfma -mf16c -mprefer-vector-width=512)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  lanner_isa(neon 16)
else()
  lanner_isa(baseline 16)
endif()
set(LANNER_ISA_TABLES "${tables}")
