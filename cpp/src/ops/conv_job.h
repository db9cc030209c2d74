// A convolution whose shapes are known: the way to compute it, and how that is cut for the threads. Made for one run by
// the eager ops and kept by a plan.
#pragma once

#include <algorithm>

#include "cpu/dispatch.h"
#include "cpu/kernels/conv.h"
#include "lanner/parallel.h"
#include "ops/conv_tuning.h"
#include "ops/epilogue.h"
#include "ops/packed.h"
#include "ops/window.h"

namespace lanner {

inline int64_t grain_of(double cost, int64_t parts, double slice) {
  return std::max<int64_t>(1, static_cast<int64_t>(slice * static_cast<double>(parts) / std::max(cost, 1.0)));
}
// In vector FMAs. What is prepared runs in a plan, whose threads are awake. But what another core computed is slow to
// read: a layer of 3 us took 4 on two cores, one of 24 us took 17.
constexpr double kPlannedSlice = 25000;
inline int64_t grain_of(double cost, int64_t parts) { return grain_of(cost, parts, kSliceFlops / 32); }

template <class Functions, class Cost>
int cheapest(const Functions* const (&ways)[cpu::kConvWays], Cost cost_of) {
  int best = 0;
  double least = cost_of(*ways[0]);
  for (int i = 1; i < cpu::kConvWays; ++i) {
    if (!ways[i]) continue;
    if (const double c = cost_of(*ways[i]); c < least) best = i, least = c;
  }
  return best;
}

template <class T>
cpu::Epilogue<T> conv_epilogue(const Run& r) {
  cpu::Epilogue<T> e = epilogue_of<T>(r);
  if (r.in[2].defined()) e.bias_per_row = r.in[2].data<T>();
  return e;
}

// Of Conv and ConvInputGrad.
template <class T>
class ConvJob {
 public:
  // `planned`: of a plan's step, for which the ways may be measured (conv_tuning.cpp).
  ConvJob(const cpu::ConvGeometry& g, cpu::ConvPass pass, bool keeps_weight, bool planned = false)
      : geometry_(g), pass_(pass) {
    const auto& ways = conv_ways<T>().output;
    const auto cost_of = [&](const cpu::ConvFunctions<T>& f) { return f.cost(g, pass, keeps_weight); };
    int way = cheapest(ways, cost_of);
    // Weights packed once are read from memory by a net, which its measuring, with warm caches, does not see.
    if (planned && !keeps_weight) way = fastest_way<T>(g, pass, way);
    f_ = ways[way];
    const double cost = cost_of(*f_);
    tasks_ = f_->tasks(g, pass), items_ = f_->pack_items(g, pass);
    packed_elements_ = f_->packed_elements(g, pass);
    workspace_bytes_ = static_cast<size_t>(f_->workspace_bytes(g, pass));
    task_grain_ = planned ? grain_of(cost, tasks_, kPlannedSlice) : grain_of(cost, tasks_);
    if (planned && f_->make_tables) {
      tables_ = Tensor::empty({f_->table_bytes(g, pass)}, DType::UInt8);
      if (tables_.size() > 0) f_->make_tables(g, pass, tables_.raw());
    }
    if (f_->share) shared_elements_ = f_->shared_elements(g, pass), shared_items_ = f_->shared_items(g, pass);
    shared_grain_ = grain_of(static_cast<double>(shared_elements_), shared_items_, kSliceElements);
    item_grain_ = grain_of(static_cast<double>(packed_elements_), items_, kSliceElements);
  }
  int64_t packed_elements() const { return packed_elements_; }

  void pack(const Tensor& weight, T* packed) const {
    parallel_for(items_, item_grain_,
                 [&](int64_t begin, int64_t end) { f_->pack(geometry_, pass_, weight.data<T>(), begin, end, packed); });
  }
  void run(const Run& r, const T* packed) const {
    cpu::ConvArgs<T> args;
    args.geometry = geometry_, args.pass = pass_;
    args.src = r.in[0].data<T>(), args.packed = packed, args.dst = r.out[0].data<T>();
    args.epilogue = conv_epilogue<T>(r);
    if (tables_.defined() && tables_.size() > 0) args.tables = tables_.raw();
    const Workspace shared(static_cast<size_t>(shared_elements_) * sizeof(T));
    if (shared_elements_ > 0) {
      args.shared = shared.as<T>();
      parallel_for(shared_items_, shared_grain_, [&](int64_t begin, int64_t end) {
        const Workspace workspace(workspace_bytes_);
        f_->share(args, begin, end, workspace.data());
      });
    }
    parallel_for(tasks_, task_grain_, [&](int64_t begin, int64_t end) {
      const Workspace workspace(workspace_bytes_);
      f_->run(args, begin, end, workspace.data());
    });
  }
  void run(const Run& r) const {
    if (tasks_ == 0) return;
    if (packed_elements_ == 0) return run(r, r.in[1].data<T>());
    const Workspace packed(static_cast<size_t>(packed_elements_) * sizeof(T));
    pack(r.in[1], packed.as<T>());
    run(r, packed.as<T>());
  }

