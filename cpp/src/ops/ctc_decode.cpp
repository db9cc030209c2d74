// The labels that a network's frames say: the best path, and the best labels of a beam of prefixes.
#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "lanner/ops/ctc.h"
#include "lanner/ops/elementwise.h"
#include "lanner/parallel.h"
#include "ops/op.h"

namespace lanner {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

double log_sum(double a, double b) {
  if (a < b) std::swap(a, b);
  return b == kNever ? a : a + std::log1p(std::exp(b - a));
}

// What the decoders read: float64, frame t of sample i at (t * samples + i) * classes.
struct Frames {
  Tensor values, lengths;
  int64_t frames, samples, classes;

  Frames(const char* op, const Tensor& log_probs, const Tensor& input_lengths, int64_t blank) {
    check_floating(op, "log_probs", log_probs);
    check<ShapeError>(log_probs.ndim() == 3, op, ": log_probs must be [T, N, C], got ", log_probs.shape());
    frames = log_probs.size(0), samples = log_probs.size(1), classes = log_probs.size(2);
    check<ShapeError>(blank >= 0 && blank < classes, op, ": blank is ", blank, ", log_probs has ", classes, " classes");
    log_probs.will_read(op);
    values = ops::contiguous(ops::cast(log_probs.detach(), DType::Float64));
    if (!input_lengths.defined()) return;
    check<DTypeError>(is_integer(input_lengths.dtype()), op, ": input_lengths must be integers, got ",
                      dtype_name(input_lengths.dtype()));
    check<ShapeError>(input_lengths.shape() == Shape{samples}, op, ": input_lengths expects shape ", Shape{samples},
                      ", got ", input_lengths.shape());
    lengths = ops::contiguous(ops::cast(input_lengths, DType::Int64));
    for (int64_t i = 0; i < samples; ++i)
      check<ShapeError>(length(i) >= 0 && length(i) <= frames, op, ": input_lengths[", i, "] is ", length(i),
                        ", log_probs has ", frames, " frames");
  }
  int64_t length(int64_t sample) const { return lengths.defined() ? lengths.data<int64_t>()[sample] : frames; }
  const double* at(int64_t t, int64_t sample) const { return values.data<double>() + (t * samples + sample) * classes; }
};

// A prefix, as a node of the tree of all that came up; of its paths the log-probability of those that end in a blank and
// of those that do not, at the last frame that reached it and, while a frame is being read, after it.
struct Prefix {
  int64_t parent, label;
  double blank = kNever, other = kNever, next_blank = kNever, next_other = kNever;
  double total = kNever;  // of both

  void forget() { blank = other = total = kNever; }
};

class BeamSearch {
 public:
  BeamSearch(int64_t classes, int64_t blank) : classes_(classes), blank_(blank) {
    tree_.push_back({-1, -1, 0.0});
    tree_[0].total = 0;
    beam_.push_back(0);
  }

  void read(const double* log_probs, int64_t width) {
    reached_.clear();
    // What the prefixes of a full beam have without a new label: a longer one with less will not be kept. That is sure of
    // those that are new, which come from one prefix alone.
    double least = static_cast<int64_t>(beam_.size()) < width ? kNever : -kNever;
    for (const int64_t p : beam_) {
      const double other = tree_[p].other, total = tree_[p].total;
      const double again = tree_[p].label < 0 ? kNever : other + log_probs[tree_[p].label];
      add(p, &Prefix::next_blank, total + log_probs[blank_]);
      add(p, &Prefix::next_other, again);
      least = std::min(least, log_sum(total + log_probs[blank_], again));
    }
    for (const int64_t p : beam_) {
      const double blank = tree_[p].blank, total = tree_[p].total;
      const int64_t last = tree_[p].label;
      for (int64_t label = 0; label < classes_; ++label) {
        const double longer = (label == last ? blank : total) + log_probs[label];
        if (label != blank_ && longer != kNever && longer >= least) add(child(p, label), &Prefix::next_other, longer);
      }
    }
    // Of those that are in the beam themselves, the little that was left out above.
    for (const int64_t p : beam_) {
      const int64_t parent = tree_[p].parent, label = tree_[p].label;
      if (parent < 0) continue;
      const double longer =
          (label == tree_[parent].label ? tree_[parent].blank : tree_[parent].total) + log_probs[label];
      if (longer < least) add(p, &Prefix::next_other, longer);
    }
    for (const int64_t p : beam_) tree_[p].forget();
    for (const int64_t p : reached_) {
      Prefix& n = tree_[p];
      n.blank = n.next_blank, n.other = n.next_other, n.total = log_sum(n.blank, n.other);
      n.next_blank = n.next_other = kNever;
    }
    beam_.swap(reached_);
    keep(width);
  }

