# What `cmake --install` puts where: headers, both libraries, the mm2 program, and what find_package(mm2) and
# pkg-config need. Every path in it is relative, so that the installed tree may be moved.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(mm2_config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/mm2)

install(DIRECTORY include/mm2 DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
install(TARGETS mm2 EXPORT mm2-shared RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT mm2-shared NAMESPACE mm2:: DESTINATION ${mm2_config_dir})

# With abseil built in, the archive would need abseil's own archives beside it: only the shared library is installed.
if(NOT MM2_ABSL_SOURCE_DIR)
  set_target_properties(mm2_static PROPERTIES EXPORT_NAME static)
  install(TARGETS mm2_static EXPORT mm2-static ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(EXPORT mm2-static NAMESPACE mm2:: DESTINATION ${mm2_config_dir})
endif()

# Beside the library, where it is looked for. Nobody links to it.
if(TARGET mm2_cuda)
  install(TARGETS mm2_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()

if(TARGET mm2_cli)
  file(RELATIVE_PATH lib_from_bin ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
  set_target_properties(mm2_cli PROPERTIES INSTALL_RPATH "$ORIGIN/${lib_from_bin}")
  install(TARGETS mm2_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

configure_package_config_file(cmake/mm2Config.cmake.in ${PROJECT_BINARY_DIR}/mm2Config.cmake INSTALL_DESTINATION ${mm2_config_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/mm2ConfigVersion.cmake VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/mm2Config.cmake ${PROJECT_BINARY_DIR}/mm2ConfigVersion.cmake DESTINATION ${mm2_config_dir})

# pkg-config. Libs.private is what a program needs that links the archive; abseil's own files know the long list.
set(pc_dir ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH MM2_PC_PREFIX ${pc_dir} ${CMAKE_INSTALL_PREFIX})
file(RELATIVE_PATH MM2_PC_LIBDIR ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_LIBDIR})
file(RELATIVE_PATH MM2_PC_INCLUDEDIR ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
set(MM2_PC_LIBS_PRIVATE "")
find_package(PkgConfig QUIET)
if(PKG_CONFIG_FOUND AND NOT MM2_ABSL_SOURCE_DIR)
  get_target_property(linked mm2_static LINK_LIBRARIES)
  list(FILTER linked INCLUDE REGEX "^absl::")
  list(TRANSFORM linked REPLACE "^absl::" "absl_")
  execute_process(COMMAND ${PKG_CONFIG_EXECUTABLE} --libs ${linked} OUTPUT_VARIABLE MM2_PC_LIBS_PRIVATE
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
string(STRIP "${MM2_PC_LIBS_PRIVATE} -lstdc++ -lm -lpthread" MM2_PC_LIBS_PRIVATE)
configure_file(cmake/mm2.pc.in ${PROJECT_BINARY_DIR}/mm2.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/mm2.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
