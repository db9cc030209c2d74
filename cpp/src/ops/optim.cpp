#include "lanner/optim.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "cpu/dispatch.h"
#include "cpu/kernels/optim.h"
#include "lanner/autodiff.h"
#include "lanner/ops.h"
#include "lanner/parallel.h"
#include "ops/assign.h"
#include "ops/op.h"

namespace lanner {
namespace {

// One step's inputs are columns of `count` tensors each: parameters, gradients, then up to three of state. Attributes
// hold what the user chose and the step, not what follows from them, so that a recorded step can be run for another.
struct SgdAttrs {
  optim::SgdOptions options;
  int64_t count;
  bool first;
};
struct AdagradAttrs {
  optim::AdagradOptions options;
  int64_t count, step;
};
struct RmspropAttrs {
  optim::RmspropOptions options;
  int64_t count;
};
struct AdadeltaAttrs {
  optim::AdadeltaOptions options;
  int64_t count;
};
struct AdamAttrs {
  optim::AdamOptions options;
  int64_t count, step;
};
struct AdamaxAttrs {
  optim::AdamaxOptions options;
  int64_t count, step;
};
struct NadamAttrs {
  optim::NadamOptions options;
  int64_t count, step;
  double mu_product;
};
struct LionAttrs {
  optim::LionOptions options;
  int64_t count;
};

// Elements that one thread updates in some 20 us.
constexpr int64_t kGrain = 16384;

template <class T, class Scalars>
using UpdateFn = void (*)(const Scalars&, const cpu::OptimSlice<T>&);

// All elements of all parameters in one parallel loop: a slice may begin in one parameter and end in another.
template <class T, class Scalars>
void update_all(std::span<const Tensor> in, int64_t count, const Scalars& scalars, UpdateFn<T, Scalars> update) {
  const int columns = static_cast<int>(static_cast<int64_t>(in.size()) / count);
  Workspace workspace(static_cast<size_t>(count + 1) * sizeof(int64_t));
  int64_t* first = workspace.as<int64_t>();  // of each parameter's elements, among all
  first[0] = 0;
  for (int64_t i = 0; i < count; ++i) first[i + 1] = first[i] + in[static_cast<size_t>(i)].size();
  parallel_for(first[count], kGrain, [&](int64_t begin, int64_t end) {
    int64_t i = std::upper_bound(first, first + count + 1, begin) - first - 1;
    for (; begin < end; ++i) {
      const int64_t at = begin - first[i], n = std::min(end, first[i + 1]) - begin;
      cpu::OptimSlice<T> slice{};
      slice.p = in[static_cast<size_t>(i)].data<T>() + at;
      slice.g = in[static_cast<size_t>(count + i)].data<T>() + at;
      for (int s = 0; s < columns - 2; ++s)
        slice.state[s] = in[static_cast<size_t>((s + 2) * count + i)].data<T>() + at;
      slice.n = n;
      update(scalars, slice);
      begin += n;
    }
  });
}

template <class Scalars>
void update_all(const Run& r, int64_t count, const Scalars& scalars, UpdateFn<float, Scalars> f32,
                UpdateFn<double, Scalars> f64) {
  if (r.in[0].dtype() == DType::Float32)
    update_all<float>(r.in, count, scalars, f32);
  else
    update_all<double>(r.in, count, scalars, f64);
}

struct Column {
  const char* name;
  const Tensors* tensors;
};

// Checks a step's arguments, and runs `op` once for each group of parameters that agree in dtype and in `same`.
class Step {
 public:
  Step(const char* name, const Tensors& params, std::initializer_list<Column> columns)
      : name_(name), params_(params), columns_(columns) {
    for (const Column& c : columns_)
      check<ShapeError>(c.tensors->size() == params.size(), name, ": expected one of ", c.name, " for each of ",
                        params.size(), " parameters, got ", c.tensors->size());
    for (size_t i = 0; i < params.size(); ++i) {
      const Tensor& p = params[i];
      check<DTypeError>(p.dtype() == DType::Float32 || p.dtype() == DType::Float64, name, ": parameter ", i, " is ",
                        dtype_name(p.dtype()), "; float32 and float64 can be optimized");
      for (const Column& c : columns_) {
        const Tensor& t = (*c.tensors)[i];
        check<ShapeError>(t.defined() && t.shape() == p.shape(), name, ": ", c.name, "[", i, "] has shape ",
                          t.defined() ? to_string(t.shape()) : "none", ", its parameter ", p.shape());
        check<DTypeError>(t.dtype() == p.dtype(), name, ": ", c.name, "[", i, "] is ", dtype_name(t.dtype()),
                          ", its parameter ", dtype_name(p.dtype()));
        check<ShapeError>(&c == columns_.data() || t.is_contiguous(), name, ": ", c.name, "[", i,
                          "] must be row-major, as its optimizer made it");
      }
    }
  }

