# Rooms: one object library per folder, which sees the headers of the rooms it names (and of those that they name) and no others.
#
#   mm2_room(lib/text USES lib/base SOURCES a.cpp b.cpp LINK absl::strings)
#
# A room's headers are reached through a link farm, <build>/rooms/<room>/..., so that `#include "text/tokenizer.h"` resolves
# only for rooms that are allowed to say it. Rooms of lib/ drop the prefix; kernels keep it: "kernels/api/ops.h".

# Build trees under build/ share one farm: equal include paths let a compiler cache serve all of them.
set(mm2_rooms_dir ${PROJECT_BINARY_DIR}/rooms)
cmake_path(IS_PREFIX PROJECT_SOURCE_DIR ${PROJECT_BINARY_DIR} NORMALIZE mm2_inside)
if(mm2_inside)
  set(mm2_rooms_dir ${PROJECT_SOURCE_DIR}/build/rooms)
endif()

function(mm2_room_target room out)
  string(REGEX REPLACE "^lib/" "" name ${room})
  string(REPLACE "/" "_" name ${name})
  set(${out} mm2_${name} PARENT_SCOPE)
endfunction()

function(mm2_room room)
  cmake_parse_arguments(ARG "" "" "USES;SOURCES;LINK" ${ARGN})
  mm2_room_target(${room} target)
  string(REGEX REPLACE "^lib/" "" shown ${room})
  set(farm ${mm2_rooms_dir}/${target})
  get_filename_component(parent ${farm}/${shown} DIRECTORY)
  file(MAKE_DIRECTORY ${parent})
  if(NOT EXISTS ${farm}/${shown}) # made again only where missing: other build trees may be using it
    file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR} ${farm}/${shown} SYMBOLIC)
  endif()

  if(ARG_SOURCES)
    add_library(${target} OBJECT ${ARG_SOURCES})
    mm2_compile_settings(${target})
    set(scope PUBLIC)
  else()
    add_library(${target} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(${target} ${scope} ${farm})
  set(closure ${target})
  foreach(used IN LISTS ARG_USES)
    mm2_room_target(${used} used_target)
    if(NOT TARGET ${used_target} AND used MATCHES "^kernels/cpu/")
      continue() # kernels for another processor
    endif()
    target_link_libraries(${target} ${scope} ${used_target})
    get_property(used_closure GLOBAL PROPERTY MM2_CLOSURE_${used_target})
    list(APPEND closure ${used_closure})
  endforeach()
  if(ARG_LINK)
    target_link_libraries(${target} ${scope} ${ARG_LINK})
  endif()
  list(REMOVE_DUPLICATES closure)
  set_property(GLOBAL PROPERTY MM2_CLOSURE_${target} ${closure})
  set_property(GLOBAL PROPERTY MM2_EXTERNAL_${target} ${ARG_LINK})
  set_property(GLOBAL APPEND PROPERTY MM2_ROOMS ${target})
endfunction()

# Links the objects of the named rooms, and of every room below them, into an executable or library.
function(mm2_link_rooms target)
  set(all "")
  foreach(room IN LISTS ARGN)
    mm2_room_target(${room} room_target)
    get_property(closure GLOBAL PROPERTY MM2_CLOSURE_${room_target})
    list(APPEND all ${closure})
  endforeach()
  list(REMOVE_DUPLICATES all)
  target_link_libraries(${target} PRIVATE ${all})
endfunction()

# Makes `target` of the objects of the named rooms and of every room below them, without a trace of the rooms in the
# interface of the target: so it can be installed and exported. Third-party libraries are linked privately; for a static
# library they become requirements of whoever links it, and the installed configuration finds them again.
function(mm2_embed_rooms target)
  set(all "")
  foreach(room IN LISTS ARGN)
    mm2_room_target(${room} room_target)
    get_property(closure GLOBAL PROPERTY MM2_CLOSURE_${room_target})
    list(APPEND all ${closure})
  endforeach()
  list(REMOVE_DUPLICATES all)
  set(external Threads::Threads)
  foreach(room_target IN LISTS all)
    get_target_property(type ${room_target} TYPE)
    if(type STREQUAL "OBJECT_LIBRARY")
      target_sources(${target} PRIVATE $<TARGET_OBJECTS:${room_target}>)
    endif()
    get_property(linked GLOBAL PROPERTY MM2_EXTERNAL_${room_target})
    list(APPEND external ${linked})
  endforeach()
  list(REMOVE_DUPLICATES external)
  list(FILTER external EXCLUDE REGEX "^(nlohmann_json|Eigen3)::") # headers only: inside the objects already
  target_link_libraries(${target} PRIVATE ${external} ${CMAKE_DL_LIBS})
endfunction()
