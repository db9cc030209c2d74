// Which of several ways to compute the same is the fastest on this machine: measured once, kept in a file. Off unless
// LANNER_AUTOTUNE=1: ways may differ in the last bits, and without it bits depend on nothing that was measured.
//
// A choice is made only where it can be kept, so that the next process, and one that runs at the same time, chooses
// likewise; where the file cannot be written the rule decides. What is measured is the work on one thread: the number of
// threads has no say.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <span>
#include <string>

namespace lanner {

class Autotune {
 public:
  // The table of this processor and version, in LANNER_CACHE, XDG_CACHE_HOME/lanner or ~/.cache/lanner.
  static Autotune& instance();

  // `origin` is the file's first line: a file with another one is not read, and is replaced. An empty path: never tunes.
  Autotune(std::string path, std::string origin) : path_(std::move(path)), origin_(std::move(origin)) {}

  // One of `ways` (none below 0) for the problem that `key`, a word, names: the one kept, or else the one that is faster
  // than `rule` by more than kMargin, as `seconds` measures it, or else `rule`.
  int choose(const std::string& key, int rule, std::span<const int> ways, const std::function<double(int)>& seconds);

  static constexpr double kMargin = 0.1;
  static constexpr size_t kEntries = 4096;  // the file grows no further

 private:
  void read();
  bool write() const;
  int find(const std::string& key, std::span<const int> ways) const;  // or -1

  std::mutex mutex_;
  std::string path_, origin_;
  std::map<std::string, int> kept_;
  bool known_ = false, writable_ = true;  // has the file been read; can it be replaced
};

}  // namespace lanner
