# Rooms of kernels/cuda. Their sources are compiled twice: by nvcc for the plug-in, where MM2_CUDA is on, and by the C++
# compiler against tests/support/cuda_emulator, always, where tests are built.
#
#   mm2_cuda_room(kernels/cuda/simple USES kernels/cuda/common SOURCES linear.cu step.cpp)
#
# HOPPER: kernels with instructions of compute capability 9.0 and no other; they are compiled for 90a whatever
# CMAKE_CUDA_ARCHITECTURES says, which the other rooms follow.
#
# .cu files hold kernels and what launches them; .cpp files are code of the host alone.
if(MM2_CUDA)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 90a-real)
  endif()
  if(PROJECT_IS_TOP_LEVEL AND MM2_CCACHE AND NOT DEFINED CMAKE_CUDA_COMPILER_LAUNCHER)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${MM2_CCACHE})
  endif()
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
endif()

# The rules of our own code (mm2_compile_settings) in the words of nvcc.
function(mm2_cuda_compile_settings target)
  target_compile_features(${target} PRIVATE cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF CUDA_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON
                                             CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden
                                             VISIBILITY_INLINES_HIDDEN ON CUDA_RUNTIME_LIBRARY Static
                                             CUDA_SEPARABLE_COMPILATION OFF)
  set(host -Wall -Wextra -ffp-contract=off)
  if(MM2_WARNINGS_AS_ERRORS)
    list(APPEND host -Werror)
  endif()
  list(JOIN host "," joined)
  target_compile_options(
    ${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${host}>
                      $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20 -fmad=false -Xcompiler=${joined} -no-compress -Xptxas=-warn-spills
                      $<$<BOOL:${MM2_WARNINGS_AS_ERRORS}>:-Werror=all-warnings>>)
  target_link_libraries(${target} PRIVATE CUDA::cudart_static)
endfunction()

function(mm2_cuda_room room)
  cmake_parse_arguments(ARG "HOPPER" "" "USES;SOURCES" ${ARGN})
  mm2_room(${room} USES ${ARG_USES})
  mm2_room_target(${room} target)
  list(TRANSFORM ARG_SOURCES PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  set_property(GLOBAL APPEND PROPERTY MM2_CUDA_ROOMS ${target})
  set_property(GLOBAL PROPERTY MM2_CUDA_SOURCES_${target} ${ARG_SOURCES})
  if(MM2_CUDA AND ARG_SOURCES)
    add_library(${target}_device OBJECT ${ARG_SOURCES})
    mm2_cuda_compile_settings(${target}_device)
    target_link_libraries(${target}_device PRIVATE ${target})
    if(ARG_HOPPER)
      set_target_properties(${target}_device PROPERTIES CUDA_ARCHITECTURES 90a-real)
    endif()
  endif()
endfunction()