  std::vector<ops::CtcHypothesis> best(int64_t top) const {
    std::vector<ops::CtcHypothesis> found;
    for (const int64_t p : beam_) {
      if (static_cast<int64_t>(found.size()) == top) break;
      ops::CtcHypothesis h{{}, tree_[p].total};
      for (int64_t n = p; tree_[n].parent >= 0; n = tree_[n].parent) h.labels.push_back(tree_[n].label);
      std::reverse(h.labels.begin(), h.labels.end());
      found.push_back(std::move(h));
    }
    return found;
  }

 private:
  void add(int64_t p, double Prefix::*what, double log_prob) {
    Prefix& n = tree_[p];
    if (log_prob == kNever) return;
    if (n.next_blank == kNever && n.next_other == kNever) reached_.push_back(p);
    n.*what = log_sum(n.*what, log_prob);
  }
  int64_t child(int64_t p, int64_t label) {
    const auto [found, added] = children_.try_emplace(p * classes_ + label, static_cast<int64_t>(tree_.size()));
    if (added) tree_.push_back({p, label});
    return found->second;
  }
  // The `width` most probable, best first; of equals the one found first.
  void keep(int64_t width) {
    const auto better = [&](int64_t a, int64_t b) {
      const double x = tree_[a].total, y = tree_[b].total;
      return x != y ? x > y : a < b;
    };
    if (static_cast<int64_t>(beam_.size()) > width) {
      std::nth_element(beam_.begin(), beam_.begin() + width, beam_.end(), better);
      for (size_t i = static_cast<size_t>(width); i < beam_.size(); ++i) tree_[beam_[i]].forget();
      beam_.resize(static_cast<size_t>(width));
    }
    std::sort(beam_.begin(), beam_.end(), better);
  }

  int64_t classes_, blank_;
  std::vector<Prefix> tree_;
  std::unordered_map<int64_t, int64_t> children_;
  std::vector<int64_t> beam_, reached_;
};

}  // namespace

std::vector<ops::CtcHypothesis> ops::ctc_greedy_decode(const Tensor& log_probs, const Tensor& input_lengths,
                                                       int64_t blank) {
  const Frames x("ctc_greedy_decode", log_probs, input_lengths, blank);
  std::vector<CtcHypothesis> found(static_cast<size_t>(x.samples));
  for (int64_t i = 0; i < x.samples; ++i) {
    CtcHypothesis& h = found[static_cast<size_t>(i)];
    h.log_prob = 0;
    int64_t last = blank;
    for (int64_t t = 0; t < x.length(i); ++t) {
      const double* row = x.at(t, i);
      const int64_t label = std::max_element(row, row + x.classes) - row;
      h.log_prob += row[label];
      if (label != last && label != blank) h.labels.push_back(label);
      last = label;
    }
  }
  return found;
}

std::vector<std::vector<ops::CtcHypothesis>> ops::ctc_beam_search(const Tensor& log_probs, const Tensor& input_lengths,
                                                                  int64_t beam_width, int64_t blank, int64_t top) {
  check(beam_width >= 1, "ctc_beam_search: beam_width must be positive, got ", beam_width);
  check(top >= 1 && top <= beam_width, "ctc_beam_search: top must lie between 1 and beam_width ", beam_width, ", got ",
        top);
  const Frames x("ctc_beam_search", log_probs, input_lengths, blank);
  std::vector<std::vector<CtcHypothesis>> found(static_cast<size_t>(x.samples));
  parallel_for(x.samples, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      BeamSearch search(x.classes, blank);
      for (int64_t t = 0; t < x.length(i); ++t) search.read(x.at(t, i), beam_width);
      found[static_cast<size_t>(i)] = search.best(top);
    }
  });
  return found;
}

}  // namespace lanner
