#include "lanner/optim.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <optional>
#include <utility>

#include "cpu/dispatch.h"
#include "cpu/kernels/optim.h"
#include "lanner/autodiff.h"
#include "lanner/ops.h"
#include "lanner/parallel.h"
#include "ops/op.h"

namespace lanner {
namespace {

// One step's inputs are columns of `count` tensors each: parameters, gradients, up to three of state, then the steps
// where there are any (and NAdam's products), which the op counts up itself: run again, a recorded step is the next one.
struct SgdAttrs {
  optim::SgdOptions options;
  int64_t count;
  bool first;
};
template <class Options>
struct StepAttrs {
  Options options;
  int64_t count;
};

// Elements that one thread updates in some 20 us.
constexpr int64_t kGrain = 16384;

template <class T, class Scalars>
using UpdateFn = void (*)(const Scalars&, const cpu::OptimSlice<T>&);

// All elements of all parameters in one parallel loop: a slice may begin in one parameter and end in another.
// scalars[i * step] are those of parameter i.
template <class T, class Scalars>
void update_all(std::span<const Tensor> in, int64_t count, int states, const Scalars* scalars, int step,
                UpdateFn<T, Scalars> update) {
  const Workspace workspace(static_cast<size_t>(count + 1) * sizeof(int64_t));
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
      for (int s = 0; s < states; ++s) slice.state[s] = in[static_cast<size_t>((s + 2) * count + i)].data<T>() + at;
      slice.n = n;
      update(scalars[i * step], slice);
      begin += n;
    }
  });
}

template <class Scalars>
void update_all(const Run& r, int64_t count, int states, const Scalars* scalars, int step, UpdateFn<float, Scalars> f32,
                UpdateFn<double, Scalars> f64) {
  if (r.in[0].dtype() == DType::Float32)
    update_all<float>(r.in, count, states, scalars, step, f32);
  else
    update_all<double>(r.in, count, states, scalars, step, f64);
}

int columns(const Run& r, int64_t count) { return static_cast<int>(static_cast<int64_t>(r.in.size()) / count); }

// Without steps: the same scalars for all.
template <class Scalars>
void update_all(const Run& r, int64_t count, const Scalars& scalars, UpdateFn<float, Scalars> f32,
                UpdateFn<double, Scalars> f64) {
  update_all(r, count, columns(r, count) - 2, &scalars, 0, f32, f64);
}

// scalars_at(step of the parameter, the parameter's number); the steps are column `at`, the last state stands before.
template <class Scalars, class ScalarsAt>
void update_at_step(const Run& r, int64_t count, int at, ScalarsAt scalars_at, UpdateFn<float, Scalars> f32,
                    UpdateFn<double, Scalars> f64) {
  const Workspace workspace(static_cast<size_t>(count) * sizeof(Scalars));
  Scalars* scalars = workspace.as<Scalars>();
  for (int64_t i = 0; i < count; ++i) {
    const double step = *r.in[static_cast<size_t>(at * count + i)].data<float>() += 1;
    new (scalars + i) Scalars(scalars_at(step, i));
  }
  update_all<Scalars>(r, count, at - 2, scalars, 1, f32, f64);
}

struct Column {
  const char* name;
  const Tensors* tensors;
  std::optional<DType> number{};  // of 0-d tensors, not of the parameters' shapes
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
      for (const Column& c : columns_) check_state(c, i, p);
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

  // Of all parameters, with no more attributes than options.
  template <class Options>
  void run(Op op, const Options& options) const {
    run(
        op, [](size_t, size_t) { return true; },
        [&](size_t, int64_t count) { return StepAttrs<Options>{options, count}; });
  }

 private:
  bool is_gradient(const Column& c) const { return &c == columns_.data(); }

  void check_state(const Column& c, size_t i, const Tensor& p) const {
    const Tensor& t = (*c.tensors)[i];
    const Shape expected = c.number ? Shape{} : p.shape();
    check<ShapeError>(t.defined() && t.shape() == expected, name_, ": ", c.name, "[", i, "] has shape ",
                      t.defined() ? to_string(t.shape()) : "none", c.number ? ", expected " : ", its parameter ",
                      expected);
    const DType dtype = c.number.value_or(p.dtype());
    check<DTypeError>(t.dtype() == dtype, name_, ": ", c.name, "[", i, "] is ", dtype_name(t.dtype()),
                      c.number ? ", expected " : ", its parameter ", dtype_name(dtype));
    check<ShapeError>(is_gradient(c) || t.is_contiguous(), name_, ": ", c.name, "[", i,
                      "] must be row-major, as its optimizer made it");
  }

