#include "ops/autotune.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "lanner/config.h"

namespace lanner {
namespace {

namespace fs = std::filesystem;

// Rounds over all ways, each of which is run once a round: a moment in which the machine is busy then slows them all.
// Ways that take long, or much longer than the best, are run less often.
constexpr int kRounds = 4;
constexpr double kEnough = 0.03, kHopeless = 1.5;

std::string processor() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 1);
  return " unknown processor";
}

fs::path folder() {
  if (const char* named = std::getenv("LANNER_CACHE"); named && *named) return named;
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache) return fs::path(cache) / "lanner";
  if (const char* home = std::getenv("HOME"); home && *home) return fs::path(home) / ".cache" / "lanner";
  return {};
}

bool switched_on() {
  const char* text = std::getenv("LANNER_AUTOTUNE");
  return text && *text && std::string(text) != "0";
}

// Held by the process that measures; others wait, and find what it wrote.
class FileLock {
 public:
  explicit FileLock(const std::string& path) : file_(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644)) {}
  ~FileLock() {
    if (file_ >= 0) ::close(file_);
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  bool take() const { return file_ >= 0 && ::flock(file_, LOCK_EX) == 0; }

 private:
  int file_;
};

}  // namespace

Autotune& Autotune::instance() {
  static Autotune* const table = [] {  // never destroyed: threads may still prepare plans when the process ends
    const fs::path where = switched_on() ? folder() : fs::path();
    const std::string origin = "lanner " + version() + processor();
    if (where.empty()) return new Autotune("", origin);
    std::ostringstream name;
    name << "autotune-" << std::hex << std::hash<std::string>()(origin) << ".txt";
    return new Autotune((where / name.str()).string(), origin);
  }();
  return *table;
}

// Lines that make no sense are passed over.
void Autotune::read() {
  kept_.clear();
  std::ifstream in(path_);
  std::string line;
  if (!in || !std::getline(in, line) || line != origin_) return;
  while (kept_.size() < kEntries && std::getline(in, line)) {
    std::istringstream words(line);
    int way = 0;
    std::string key, more;
    if (words >> way >> key && !(words >> more)) kept_[key] = way;
  }
}

bool Autotune::write() const {
  const std::string part = path_ + "." + std::to_string(::getpid());
  std::error_code error;
  {
    std::ofstream out(part);
    out << origin_ << "\n";
    for (const auto& [key, way] : kept_) out << way << " " << key << "\n";
    out.close();
    if (!out) {
      fs::remove(part, error);
      return false;
    }
  }
  fs::rename(part, path_, error);
  if (!error) return true;
  fs::remove(part, error);
  return false;
}

int Autotune::find(const std::string& key, std::span<const int> ways) const {
  const auto found = kept_.find(key);
  if (found == kept_.end() || std::find(ways.begin(), ways.end(), found->second) == ways.end()) return -1;
  return found->second;
}

int Autotune::choose(const std::string& key, int rule, std::span<const int> ways,
                     const std::function<double(int)>& seconds) {
  if (path_.empty() || ways.size() < 2) return rule;
  std::lock_guard guard(mutex_);
  if (!std::exchange(known_, true)) read();
  if (const int way = find(key, ways); way >= 0) return way;
  if (!writable_) return rule;

  std::error_code error;
  fs::create_directories(fs::path(path_).parent_path(), error);
  const FileLock lock(path_ + ".lock");
  if (!lock.take()) {
    writable_ = false;
    return rule;
  }
  read();
  if (const int way = find(key, ways); way >= 0) return way;
  if (kept_.size() >= kEntries) return rule;

  struct Way {
    int index;
    double best, spent;
  };
  std::vector<Way> measured;
  for (const int way : ways) measured.push_back({way, seconds(way), 0});  // the first run also touches the memory
  for (int round = 0; round < kRounds; ++round) {
    double best = measured[0].best;
    for (const Way& w : measured) best = std::min(best, w.best);
    for (Way& w : measured) {
      if (w.spent > kEnough || w.best > kHopeless * best) continue;
      const double time = seconds(w.index);
      w.best = std::min(w.best, time), w.spent += time;
    }
  }
  double of_rule = 0;
  for (const Way& w : measured)
    if (w.index == rule) of_rule = w.best;
  const Way& best =
      *std::min_element(measured.begin(), measured.end(), [](const Way& a, const Way& b) { return a.best < b.best; });
  const int chosen = best.best < (1 - kMargin) * of_rule ? best.index : rule;
  kept_[key] = chosen;
  if (!write()) {
    kept_.erase(key);
    writable_ = false;
    return rule;
  }
  return chosen;
}

}  // namespace lanner