 private:
  cpu::ConvGeometry geometry_;
  cpu::ConvPass pass_;
  const cpu::ConvFunctions<T>* f_;
  int64_t tasks_, items_, packed_elements_, task_grain_, item_grain_;
  int64_t shared_elements_ = 0, shared_items_ = 0, shared_grain_;
  Tensor tables_;
  size_t workspace_bytes_;
};

template <class T>
class ConvWeightJob {
 public:
  explicit ConvWeightJob(const cpu::ConvGeometry& g, bool planned = false) : geometry_(g) {
    const auto& ways = conv_ways<T>().weight;
    int way = cheapest(ways, [&](const cpu::ConvWeightFunctions<T>& f) { return f.cost(g); });
    if (planned) way = fastest_weight_way<T>(g, way);
    f_ = ways[way];
    const double cost = f_->cost(g);
    rounds_ = f_->rounds(g), tasks_ = f_->tasks(g), items_ = f_->finish_items(g);
    partial_bytes_ = static_cast<size_t>(f_->partial_elements(g)) * sizeof(T);
    workspace_bytes_ = static_cast<size_t>(f_->workspace_bytes(g));
    const double round_cost = cost / static_cast<double>(std::max<int64_t>(rounds_, 1));
    task_grain_ = grain_of(round_cost, tasks_);
    // The direct way leaves no more than sums of partial sums to `finish`; the others all products.
    item_grain_ = f_ == conv_ways<T>().weight[0]
                      ? grain_of(static_cast<double>(f_->partial_elements(g)), items_, kSliceElements)
                      : grain_of(round_cost, items_);
  }
  void run(const Run& r) const {
    const Workspace partial(partial_bytes_);
    const T *x = r.in[0].data<T>(), *dy = r.in[1].data<T>();
    T* const dw = r.out[0].data<T>();
    for (int64_t round = 0; round < rounds_; ++round) {
      parallel_for(tasks_, task_grain_, [&](int64_t begin, int64_t end) {
        const Workspace workspace(workspace_bytes_);
        f_->run(geometry_, round, x, dy, partial.as<T>(), begin, end, workspace.data());
      });
      parallel_for(items_, item_grain_,
                   [&](int64_t begin, int64_t end) { f_->finish(geometry_, round, partial.as<T>(), dw, begin, end); });
    }
  }

 private:
  cpu::ConvGeometry geometry_;
  const cpu::ConvWeightFunctions<T>* f_;
  int64_t rounds_, tasks_, items_, task_grain_, item_grain_;
  size_t partial_bytes_, workspace_bytes_;
};

template <class T>
class PreparedConv final : public Prepared {
 public:
  PreparedConv(const cpu::ConvGeometry& g, cpu::ConvPass pass, bool keeps_weight)
      : job_(g, pass, keeps_weight, true), keeps_weight_(keeps_weight) {
    if (keeps_weight_) packed_ = packed_memory(job_.packed_elements(), DTypeOf<T>::value);
  }
  void refresh(const Run& r) override {
    if (keeps_weight_) job_.pack(r.in[1], packed_.data<T>());
  }
  void run(const Run& r) override {
    if (keeps_weight_)
      job_.run(r, packed_.data<T>());
    else
      job_.run(r);
  }
  size_t bytes() const override { return keeps_weight_ ? static_cast<size_t>(packed_.size()) * sizeof(T) : 0; }

 private:
  ConvJob<T> job_;
  bool keeps_weight_;
  Tensor packed_;
};

template <class T>
class PreparedConvWeight final : public Prepared {
 public:
  explicit PreparedConvWeight(const cpu::ConvGeometry& g) : job_(g, true) {}
  void run(const Run& r) override { job_.run(r); }

 private:
  ConvWeightJob<T> job_;
};

}  // namespace lanner
