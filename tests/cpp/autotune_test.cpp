#include "ops/autotune.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

namespace lanner {
namespace {

namespace fs = std::filesystem;

class AutotuneFile : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("lanner-autotune-" + std::to_string(::getpid()));
    fs::remove_all(folder_);
    path_ = (folder_ / "deep" / "table.txt").string();
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Of three ways, way 0 is the rule's and takes 1 s.
  int choose(Autotune& table, const std::string& key, double second, double third) {
    const std::vector<int> ways = {0, 1, 2};
    return table.choose(key, 0, ways, [&](int way) {
      ++runs_;
      return way == 0 ? 1.0 : way == 1 ? second : third;
    });
  }
  void write(const std::string& text) {
    fs::create_directories(fs::path(path_).parent_path());
    std::ofstream(path_) << text;
  }
  std::string text() {
    std::ostringstream all;
    all << std::ifstream(path_).rdbuf();
    return all.str();
  }

  fs::path folder_;
  std::string path_;
  int runs_ = 0;
};

TEST_F(AutotuneFile, TheFastestIfItWinsClearly) {
  Autotune table(path_, "here");
  EXPECT_EQ(choose(table, "clear", 0.5, 0.8), 1);
  EXPECT_EQ(choose(table, "near", 0.95, 0.92), 0);
  EXPECT_EQ(choose(table, "slower", 2, 3), 0);
}

TEST_F(AutotuneFile, MeasuresOnceAndKeeps) {
  {
    Autotune table(path_, "here");
    EXPECT_EQ(choose(table, "a", 2, 0.1), 2);
    const int runs = runs_;
    EXPECT_EQ(choose(table, "a", 0.1, 2), 2);
    EXPECT_EQ(runs_, runs);
  }
  const int runs = runs_;
  Autotune next(path_, "here");
  EXPECT_EQ(choose(next, "a", 0.1, 2), 2);
  EXPECT_EQ(runs_, runs);
  Autotune elsewhere(path_, "another processor");
  EXPECT_EQ(choose(elsewhere, "a", 0.1, 2), 1);
}

TEST_F(AutotuneFile, SeesWhatAnotherProcessFoundMeanwhile) {
  Autotune one(path_, "here"), other(path_, "here");
  EXPECT_EQ(choose(one, "a", 0.1, 2), 1);
  EXPECT_EQ(choose(other, "b", 0.1, 2), 1);
  EXPECT_EQ(choose(one, "b", 2, 0.1), 1);
  Autotune next(path_, "here");
  EXPECT_EQ(choose(next, "a", 2, 0.1), 1);
}

TEST_F(AutotuneFile, PassesOverWhatMakesNoSense) {
  for (const char* lines : {"", "\n\n", "1\n", "x a\n", "1 a b\n", "7 a\n", "-1 a\n", "99999999999999999999 a\n",
                            "\x00\xff\xfe garbage", "1 other\n2"}) {
    write(std::string("here\n") + lines);
    Autotune table(path_, "here");
    EXPECT_EQ(choose(table, "a", 2, 0.1), 2) << lines;
    EXPECT_NE(text().find("2 a\n"), std::string::npos);
  }
  write("no first line of ours");
  Autotune table(path_, "here");
  EXPECT_EQ(choose(table, "a", 2, 0.1), 2);
}

// Bits then do not depend on what was measured when.
TEST_F(AutotuneFile, WhereNothingCanBeKeptTheRuleDecides) {
  Autotune off("", "here");
  EXPECT_EQ(choose(off, "a", 0.1, 2), 0);
  Autotune nowhere("/dev/null/table.txt", "here");
  EXPECT_EQ(choose(nowhere, "a", 0.1, 2), 0);
  fs::create_directories(path_);  // a folder where the file should be
  Autotune blocked(path_, "here");
  EXPECT_EQ(choose(blocked, "a", 0.1, 2), 0);
  for (const auto& entry : fs::directory_iterator(fs::path(path_).parent_path()))
    EXPECT_TRUE(entry.path() == path_ || entry.path() == path_ + ".lock") << entry.path();
}

TEST_F(AutotuneFile, GrowsNoFurtherThanItMay) {
  std::string all = "here\n";
  for (size_t i = 0; i < Autotune::kEntries + 10; ++i) all += "1 key" + std::to_string(i) + "\n";
  write(all);
  Autotune table(path_, "here");
  EXPECT_EQ(choose(table, "key5", 2, 0.1), 1);
  EXPECT_EQ(choose(table, "new", 0.1, 2), 0);
  EXPECT_EQ(runs_, 0);
}

}  // namespace
}  // namespace lanner