  template <class Same, class MakeAttrs>
  void run(Op op, Same same, MakeAttrs make_attrs) const {
    NoGrad no_grad;
    std::vector<bool> done(params_.size());
    for (size_t first = 0; first < params_.size(); ++first) {
      if (done[first]) continue;
      std::vector<size_t> group;
      for (size_t i = first; i < params_.size(); ++i) {
        if (done[i] || params_[i].dtype() != params_[first].dtype() || !same(first, i)) continue;
        done[i] = true;
        group.push_back(i);
      }
      run_group(op, group, make_attrs(first, static_cast<int64_t>(group.size())));
    }
  }

 private:
  void run_group(Op op, const std::vector<size_t>& group, const Attrs& attrs) const {
    Tensors in;
    in.reserve(group.size() * (1 + columns_.size()));
    for (const size_t i : group) {
      params_[i].will_write(name_);
      in.push_back(ops::contiguous(params_[i]));
    }
    for (const Column& c : columns_)
      for (const size_t i : group) {
        const Tensor& t = (*c.tensors)[i];
        if (&c == columns_.data()) {
          in.push_back(ops::contiguous(t));
        } else {
          t.will_write(name_);
          in.push_back(t);
        }
      }
    emit(op, in, attrs, {});
    for (size_t k = 0; k < group.size(); ++k)
      if (!params_[group[k]].is_contiguous()) assign(params_[group[k]], in[k]);
  }

