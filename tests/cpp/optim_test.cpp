#include "lanner/optim.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "cpu/dispatch.h"
#include "lanner/autodiff.h"
#include "lanner/parallel.h"

namespace lanner {
namespace {

using namespace optim;

// What one optimizer does to one element, in double: p, the gradient, three of state, the step.
using Reference = std::function<void(double& p, double g, double* s, int step)>;
// One step of the optimizer itself on all parameters; state[k][i] belongs to parameter i.
using Update = std::function<void(const Tensors& p, const Tensors& g, std::vector<Tensors>& state, int step)>;

// What counts the updates of n parameters before the given one.
Tensors steps_before(size_t n, int step) {
  Tensors steps;
  for (size_t i = 0; i < n; ++i) steps.push_back(Tensor::scalar(step - 1));
  return steps;
}

struct Optimizer {
  std::string name;
  int states;
  Update update;
  Reference reference;
};

std::vector<Optimizer> optimizers() {
  std::vector<Optimizer> all;
  for (const bool nesterov : {false, true}) {
    SgdOptions o{
        .lr = 0.1, .momentum = 0.9, .dampening = nesterov ? 0 : 0.3, .weight_decay = 0.01, .nesterov = nesterov};
    all.push_back(
        {nesterov ? "sgd_nesterov" : "sgd_momentum", 1,
         [=](auto& p, auto& g, auto& s, int step) { sgd(p, g, s[0], std::vector<bool>(p.size(), step == 1), o); },
         [=](double& p, double g, double* s, int step) {
           g += o.weight_decay * p;
           s[0] = step == 1 ? g : o.momentum * s[0] + (1 - o.dampening) * g;
           p -= o.lr * (nesterov ? g + o.momentum * s[0] : s[0]);
         }});
  }
  all.push_back(
      {"sgd_maximize", 0,
       [](auto& p, auto& g, auto&, int) { sgd(p, g, {}, std::vector<bool>(p.size()), {.lr = 0.1, .maximize = true}); },
       [](double& p, double g, double*, int) { p += 0.1 * g; }});
  all.push_back({"adagrad", 1,
                 [](auto& p, auto& g, auto& s, int step) {
                   adagrad(p, g, s[0], steps_before(p.size(), step),
                           {.lr = 0.1, .lr_decay = 0.1, .weight_decay = 0.01});
                 },
                 [](double& p, double g, double* s, int step) {
                   g += 0.01 * p;
                   s[0] += g * g;
                   p -= 0.1 / (1 + (step - 1) * 0.1) * g / (std::sqrt(s[0]) + 1e-10);
                 }});
  for (const bool centered : {false, true})
    for (const double momentum : {0.0, 0.8}) {
      RmspropOptions o{.lr = 0.01, .alpha = 0.9, .weight_decay = 0.01, .momentum = momentum, .centered = centered};
      const int at = centered ? 2 : 1;
      all.push_back({std::string("rmsprop") + (centered ? "_centered" : "") + (momentum > 0 ? "_momentum" : ""),
                     1 + centered + (momentum > 0),
                     [=](auto& p, auto& g, auto& s, int step) {
                       rmsprop(p, g, s[0], centered ? s[1] : Tensors{}, momentum > 0 ? s[at] : Tensors{},
                               steps_before(p.size(), step), o);
                     },
                     [=](double& p, double g, double* s, int) {
                       g += o.weight_decay * p;
                       s[0] = o.alpha * s[0] + (1 - o.alpha) * g * g;
                       if (centered) s[1] += (1 - o.alpha) * (g - s[1]);
                       const double average = std::sqrt(s[0] - (centered ? s[1] * s[1] : 0)) + o.eps;
                       if (momentum > 0) {
                         s[at] = momentum * s[at] + g / average;
                         p -= o.lr * s[at];
                       } else {
                         p -= o.lr * g / average;
                       }
                     }});
    }
  all.push_back({"adadelta", 2,
                 [](auto& p, auto& g, auto& s, int step) {
                   adadelta(p, g, s[0], s[1], steps_before(p.size(), step), {.lr = 0.5, .weight_decay = 0.01});
                 },
                 [](double& p, double g, double* s, int) {
                   g += 0.01 * p;
                   s[0] = 0.9 * s[0] + 0.1 * g * g;
                   const double delta = std::sqrt(s[1] + 1e-6) / std::sqrt(s[0] + 1e-6) * g;
                   s[1] = 0.9 * s[1] + 0.1 * delta * delta;
                   p -= 0.5 * delta;
                 }});
  for (const bool amsgrad : {false, true})
    for (const bool decoupled : {false, true}) {
      AdamOptions o{.lr = 0.01,
                    .weight_decay = 0.1,
                    .amsgrad = amsgrad,
                    .maximize = amsgrad,
                    .decoupled_weight_decay = decoupled};
      all.push_back({std::string(decoupled ? "adamw" : "adam") + (amsgrad ? "_amsgrad" : ""), 2 + amsgrad,
                     [=](auto& p, auto& g, auto& s, int step) {
                       adam(p, g, s[0], s[1], amsgrad ? s[2] : Tensors{}, steps_before(p.size(), step), o);
                     },
                     [=](double& p, double g, double* s, int step) {
                       if (o.maximize) g = -g;
                       if (decoupled)
                         p *= 1 - o.lr * o.weight_decay;
                       else
                         g += o.weight_decay * p;
                       s[0] = o.beta1 * s[0] + (1 - o.beta1) * g;
                       s[1] = o.beta2 * s[1] + (1 - o.beta2) * g * g;
                       s[2] = std::max(s[2], s[1]);
                       const double denominator =
                           std::sqrt((amsgrad ? s[2] : s[1]) / (1 - std::pow(o.beta2, step))) + o.eps;
                       p -= o.lr / (1 - std::pow(o.beta1, step)) * s[0] / denominator;
                     }});
    }
  all.push_back({"adamax", 2,
                 [](auto& p, auto& g, auto& s, int step) {
                   adamax(p, g, s[0], s[1], steps_before(p.size(), step), {.weight_decay = 0.01});
                 },
                 [](double& p, double g, double* s, int step) {
                   g += 0.01 * p;
                   s[0] = 0.9 * s[0] + 0.1 * g;
                   s[1] = std::max(0.999 * s[1], std::abs(g) + 1e-8);
                   p -= 2e-3 / (1 - std::pow(0.9, step)) * s[0] / s[1];
                 }});
  for (const bool decoupled : {false, true}) {
    NadamOptions o{.weight_decay = 0.01, .decoupled_weight_decay = decoupled};
    const auto product = [=](int step) {
      double all = 1;
      for (int t = 1; t <= step; ++t) all *= nadam_momentum(o, t);
      return all;
    };
    all.push_back({decoupled ? "nadamw" : "nadam", 2,
                   [=](auto& p, auto& g, auto& s, int step) {
                     Tensors products;
                     for (size_t i = 0; i < p.size(); ++i)
                       products.push_back(Tensor::scalar(product(step - 1), DType::Float64));
                     nadam(p, g, s[0], s[1], products, steps_before(p.size(), step), o);
                   },
                   [=](double& p, double g, double* s, int step) {
                     if (decoupled)
                       p *= 1 - o.lr * o.weight_decay;
                     else
                       g += o.weight_decay * p;
                     s[0] = o.beta1 * s[0] + (1 - o.beta1) * g;
                     s[1] = o.beta2 * s[1] + (1 - o.beta2) * g * g;
                     const double denominator = std::sqrt(s[1] / (1 - std::pow(o.beta2, step))) + o.eps;
                     const double mu = o.beta1 * (1 - 0.5 * std::pow(0.96, step * o.momentum_decay)),
                                  next = o.beta1 * (1 - 0.5 * std::pow(0.96, (step + 1) * o.momentum_decay));
                     p -= o.lr * (1 - mu) / (1 - product(step)) * g / denominator;
                     p -= o.lr * next / (1 - product(step + 1)) * s[0] / denominator;
                   }});
  }
  all.push_back({"lion", 1, [](auto& p, auto& g, auto& s, int) { lion(p, g, s[0], {.lr = 0.01, .weight_decay = 0.1}); },
                 [](double& p, double g, double* s, int) {
                   p *= 1 - 0.01 * 0.1;
                   const double u = 0.9 * s[0] + 0.1 * g;
                   p -= 0.01 * ((u > 0) - (u < 0));
                   s[0] = 0.99 * s[0] + 0.01 * g;
                 }});
  return all;
}

// Deterministic numbers of some size, never near 0, so that Lion's sign is not a matter of rounding.
double value(int64_t i, int salt) {
  const double x = std::sin(static_cast<double>(i) * 12.9898 + salt * 78.233) * 43758.5453;
  const double u = x - std::floor(x);
  return u < 0.5 ? -0.1 - u : u - 0.4;
}

template <class T>
void run_against_reference(const Optimizer& optimizer, double tolerance) {
  const std::vector<int64_t> sizes{1, 0, 7, 16, 33, 20000, 3};  // 20000: more than one slice
  Tensors params;
  std::vector<Tensors> state(3);
  std::vector<std::vector<double>> p;
  std::vector<std::vector<std::vector<double>>> s;
  for (size_t i = 0; i < sizes.size(); ++i) {
    params.push_back(Tensor::empty({sizes[i]}, DTypeOf<T>::value));
    p.emplace_back();
    for (int64_t k = 0; k < sizes[i]; ++k) {
      params[i].data<T>()[k] = static_cast<T>(value(k, static_cast<int>(i)));
      p[i].push_back(params[i].data<T>()[k]);
    }
    for (auto& column : state) {
      column.push_back(Tensor::empty({sizes[i]}, DTypeOf<T>::value));
      std::memset(column[i].raw(), 0, static_cast<size_t>(sizes[i]) * sizeof(T));
    }
    s.emplace_back(static_cast<size_t>(sizes[i]), std::vector<double>(3, 0.0));
  }
  for (int step = 1; step <= 5; ++step) {
    Tensors grads;
    for (size_t i = 0; i < sizes.size(); ++i) {
      grads.push_back(Tensor::empty({sizes[i]}, DTypeOf<T>::value));
      for (int64_t k = 0; k < sizes[i]; ++k) {
        grads[i].data<T>()[k] = static_cast<T>(value(k, 100 * step + static_cast<int>(i)));
        optimizer.reference(p[i][static_cast<size_t>(k)], grads[i].data<T>()[k], s[i][static_cast<size_t>(k)].data(),
                            step);
      }
    }
    optimizer.update(params, grads, state, step);
  }
  for (size_t i = 0; i < sizes.size(); ++i)
    for (int64_t k = 0; k < sizes[i]; ++k) {
      ASSERT_NEAR(params[i].data<T>()[k], p[i][static_cast<size_t>(k)], tolerance)
          << optimizer.name << " " << i << " " << k;
      for (int column = 0; column < optimizer.states; ++column)
        ASSERT_NEAR(state[static_cast<size_t>(column)][i].data<T>()[k],
                    s[i][static_cast<size_t>(k)][static_cast<size_t>(column)], tolerance * 4)
            << optimizer.name << " state " << column;
    }
}

TEST(Optim, EqualsTheReferenceOnEveryInstructionSet) {
  const std::string before = cpu::kernels().isa;
  for (const cpu::KernelTable* table : cpu::available()) {
    cpu::set_isa(table->isa);
    for (const Optimizer& optimizer : optimizers()) {
      SCOPED_TRACE(table->isa);
      run_against_reference<double>(optimizer, 1e-13);
      // Five steps, each with some ten roundings of numbers up to 2; centered RMSprop also cancels.
      run_against_reference<float>(optimizer, optimizer.name.find("centered") != std::string::npos ? 2e-5 : 2e-6);
    }
  }
  cpu::set_isa(before);
}

TEST(Optim, ParametersMayLieInMemoryInAnyWay) {
  const Tensor block = Tensor::from_vector<float>({1, 2, 3, 4, 5, 6}, {2, 3});
  const Tensor transposed = block.view({3, 2}, {1, 3});
  sgd({transposed}, {Tensor::from_vector<float>({1, 2, 3, 4, 5, 6}, {3, 2})}, {}, {true}, {.lr = 1});
  const float expected[] = {0, -1, -2, 2, 1, 0};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(block.data<float>()[i], expected[i]) << i;
}

TEST(Optim, StepsAndDTypesMayDiffer) {
  Tensor a = Tensor::from_vector<float>({1}, {1}), b = Tensor::from_vector<double>({1}, {1}),
         c = Tensor::from_vector<float>({1}, {1});
  const Tensor ga = Tensor::from_vector<float>({1}, {1}), gb = Tensor::from_vector<double>({1}, {1});
  const Tensors m{Tensor::from_vector<float>({0}, {1}), Tensor::from_vector<double>({0}, {1}),
                  Tensor::from_vector<float>({0}, {1})},
      v{Tensor::from_vector<float>({0}, {1}), Tensor::from_vector<double>({0}, {1}),
        Tensor::from_vector<float>({0}, {1})};
  adam({a, b, c}, {ga, gb, ga}, m, v, {}, {Tensor::scalar(0), Tensor::scalar(0), Tensor::scalar(2)}, {.lr = 0.1});
  EXPECT_FLOAT_EQ(a.data<float>()[0], 0.9f);
  EXPECT_NEAR(b.data<double>()[0], 0.9, 1e-8);
  EXPECT_NEAR(c.data<float>()[0], 1 - 0.1 / (1 - 0.729) * 0.1 / std::sqrt(0.001 / (1 - std::pow(0.999, 3))), 1e-5);
}

TEST(Optim, SameBitsForAnyNumberOfThreads) {
  const auto run = [] {
    Tensor p = Tensor::empty({100003}), g = Tensor::empty({100003}), m = Tensor::empty({100003}),
           v = Tensor::empty({100003});
    for (int i = 0; i < 100003; ++i) {
      p.data<float>()[i] = static_cast<float>(value(i, 1));
      g.data<float>()[i] = static_cast<float>(value(i, 2));
      m.data<float>()[i] = v.data<float>()[i] = 0;
    }
    adam({p}, {g}, {m}, {v}, {}, {Tensor::scalar(0)});
    return p;
  };
  const int threads = num_threads();
  set_num_threads(1);
  const Tensor one = run();
  set_num_threads(4);
  const Tensor four = run();
  set_num_threads(threads);
  EXPECT_EQ(0, std::memcmp(one.raw(), four.raw(), 100003 * sizeof(float)));
}

TEST(Optim, CountsTheWriteAndSaysWhatIsWrong) {
  Tensor p = Tensor::from_vector<float>({1, 2}, {2});
  p.requires_grad_();
  const Tensor g = Tensor::from_vector<float>({1, 2}, {2});
  const uint32_t before = p.version();
  sgd({p}, {g}, {}, {true});
  EXPECT_NE(p.version(), before);
  EXPECT_THROW(sgd({p}, {}, {}, {true}), ShapeError);
  EXPECT_THROW(sgd({p}, {Tensor::from_vector<float>({1}, {1})}, {}, {true}), ShapeError);
  EXPECT_THROW(sgd({p}, {Tensor::from_vector<double>({1, 2}, {2})}, {}, {true}), DTypeError);
  EXPECT_THROW(sgd({Tensor::from_vector<int64_t>({1}, {1})}, {Tensor::from_vector<int64_t>({1}, {1})}, {}, {true}),
               DTypeError);
  EXPECT_THROW(sgd({p}, {g}, {}, {true}, {.momentum = 0.9}), ShapeError);
  EXPECT_THROW(adam({p}, {g}, {g}, {g}, {}, {}), ShapeError);
  adam({}, {}, {}, {}, {}, {});
}

TEST(Optim, CountsTheSteps) {
  const Tensor p = Tensor::scalar(1), g = Tensor::scalar(1), m = Tensor::scalar(0), v = Tensor::scalar(0),
               step = Tensor::scalar(0);
  for (int i = 1; i <= 3; ++i) {
    adam({p}, {g}, {m}, {v}, {}, {step});
    EXPECT_EQ(step.item(), i);
  }
}

TEST(Optim, ClipsToTheNorm) {
  const Tensor a = Tensor::from_vector<float>({3, 0}, {2}), b = Tensor::from_vector<double>({4}, {1});
  clip_norm({a, b}, Tensor::scalar(5), 10);
  EXPECT_EQ(a.data<float>()[0], 3);
  clip_norm({a, b}, Tensor::scalar(5), 1);
  EXPECT_NEAR(a.data<float>()[0], 0.6, 1e-6);
  EXPECT_NEAR(b.data<double>()[0], 0.8, 1e-6);
  clip_norm({a}, Tensor::scalar(0.5), 1, true);
  EXPECT_THROW(clip_norm({a}, Tensor::scalar(INFINITY), 1, true), Error);
  EXPECT_NEAR(a.data<float>()[0], 0.6, 1e-6);
}

}  // namespace
}  // namespace lanner
