# One library per folder: glint_library(NAME DEPENDS...) takes every .cc of the calling folder.
# The arithmetic contract forbids contraction and fast-math; warnings are errors.
find_package(Threads REQUIRED)

set(GLINT_COMPILE_OPTIONS -Wall -Wextra -Werror -Wshadow $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor> -Wno-missing-field-initializers -ffp-contract=off)
if(GLINT_SANITIZE)
  list(APPEND GLINT_COMPILE_OPTIONS -fsanitize=${GLINT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${GLINT_SANITIZE})
endif()

if(GLINT_FUZZ)  # coverage in every library, or the fuzzers would search blindly
  list(APPEND GLINT_COMPILE_OPTIONS -fsanitize=fuzzer-no-link)
endif()

function(glint_compile_options target)
  target_compile_options(${target} PRIVATE ${GLINT_COMPILE_OPTIONS})
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
endfunction()

function(glint_library name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  add_library(${name} STATIC ${sources})
  glint_compile_options(${name})
  target_link_libraries(${name} PUBLIC ${ARGN})
endfunction()

# A GoogleTest program of every *_test.cc in the calling folder.
function(glint_test name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cc)
  if(NOT sources)
    return()
  endif()
  add_executable(${name} ${sources})
  glint_compile_options(${name})
  target_link_libraries(${name} PRIVATE ${ARGN} glint_test_support GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE GLINT_TEST_DATA="${PROJECT_SOURCE_DIR}/test")
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60)
endfunction()