  void run_group(Op op, const std::vector<size_t>& group, const Attrs& attrs) const {
    Tensors in;
    in.reserve(group.size() * (1 + columns_.size()));
    for (const size_t i : group) in.push_back(ops::contiguous(params_[i]));
    for (const Column& c : columns_)
      for (const size_t i : group) in.push_back(is_gradient(c) ? ops::contiguous((*c.tensors)[i]) : (*c.tensors)[i]);
    for (size_t k = 0; k < in.size(); ++k)
      if (k / group.size() != 1) in[k].will_write(name_);  // all but the gradients
    emit(op, in, attrs, {});
    for (size_t k = 0; k < group.size(); ++k)
      if (!params_[group[k]].is_contiguous()) ops::copy_(params_[group[k]], in[k]);
  }

  const char* name_;
  const Tensors& params_;
  std::vector<Column> columns_;
};

struct ScaleAttrs {
  double max_norm;
  bool error_if_nonfinite = false;
};

template <class T>
void scale_gradient(T* g, int64_t n, T scale) {
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) g[i] *= scale;
  });
}

}  // namespace

namespace optim {

void sgd(const Tensors& params, const Tensors& grads, const Tensors& momentum_buffers, const std::vector<bool>& first,
         const SgdOptions& o) {
  check<ShapeError>(first.size() == params.size(), "sgd: expected one of first for each of ", params.size(),
                    " parameters, got ", first.size());
  const auto attrs = [&](size_t i, int64_t count) { return SgdAttrs{o, count, first[i]}; };
  if (o.momentum == 0)
    return Step("sgd", params, {{"grads", &grads}}).run(Op::SgdStep, [](size_t, size_t) { return true; }, attrs);
  Step("sgd", params, {{"grads", &grads}, {"momentum_buffers", &momentum_buffers}})
      .run(Op::SgdStep, [&](size_t a, size_t b) { return first[a] == first[b]; }, attrs);
}

void adagrad(const Tensors& params, const Tensors& grads, const Tensors& state_sums, const Tensors& steps,
             const AdagradOptions& o) {
  Step("adagrad", params, {{"grads", &grads}, {"state_sums", &state_sums}, {"steps", &steps, DType::Float32}})
      .run(Op::AdagradStep, o);
}

void rmsprop(const Tensors& params, const Tensors& grads, const Tensors& square_avgs, const Tensors& grad_avgs,
             const Tensors& momentum_buffers, const Tensors& steps, const RmspropOptions& o) {
  const Column g{"grads", &grads}, square{"square_avgs", &square_avgs}, average{"grad_avgs", &grad_avgs},
      momentum{"momentum_buffers", &momentum_buffers}, counts{"steps", &steps, DType::Float32};
  if (o.centered && o.momentum > 0)
    Step("rmsprop", params, {g, square, average, momentum, counts}).run(Op::RmspropStep, o);
  else if (o.centered)
    Step("rmsprop", params, {g, square, average, counts}).run(Op::RmspropStep, o);
  else if (o.momentum > 0)
    Step("rmsprop", params, {g, square, momentum, counts}).run(Op::RmspropStep, o);
  else
    Step("rmsprop", params, {g, square, counts}).run(Op::RmspropStep, o);
}

void adadelta(const Tensors& params, const Tensors& grads, const Tensors& square_avgs, const Tensors& acc_deltas,
              const Tensors& steps, const AdadeltaOptions& o) {
  Step("adadelta", params,
       {{"grads", &grads},
        {"square_avgs", &square_avgs},
        {"acc_deltas", &acc_deltas},
        {"steps", &steps, DType::Float32}})
      .run(Op::AdadeltaStep, o);
}

void adam(const Tensors& params, const Tensors& grads, const Tensors& exp_avgs, const Tensors& exp_avg_sqs,
          const Tensors& max_exp_avg_sqs, const Tensors& steps, const AdamOptions& o) {
  const char* name = o.decoupled_weight_decay ? "adamw" : "adam";
  const Column g{"grads", &grads}, average{"exp_avgs", &exp_avgs}, square{"exp_avg_sqs", &exp_avg_sqs},
      greatest{"max_exp_avg_sqs", &max_exp_avg_sqs}, counts{"steps", &steps, DType::Float32};
  if (o.amsgrad)
    Step(name, params, {g, average, square, greatest, counts}).run(Op::AdamStep, o);
  else
    Step(name, params, {g, average, square, counts}).run(Op::AdamStep, o);
}

void adamax(const Tensors& params, const Tensors& grads, const Tensors& exp_avgs, const Tensors& exp_infs,
            const Tensors& steps, const AdamaxOptions& o) {
  Step("adamax", params,
       {{"grads", &grads}, {"exp_avgs", &exp_avgs}, {"exp_infs", &exp_infs}, {"steps", &steps, DType::Float32}})
      .run(Op::AdamaxStep, o);
}

double nadam_momentum(const NadamOptions& o, int64_t step) {
  return o.beta1 * (1 - 0.5 * std::pow(0.96, static_cast<double>(step) * o.momentum_decay));
}

void nadam(const Tensors& params, const Tensors& grads, const Tensors& exp_avgs, const Tensors& exp_avg_sqs,
           const Tensors& mu_products, const Tensors& steps, const NadamOptions& o) {
  Step("nadam", params,
       {{"grads", &grads},
        {"exp_avgs", &exp_avgs},
        {"exp_avg_sqs", &exp_avg_sqs},
        {"steps", &steps, DType::Float32},
        {"mu_products", &mu_products, DType::Float64}})
      .run(Op::NadamStep, o);
}

void lion(const Tensors& params, const Tensors& grads, const Tensors& exp_avgs, const LionOptions& o) {
  Step("lion", params, {{"grads", &grads}, {"exp_avgs", &exp_avgs}}).run(Op::LionStep, o);
}

void clip_norm(const Tensors& grads, const Tensor& norm, double max_norm, bool error_if_nonfinite) {
  check<ShapeError>(norm.size() == 1, "clip_norm: norm must be one number, got shape ", norm.shape());
  check_floating("clip_norm", "norm", norm);
  const NoGrad off;
  Tensors in{ops::cast(norm.detach(), DType::Float64)};
  // By itself: a node of a plan that has no outputs stays there, and before those that write.
  if (error_if_nonfinite) emit(Op::ScaleGradients, in, ScaleAttrs{max_norm, true}, {});
  if (grads.empty()) return;
  for (const Tensor& g : grads) {
    check<DTypeError>(g.dtype() == DType::Float32 || g.dtype() == DType::Float64, "clip_norm: a gradient is ",
                      dtype_name(g.dtype()), "; float32 and float64 can be clipped");
    in.push_back(ops::contiguous(g));
  }
  for (size_t i = 1; i < in.size(); ++i) in[i].will_write("clip_norm");
  emit(Op::ScaleGradients, in, ScaleAttrs{max_norm}, {});
  for (size_t i = 0; i < grads.size(); ++i)
    if (!grads[i].is_contiguous()) ops::copy_(grads[i], in[i + 1]);
}

}  // namespace optim

