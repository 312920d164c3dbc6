# Third-party packages of the library itself. Those of examples, tests and bindings are found where they are used.
find_package(Threads REQUIRED)

if(MM2_ABSL_SOURCE_DIR) # built in: for wheels and for ThreadSanitizer, which misreads the system's abseil
  if(NOT EXISTS ${MM2_ABSL_SOURCE_DIR}/CMakeLists.txt)
    message(FATAL_ERROR "MM2_ABSL_SOURCE_DIR: there is no abseil in ${MM2_ABSL_SOURCE_DIR}; cmake/fetch-abseil.sh puts it into build/abseil")
  endif()
  block(SCOPE_FOR VARIABLES)
    set(ABSL_PROPAGATE_CXX_STD ON)
    set(CMAKE_CXX_STANDARD 20)
    set(CMAKE_POSITION_INDEPENDENT_CODE ON)
    set(CMAKE_CXX_VISIBILITY_PRESET hidden)
    set(BUILD_SHARED_LIBS OFF)
    if(MM2_SANITIZE)
      list(JOIN MM2_SANITIZE "," sanitizers)
      string(APPEND CMAKE_CXX_FLAGS " -fsanitize=${sanitizers}")
    endif()
    add_subdirectory(${MM2_ABSL_SOURCE_DIR} ${PROJECT_BINARY_DIR}/absl EXCLUDE_FROM_ALL SYSTEM)
  endblock()
else()
  find_package(absl REQUIRED)
endif()

find_package(nlohmann_json 3.11 REQUIRED)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_path(MM2_XXHASH_INCLUDE_DIR xxhash.h REQUIRED) # headers only: everything is inlined
mark_as_advanced(MM2_XXHASH_INCLUDE_DIR)

if(MM2_CUDA) # fails here, with CMake's words, when there is no toolkit
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR "MM2_CUDA is ON, but no CUDA compiler was found; set CUDACXX to the path of nvcc, or leave MM2_CUDA off")
  endif()
  find_package(CUDAToolkit REQUIRED)
  message(STATUS "CUDA toolkit ${CUDAToolkit_VERSION}: the plug-in is built for ${CMAKE_CUDA_ARCHITECTURES}")
endif()
