# Third-party packages of the library itself. Those of examples, tests and bindings are found where they are used.
find_package(Threads REQUIRED)

if(MM2_ABSL_SOURCE_DIR) # built in: for wheels and for ThreadSanitizer, which misreads the system's abseil
  set(ABSL_PROPAGATE_CXX_STD ON)
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)
  set(BUILD_SHARED_LIBS OFF)
  add_subdirectory(${MM2_ABSL_SOURCE_DIR} absl EXCLUDE_FROM_ALL SYSTEM)
else()
  find_package(absl REQUIRED)
endif()

find_package(nlohmann_json 3.11 REQUIRED)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