LANNER_RUN(ScaleGradients) {
  const auto [max_norm, error_if_nonfinite] = r.attrs.get<ScaleAttrs>();
  const double norm = *r.in[0].data<double>();
  check(!error_if_nonfinite || std::isfinite(norm), "clip_norm: the norm of the gradients is ", norm);
  const double wanted = max_norm / (norm + 1e-6);
  const double scale = wanted > 1 ? 1 : wanted;  // a NaN stays one
  if (scale == 1) return;
  for (size_t i = 1; i < r.in.size(); ++i) {
    const Tensor& g = r.in[i];
    if (g.dtype() == DType::Float32)
      scale_gradient(g.data<float>(), g.size(), static_cast<float>(scale));
    else
      scale_gradient(g.data<double>(), g.size(), scale);
  }
}

LANNER_RUN(SgdStep) {
  const auto& [o, count, first] = r.attrs.get<SgdAttrs>();
  const cpu::SgdScalars c{o.lr, o.weight_decay, o.momentum, o.dampening, o.nesterov, o.maximize, first};
  update_all(r, count, c, cpu::kernels().optim->sgd_f32, cpu::kernels().optim->sgd_f64);
}

LANNER_RUN(AdagradStep) {
  const auto& [o, count] = r.attrs.get<StepAttrs<optim::AdagradOptions>>();
  const auto scalars = [&o = o](double t, int64_t) {
    return cpu::AdagradScalars{o.lr / (1 + (t - 1) * o.lr_decay), o.weight_decay, o.eps, o.maximize};
  };
  update_at_step(r, count, 3, scalars, cpu::kernels().optim->adagrad_f32, cpu::kernels().optim->adagrad_f64);
}

