// Which steps of a plan are faster on one thread than on all: a matter of nanoseconds that no rule of sizes gets right on
// every machine. Both ways give the same bits. Measured in the plan's first replays, once for a step of its kind; kept in
// a file of the user's cache folder, by CPU and version. LANNER_AUTOTUNE=0 leaves it to the ops' own rules.
#pragma once

#include <optional>
#include <string>

namespace lanner::plan {

bool autotune_enabled();

// What was found for a step of this kind, in this process or one before: is it faster alone?
std::optional<bool> tuned(const std::string& kind);
void set_tuned(const std::string& kind, bool alone);
// Writes what was found since to the file. One that cannot be written is no harm: the next process measures again.
void save_tuned();

}  // namespace lanner::plan
