// Each instruction-set library exports its table and nothing else: no function compiled for AVX-512 can be picked by
// the linker for the rest of the program.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <sstream>
#include <string>

namespace {

std::string output_of(const std::string& command) {
  std::string text;
  FILE* pipe = popen(command.c_str(), "r");
  if (!pipe) return text;
  std::array<char, 4096> buffer;
  while (size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) text.append(buffer.data(), n);
  pclose(pipe);
  return text;
}

TEST(ExportedSymbols, OnePerInstructionSet) {
  std::istringstream objects(LANNER_KERNEL_OBJECTS);
  std::string object;
  int count = 0;
  while (objects >> object) {
    ++count;
    std::istringstream lines(output_of(LANNER_NM " -g --defined-only " + object));
    std::string address, type, symbol, extra;
    ASSERT_TRUE(lines >> address >> type >> symbol) << object;
    EXPECT_NE(object.find(symbol), std::string::npos) << symbol;
    EXPECT_FALSE(lines >> address >> type >> extra) << object << " exports " << extra << " too";
    // What it needs from outside is the C runtime's arithmetic, no C++ library.
    std::istringstream needs(output_of(LANNER_NM " -u " + object));
    while (needs >> type >> symbol) EXPECT_NE(symbol.substr(0, 2), "_Z") << object << " needs " << symbol;
  }
  EXPECT_GT(count, 0);
}

}  // namespace