LANNER_RUN(RmspropStep) {
  const auto& [o, count] = r.attrs.get<StepAttrs<optim::RmspropOptions>>();
  const auto scalars = [&o = o](double, int64_t) {
    return cpu::RmspropScalars{o.lr, o.weight_decay, o.alpha, o.eps, o.momentum, o.centered, o.maximize};
  };
  const int at = columns(r, count) - 1;
  update_at_step(r, count, at, scalars, cpu::kernels().optim->rmsprop_f32, cpu::kernels().optim->rmsprop_f64);
}

LANNER_RUN(AdadeltaStep) {
  const auto& [o, count] = r.attrs.get<StepAttrs<optim::AdadeltaOptions>>();
  const auto scalars = [&o = o](double, int64_t) {
    return cpu::AdadeltaScalars{o.lr, o.weight_decay, o.rho, o.eps, o.maximize};
  };
  update_at_step(r, count, 4, scalars, cpu::kernels().optim->adadelta_f32, cpu::kernels().optim->adadelta_f64);
}

LANNER_RUN(AdamStep) {
  const auto& [o, count] = r.attrs.get<StepAttrs<optim::AdamOptions>>();
  double last = 0;  // parameters mostly stand at the same step
  cpu::AdamScalars c{};
  const auto scalars = [&, &o = o](double t, int64_t) {
    if (t != last)
      c = {o.lr,
           o.weight_decay,
           o.beta1,
           o.beta2,
           o.eps,
           1 - std::pow(o.beta1, t),
           std::sqrt(1 - std::pow(o.beta2, t)),
           o.amsgrad,
           o.maximize,
           o.decoupled_weight_decay};
    last = t;
    return c;
  };
  const int at = columns(r, count) - 1;
  update_at_step(r, count, at, scalars, cpu::kernels().optim->adam_f32, cpu::kernels().optim->adam_f64);
}

LANNER_RUN(AdamaxStep) {
  const auto& [o, count] = r.attrs.get<StepAttrs<optim::AdamaxOptions>>();
  const auto scalars = [&o = o](double t, int64_t) {
    return cpu::AdamaxScalars{o.lr, o.weight_decay, o.beta1, o.beta2, o.eps, 1 - std::pow(o.beta1, t), o.maximize};
  };
  update_at_step(r, count, 4, scalars, cpu::kernels().optim->adamax_f32, cpu::kernels().optim->adamax_f64);
}

LANNER_RUN(NadamStep) {
  const auto& [o, count] = r.attrs.get<StepAttrs<optim::NadamOptions>>();
  const auto scalars = [&, &o = o, count = count](double t, int64_t i) {
    const auto step = static_cast<int64_t>(t);
    const double mu = optim::nadam_momentum(o, step), mu_next = optim::nadam_momentum(o, step + 1);
    const double product = *r.in[static_cast<size_t>(5 * count + i)].data<double>() *= mu;
    return cpu::NadamScalars{o.weight_decay,
                             o.beta1,
                             o.beta2,
                             o.eps,
                             1 - std::pow(o.beta2, t),
                             o.decoupled_weight_decay ? o.lr * o.weight_decay : 0,
                             o.lr * (1 - mu) / (1 - product),
                             o.lr * mu_next / (1 - product * mu_next),
                             o.decoupled_weight_decay,
                             o.maximize};
  };
  update_at_step(r, count, 4, scalars, cpu::kernels().optim->nadam_f32, cpu::kernels().optim->nadam_f64);
}

LANNER_RUN(LionStep) {
  const auto& [o, count] = r.attrs.get<StepAttrs<optim::LionOptions>>();
  const cpu::LionScalars c{o.lr, o.weight_decay, o.beta1, o.beta2, o.maximize};
  update_all(r, count, c, cpu::kernels().optim->lion_f32, cpu::kernels().optim->lion_f64);
}

}  // namespace lanner