  const char* name_;
  const Tensors& params_;
  std::vector<Column> columns_;
};

void check_steps(const char* op, size_t params, size_t steps) {
  check<ShapeError>(steps == params, op, ": expected one of steps for each of ", params, " parameters, got ", steps);
}

constexpr auto kAllSame = [](size_t, size_t) { return true; };

}  // namespace

namespace optim {

void sgd(const Tensors& params, const Tensors& grads, const Tensors& momentum_buffers, const Steps& steps,
         const SgdOptions& o) {
  check_steps("sgd", params.size(), steps.size());
  const auto attrs = [&](size_t i, int64_t count) { return SgdAttrs{o, count, steps[i] == 1}; };
  if (o.momentum == 0) return Step("sgd", params, {{"grads", &grads}}).run(Op::SgdStep, kAllSame, attrs);
  Step("sgd", params, {{"grads", &grads}, {"momentum_buffers", &momentum_buffers}})
      .run(Op::SgdStep, [&](size_t a, size_t b) { return (steps[a] == 1) == (steps[b] == 1); }, attrs);
}

void adagrad(const Tensors& params, const Tensors& grads, const Tensors& state_sums, const Steps& steps,
             const AdagradOptions& o) {
  check_steps("adagrad", params.size(), steps.size());
  Step("adagrad", params, {{"grads", &grads}, {"state_sums", &state_sums}})
      .run(
          Op::AdagradStep, [&](size_t a, size_t b) { return steps[a] == steps[b]; },
          [&](size_t i, int64_t count) { return AdagradAttrs{o, count, steps[i]}; });
}

void rmsprop(const Tensors& params, const Tensors& grads, const Tensors& square_avgs, const Tensors& grad_avgs,
             const Tensors& momentum_buffers, const RmspropOptions& o) {
  const auto attrs = [&](size_t, int64_t count) { return RmspropAttrs{o, count}; };
  const Column g{"grads", &grads}, square{"square_avgs", &square_avgs}, average{"grad_avgs", &grad_avgs},
      momentum{"momentum_buffers", &momentum_buffers};
  if (o.centered && o.momentum > 0)
    Step("rmsprop", params, {g, square, average, momentum}).run(Op::RmspropStep, kAllSame, attrs);
  else if (o.centered)
    Step("rmsprop", params, {g, square, average}).run(Op::RmspropStep, kAllSame, attrs);
  else if (o.momentum > 0)
    Step("rmsprop", params, {g, square, momentum}).run(Op::RmspropStep, kAllSame, attrs);
  else
    Step("rmsprop", params, {g, square}).run(Op::RmspropStep, kAllSame, attrs);
}

void adadelta(const Tensors& params, const Tensors& grads, const Tensors& square_avgs, const Tensors& acc_deltas,
              const AdadeltaOptions& o) {
  Step("adadelta", params, {{"grads", &grads}, {"square_avgs", &square_avgs}, {"acc_deltas", &acc_deltas}})
      .run(Op::AdadeltaStep, kAllSame, [&](size_t, int64_t count) { return AdadeltaAttrs{o, count}; });
}

void adam(const Tensors& params, const Tensors& grads, const Tensors& exp_avgs, const Tensors& exp_avg_sqs,
          const Tensors& max_exp_avg_sqs, const Steps& steps, const AdamOptions& o) {
  const char* name = o.decoupled_weight_decay ? "adamw" : "adam";
  check_steps(name, params.size(), steps.size());
  const Column g{"grads", &grads}, average{"exp_avgs", &exp_avgs}, square{"exp_avg_sqs", &exp_avg_sqs},
      greatest{"max_exp_avg_sqs", &max_exp_avg_sqs};
  const auto same = [&](size_t a, size_t b) { return steps[a] == steps[b]; };
  const auto attrs = [&](size_t i, int64_t count) { return AdamAttrs{o, count, steps[i]}; };
  if (o.amsgrad)
    Step(name, params, {g, average, square, greatest}).run(Op::AdamStep, same, attrs);
  else
    Step(name, params, {g, average, square}).run(Op::AdamStep, same, attrs);
}

void adamax(const Tensors& params, const Tensors& grads, const Tensors& exp_avgs, const Tensors& exp_infs,
            const Steps& steps, const AdamaxOptions& o) {
  check_steps("adamax", params.size(), steps.size());
  Step("adamax", params, {{"grads", &grads}, {"exp_avgs", &exp_avgs}, {"exp_infs", &exp_infs}})
      .run(
          Op::AdamaxStep, [&](size_t a, size_t b) { return steps[a] == steps[b]; },
          [&](size_t i, int64_t count) { return AdamaxAttrs{o, count, steps[i]}; });
}

double nadam_momentum(const NadamOptions& o, int64_t step) {
  return o.beta1 * (1 - 0.5 * std::pow(0.96, static_cast<double>(step) * o.momentum_decay));
}

void nadam(const Tensors& params, const Tensors& grads, const Tensors& exp_avgs, const Tensors& exp_avg_sqs,
           const std::vector<double>& mu_products, const Steps& steps, const NadamOptions& o) {
  check_steps("nadam", params.size(), steps.size());
  check<ShapeError>(mu_products.size() == params.size(), "nadam: expected one of mu_products for each of ",
                    params.size(), " parameters, got ", mu_products.size());
  Step("nadam", params, {{"grads", &grads}, {"exp_avgs", &exp_avgs}, {"exp_avg_sqs", &exp_avg_sqs}})
      .run(
          Op::NadamStep, [&](size_t a, size_t b) { return steps[a] == steps[b] && mu_products[a] == mu_products[b]; },
          [&](size_t i, int64_t count) { return NadamAttrs{o, count, steps[i], mu_products[i]}; });
}

void lion(const Tensors& params, const Tensors& grads, const Tensors& exp_avgs, const LionOptions& o) {
  Step("lion", params, {{"grads", &grads}, {"exp_avgs", &exp_avgs}})
      .run(Op::LionStep, kAllSame, [&](size_t, int64_t count) { return LionAttrs{o, count}; });
}

}  // namespace optim

LANNER_RUN(SgdStep) {
  const auto& [o, count, first] = r.attrs.get<SgdAttrs>();
  const cpu::SgdScalars c{o.lr, o.weight_decay, o.momentum, o.dampening, o.nesterov, o.maximize, first};
  update_all(r, count, c, cpu::kernels().optim->sgd_f32, cpu::kernels().optim->sgd_f64);
}

LANNER_RUN(AdagradStep) {
  const auto& [o, count, step] = r.attrs.get<AdagradAttrs>();
  const double lr = o.lr / (1 + static_cast<double>(step - 1) * o.lr_decay);
  const cpu::AdagradScalars c{lr, o.weight_decay, o.eps, o.maximize};
  update_all(r, count, c, cpu::kernels().optim->adagrad_f32, cpu::kernels().optim->adagrad_f64);
}

LANNER_RUN(RmspropStep) {
  const auto& [o, count] = r.attrs.get<RmspropAttrs>();
  const cpu::RmspropScalars c{o.lr, o.weight_decay, o.alpha, o.eps, o.momentum, o.centered, o.maximize};
  update_all(r, count, c, cpu::kernels().optim->rmsprop_f32, cpu::kernels().optim->rmsprop_f64);
}

LANNER_RUN(AdadeltaStep) {
  const auto& [o, count] = r.attrs.get<AdadeltaAttrs>();
  const cpu::AdadeltaScalars c{o.lr, o.weight_decay, o.rho, o.eps, o.maximize};
  update_all(r, count, c, cpu::kernels().optim->adadelta_f32, cpu::kernels().optim->adadelta_f64);
}

LANNER_RUN(AdamStep) {
  const auto& [o, count, step] = r.attrs.get<AdamAttrs>();
  const double t = static_cast<double>(step);
  const cpu::AdamScalars c{o.lr,
                           o.weight_decay,
                           o.beta1,
                           o.beta2,
                           o.eps,
                           1 - std::pow(o.beta1, t),
                           std::sqrt(1 - std::pow(o.beta2, t)),
                           o.amsgrad,
                           o.maximize,
                           o.decoupled_weight_decay};
  update_all(r, count, c, cpu::kernels().optim->adam_f32, cpu::kernels().optim->adam_f64);
}

LANNER_RUN(AdamaxStep) {
  const auto& [o, count, step] = r.attrs.get<AdamaxAttrs>();
  const double correction = 1 - std::pow(o.beta1, static_cast<double>(step));
  const cpu::AdamaxScalars c{o.lr, o.weight_decay, o.beta1, o.beta2, o.eps, correction, o.maximize};
  update_all(r, count, c, cpu::kernels().optim->adamax_f32, cpu::kernels().optim->adamax_f64);
}

LANNER_RUN(NadamStep) {
  const auto& [o, count, step, mu_product] = r.attrs.get<NadamAttrs>();
  const double mu = optim::nadam_momentum(o, step), mu_next = optim::nadam_momentum(o, step + 1);
  const cpu::NadamScalars c{o.weight_decay,
                            o.beta1,
                            o.beta2,
                            o.eps,
                            1 - std::pow(o.beta2, static_cast<double>(step)),
                            o.decoupled_weight_decay ? o.lr * o.weight_decay : 0,
                            o.lr * (1 - mu) / (1 - mu_product),
                            o.lr * mu_next / (1 - mu_product * mu_next),
                            o.decoupled_weight_decay,
                            o.maximize};
  update_all(r, count, c, cpu::kernels().optim->nadam_f32, cpu::kernels().optim->nadam_f64);
}

LANNER_RUN(LionStep) {
  const auto& [o, count] = r.attrs.get<LionAttrs>();
  const cpu::LionScalars c{o.lr, o.weight_decay, o.beta1, o.beta2, o.maximize};
  update_all(r, count, c, cpu::kernels().optim->lion_f32, cpu::kernels().optim->lion_f64);
}

}  // namespace lanner
