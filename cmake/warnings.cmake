# mm2_compile_settings(target): language level, warnings, sanitizers, visibility and floating point rules of our own code.
function(mm2_compile_settings target)
  target_compile_features(${target} PRIVATE cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON
                                             CXX_VISIBILITY_PRESET hidden C_VISIBILITY_PRESET hidden
                                             VISIBILITY_INLINES_HIDDEN ON)
  # Results are part of the contract: no contraction of a*b+c into one rounding unless a kernel asks for it by name.
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wshadow -ffp-contract=off -ffunction-sections -fdata-sections
                                           $<$<BOOL:${MM2_WARNINGS_AS_ERRORS}>:-Werror>)
  if(MM2_SANITIZE)
    list(JOIN MM2_SANITIZE "," sanitizers)
    target_compile_options(${target} PRIVATE -fsanitize=${sanitizers} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(${target} PUBLIC -fsanitize=${sanitizers})
  endif()
endfunction()
