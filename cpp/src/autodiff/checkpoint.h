// Checkpointed regions: ops whose values are not kept for the walk back, but computed once more when it comes to them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lanner/autodiff.h"
#include "lanner/random.h"

namespace lanner {

struct Node;

// What the walk back needs of a region: its nodes with all that their vjps use, in the order of the tape, and how to
// compute each region that was opened inside.
struct RegionValues {
  std::vector<std::shared_ptr<Node>> nodes;
  std::vector<std::function<void()>> inner;
};

struct Region {
  std::function<void()> again;     // computes it once more; of a region inside another one, that one's values have it
  std::shared_ptr<Region> parent;  // in which it was opened
  size_t place = 0;                // among the regions of its parent
  uint64_t begin = 0;              // its nodes come later on the tape
  RandomState random;              // what its first random op takes
  std::string scope;               // where in the model it was opened
  bool open = true;                // still being computed the first time: its values are there
  RegionValues values;
  size_t nodes = 0, inner = 0;  // how many of each there were
};

// The region that this thread computes now, or none.
const std::shared_ptr<Region>& open_region();
// Keeps `node` with the open region; gives the same without values, to be left on the tape.
std::shared_ptr<Node> keep_in_region(std::shared_ptr<Node> node);

// Which of the regions computed once more this thread's ops belong to, by a number that no other has; 0: to none. A plan
// keeps them apart from the ops that they repeat.
uint64_t recomputation();
class RecomputationScope {
 public:
  explicit RecomputationScope(uint64_t number);
  ~RecomputationScope();
  RecomputationScope(const RecomputationScope&) = delete;
  RecomputationScope& operator=(const RecomputationScope&) = delete;

 private:
  uint64_t before_;
};

// The regions that one walk back computed once more, each until the walk has passed it.
class Recomputed {
 public:
  // `node` with the values that its vjp uses; itself where it was not left by a checkpointed region.
  std::shared_ptr<Node> values_of(Node& node);
  // The number of the node's region, if it was computed once more.
  uint64_t number_of(const Node& node) const;
  // The walk goes on at `node`: frees the regions that lie behind it.
  void pass(const Node& node);

 private:
  struct Entry {
    std::shared_ptr<Region> region;
    RegionValues values;
    uint64_t number;
  };
  RegionValues& values_of(const std::shared_ptr<Region>& region);
  std::vector<Entry> entries_;
};

}  // namespace lanner
