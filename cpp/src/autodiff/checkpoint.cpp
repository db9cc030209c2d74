#include "autodiff/checkpoint.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "autodiff/node.h"

namespace lanner {
namespace {

thread_local std::shared_ptr<Region> current;
thread_local uint64_t current_recomputation = 0;
thread_local bool repeating = false;

// Inside, what this thread computes is a repetition, and part of no region that is open.
class Repeating {
 public:
  Repeating() : before_(std::exchange(repeating, true)), region_(std::exchange(current, nullptr)) {}
  ~Repeating() { repeating = before_, current = std::move(region_); }
  Repeating(const Repeating&) = delete;
  Repeating& operator=(const Repeating&) = delete;

 private:
  bool before_;
  std::shared_ptr<Region> region_;
};

RegionValues close(Region& region) {
  region.open = false;
  region.nodes = region.values.nodes.size(), region.inner = region.values.inner.size();
  return std::exchange(region.values, {});
}

// What the function computes when it is run again, with a region of its own: what it puts away of this run can be
// differentiated like that of the first one.
RegionValues recompute(const Region& region, const std::function<void()>& again) {
  const GradMode on(true);
  const RandomScope random(region.random);
  const ScopePath scope(region.scope);
  const Repeating repeats;
  const Checkpoint second(again);
  const std::shared_ptr<Region> opened = current;
  again();
  RegionValues values = close(*opened);
  check(opened->nodes == region.nodes && opened->inner == region.inner,
        "checkpoint: the function did something else when it was run again: it left ", opened->nodes, " ops and ",
        opened->inner, " checkpoints on the tape, at first ", region.nodes, " and ", region.inner);
  return values;
}

void check_same(const Node& first, const Node& second) {
  // Statistics that a layer has gathered already are no input the second time.
  const auto same_shape = [](const Tensor& a, const Tensor& b) {
    if (!a.defined() || !b.defined()) return a.defined() == b.defined() || (a.defined() && !a.requires_grad());
    return a.shape() == b.shape() && a.dtype() == b.dtype();
  };
  const bool same = first.op == second.op && first.name == second.name &&
                    std::equal(first.in.begin(), first.in.end(), second.in.begin(), second.in.end(), same_shape);
  check(same, "checkpoint: the function did something else when it was run again: ", second.label(), " instead of ",
        first.label(), ", or of tensors of another shape");
  for (size_t i = 0; i < first.in_versions.size(); ++i) {
    const Tensor& x = first.in[i];
    const bool leaf = x.defined() && x.requires_grad() && x.is_leaf();
    check(!leaf || first.in_versions[i] == second.in_versions[i], "backward: ", first.label(), " needs its input ", i,
          " (shape ", x.defined() ? x.shape() : Shape{}, "), which was written to in place after it was used");
  }
}

}  // namespace

Checkpoint::Checkpoint(std::function<void()> again) {
  if (!grad_enabled()) return;
  region_ = std::make_shared<Region>();
  region_->begin = tape_position();
  region_->random = random_state();
  region_->scope = current_scope();
  region_->parent = current;
  if (current) {
    region_->place = current->values.inner.size();
    current->values.inner.push_back(std::move(again));
  } else {
    region_->again = std::move(again);
  }
  before_ = std::exchange(current, region_);
}

Checkpoint::~Checkpoint() {
  if (!region_) return;
  current = std::move(before_);
  if (region_->open) close(*region_);
}

Tensors checkpoint(const std::function<Tensors(const Tensors&)>& f, const Tensors& inputs) {
  const Checkpoint region([f, inputs] { f(inputs); });
  return f(inputs);
}

const std::shared_ptr<Region>& open_region() { return current; }

std::shared_ptr<Node> keep_in_region(std::shared_ptr<Node> node) {
  const auto bare = [](const Tensors& of) {
    Tensors to;
    for (const Tensor& t : of) to.push_back(t.defined() ? Tape::without_memory(t) : t);
    return to;
  };
  auto left = std::make_shared<Node>();
  left->op = node->op, left->attrs = node->attrs;
  left->in = bare(node->in), left->out = bare(node->out);
  left->in_versions = node->in_versions;
  left->name = node->name, left->scope = node->scope;
  left->region = current;
  left->place = current->values.nodes.size();
  current->values.nodes.push_back(std::move(node));
  return left;
}

uint64_t recomputation() { return current_recomputation; }
bool recomputing() { return repeating; }
RecomputationScope::RecomputationScope(uint64_t number) : before_(std::exchange(current_recomputation, number)) {}
RecomputationScope::~RecomputationScope() { current_recomputation = before_; }

std::shared_ptr<Node> Recomputed::values_of(Node& node) {
  if (!node.region) return node.shared_from_this();
  std::shared_ptr<Node>& kept = values_of(node.region).nodes.at(node.place);
  check_same(node, *kept);
  return node.region->open ? kept : std::move(kept);
}

RegionValues& Recomputed::values_of(const std::shared_ptr<Region>& region) {
  if (region->open) return region->values;
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.region == region; });
  if (found != entries_.end()) return found->values;
  const std::function<void()> again =
      region->parent ? values_of(region->parent).inner.at(region->place) : region->again;
  static std::atomic<uint64_t> count{0};
  const uint64_t number = ++count;
  const RecomputationScope scope(number);
  entries_.push_back({region, recompute(*region, again), number});
  return entries_.back().values;
}

uint64_t Recomputed::number_of(const Node& node) const {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& e) { return node.region && e.region == node.region; });
  return found == entries_.end() ? 0 : found->number;
}

void Recomputed::pass(const Node& node) {
  std::erase_if(entries_, [&](const Entry& e) { return e.region->begin >= node.sequence; });
}

}  // namespace lanner
