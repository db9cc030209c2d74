#include "plan/autotune.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sstream>
#include <unordered_map>

#include <unistd.h>

#include "lanner/config.h"

namespace lanner::plan {
namespace {

namespace fs = std::filesystem;

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 1);
  return isa();
}

// Empty: nowhere to keep it.
fs::path folder() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache) return fs::path(cache) / "lanner";
  if (const char* home = std::getenv("HOME"); home && *home) return fs::path(home) / ".cache" / "lanner";
  return {};
}

// One line a kind: "0" or "1", a blank, the kind.
class Table {
 public:
  static Table& get() {
    static Table* table = new Table;  // never destroyed: threads may still run plans when the process ends
    return *table;
  }

  std::optional<bool> find(const std::string& kind) {
    std::lock_guard lock(mutex_);
    const auto found = entries_.find(kind);
    return found == entries_.end() ? std::nullopt : std::optional(found->second);
  }
  void set(const std::string& kind, bool alone) {
    std::lock_guard lock(mutex_);
    entries_[kind] = alone;
    changed_ = true;
  }
  void save() {
    std::lock_guard lock(mutex_);
    if (!changed_ || file_.empty()) return;
    changed_ = false;
    std::error_code error;
    fs::create_directories(file_.parent_path(), error);
    const fs::path part = file_.string() + "." + std::to_string(getpid());
    {
      std::ofstream out(part);
      for (const auto& [kind, alone] : entries_) out << (alone ? "1 " : "0 ") << kind << "\n";
      if (!out.flush()) {
        fs::remove(part, error);
        return;
      }
    }
    fs::rename(part, file_, error);
    if (error) fs::remove(part, error);
  }

 private:
  Table() {
    const fs::path where = folder();
    if (where.empty()) return;
    std::ostringstream name;
    name << "autotune-" << version() << "-" << std::hex << std::hash<std::string>()(cpu_name()) << ".txt";
    file_ = where / name.str();
    std::ifstream in(file_);
    for (std::string line; std::getline(in, line);)
      if (line.size() > 2 && (line[0] == '0' || line[0] == '1') && line[1] == ' ')
        entries_[line.substr(2)] = line[0] == '1';
  }

  std::mutex mutex_;
  std::unordered_map<std::string, bool> entries_;
  fs::path file_;
  bool changed_ = false;
};

}  // namespace

bool autotune_enabled() {
  const char* text = std::getenv("LANNER_AUTOTUNE");
  return !(text && std::strcmp(text, "0") == 0);
}

std::optional<bool> tuned(const std::string& kind) { return Table::get().find(kind); }
void set_tuned(const std::string& kind, bool alone) { Table::get().set(kind, alone); }
void save_tuned() { Table::get().save(); }

}  // namespace lanner::plan
