# NLOHMANN_JSON_INCLUDE_DIR: the system's headers, else those of the PyPI package nlohmann-json (a build requirement
# of the wheel), else a checked download.
find_path(NLOHMANN_JSON_INCLUDE_DIR nlohmann/json.hpp)
if(NOT NLOHMANN_JSON_INCLUDE_DIR)
  find_package(Python COMPONENTS Interpreter QUIET)
  if(Python_Interpreter_FOUND)
    execute_process(
      COMMAND ${Python_EXECUTABLE} -c
        "import importlib.util as u; print(u.find_spec('nlohmann_json').submodule_search_locations[0] + '/include')"
      OUTPUT_VARIABLE json_dir OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE json_result)
    if(json_result EQUAL 0)
      set(NLOHMANN_JSON_INCLUDE_DIR "${json_dir}" CACHE PATH "" FORCE)
    endif()
  endif()
endif()
if(NOT NLOHMANN_JSON_INCLUDE_DIR)
  include(FetchContent)
  FetchContent_Declare(nlohmann_json URL https://github.com/nlohmann/json/releases/download/v3.11.3/json.tar.xz
    URL_HASH SHA256=d6c65aca6b1ed68e7a182f4757257b107ae403032760ed6ef121c9d55e81757d)
  FetchContent_MakeAvailable(nlohmann_json)
  set(NLOHMANN_JSON_INCLUDE_DIR "${nlohmann_json_SOURCE_DIR}/include" CACHE PATH "" FORCE)
endif()
