#include "lanner/ops/recurrent.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cpu/dispatch.h"
#include "each_isa.h"
#include "lanner/autodiff.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/reduce.h"
#include "lanner/ops/shape.h"

namespace lanner {
namespace {

class RecurrentOnIsa : public EachIsa {};
LANNER_ON_EACH_ISA(RecurrentOnIsa);

enum class Kind { Tanh, Relu, Lstm, Gru };

struct Case {
  Kind kind;
  int64_t steps, rows, features, hidden, projection;
  bool bias, lengths, reverse;

  int64_t gates() const { return kind == Kind::Lstm ? 4 : kind == Kind::Gru ? 3 : 1; }
  int64_t state() const { return projection ? projection : hidden; }
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Kind kind : {Kind::Tanh, Kind::Relu, Kind::Lstm, Kind::Gru}) {
    for (const bool lengths : {false, true}) {
      for (const bool reverse : {false, true}) {
        all.push_back({kind, 1, 1, 1, 1, 0, true, lengths, reverse});
        all.push_back({kind, 4, 3, 2, 7, 0, false, lengths, reverse});
        all.push_back({kind, 3, 1, 5, 70, 0, true, lengths, reverse});
        all.push_back({kind, 3, 61, 4, 33, 0, true, lengths, reverse});
        all.push_back({kind, 2, 34, 3, 70, 0, true, lengths, reverse});
        all.push_back({kind, 2, 5, 4, 300, 0, true, lengths, reverse});
        if (kind == Kind::Lstm) all.push_back({kind, 3, 35, 4, 65, 34, true, lengths, reverse});
      }
    }
  }
  return all;
}

struct Inputs {
  Tensor x, lengths;
  std::vector<Tensor> given;  // x, the weights, h0, c0
  ops::RecurrentWeights weights;
  ops::RecurrentOptions options;
};

template <class T>
Inputs inputs_of(const Case& c) {
  std::mt19937 rng(7);
  const auto made = [&](const Shape& shape) {
    std::uniform_real_distribution<double> uniform(-1, 1);
    Tensor t = Tensor::empty(shape, DTypeOf<T>::value);
    for (int64_t i = 0; i < t.size(); ++i) t.data<T>()[i] = static_cast<T>(uniform(rng));
    t.requires_grad_();
    return t;
  };
  Inputs in;
  in.x = made({c.steps, c.rows, c.features});
  in.weights.ih = made({c.gates() * c.hidden, c.features});
  in.weights.hh = made({c.gates() * c.hidden, c.state()});
  if (c.bias) in.weights.bias_ih = made({c.gates() * c.hidden}), in.weights.bias_hh = made({c.gates() * c.hidden});
  if (c.projection) in.weights.hr = made({c.projection, c.hidden});
  in.options.h0 = made({c.rows, c.state()});
  if (c.kind == Kind::Lstm) in.options.c0 = made({c.rows, c.hidden});
  in.options.reverse = c.reverse;
  if (c.lengths) {
    std::vector<int64_t> lengths;
    for (int64_t n = 0; n < c.rows; ++n) lengths.push_back(1 + (n * 5 + 1) % c.steps);
    in.options.lengths = Tensor::from_vector(lengths, {c.rows});
  }
  for (const Tensor& t : {in.x, in.weights.ih, in.weights.hh, in.weights.bias_ih, in.weights.bias_hh, in.weights.hr,
                          in.options.h0, in.options.c0})
    if (t.defined()) in.given.push_back(t);
  return in;
}

ops::RecurrentResult run(const Case& c, const Inputs& in) {
  if (c.kind == Kind::Lstm) return ops::lstm(in.x, in.weights, in.options);
  if (c.kind == Kind::Gru) return ops::gru(in.x, in.weights, in.options);
  return ops::rnn(in.x, in.weights, in.options, c.kind == Kind::Relu);
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

struct Expected {
  std::vector<double> y, h, c;
};

// One sequence after the other, one unit after the other, in float64.
template <class T>
Expected naive(const Case& c, const Inputs& in) {
  const int64_t H = c.hidden, K = c.state(), G = c.gates();
  const auto at = [](const Tensor& t, int64_t i) { return t.defined() ? static_cast<double>(t.data<T>()[i]) : 0.0; };
  Expected e;
  e.y.assign(c.steps * c.rows * K, 0);
  for (int64_t n = 0; n < c.rows; ++n) {
    std::vector<double> h(K), cell(H);
    for (int64_t k = 0; k < K; ++k) h[k] = at(in.options.h0, n * K + k);
    for (int64_t u = 0; u < H; ++u) cell[u] = at(in.options.c0, n * H + u);
    const int64_t length = c.lengths ? in.options.lengths.data<int64_t>()[n] : c.steps;
    for (int64_t step = 0; step < length; ++step) {
      const int64_t t = c.reverse ? length - 1 - step : step;
      std::vector<double> input(G * H), product(G * H), next(H);
      for (int64_t g = 0; g < G * H; ++g) {
        input[g] = at(in.weights.bias_ih, g), product[g] = at(in.weights.bias_hh, g);
        for (int64_t i = 0; i < c.features; ++i)
          input[g] += at(in.weights.ih, g * c.features + i) * at(in.x, (t * c.rows + n) * c.features + i);
        for (int64_t k = 0; k < K; ++k) product[g] += at(in.weights.hh, g * K + k) * h[k];
      }
      for (int64_t u = 0; u < H; ++u) {
        const auto sum = [&](int64_t gate) { return input[gate * H + u] + product[gate * H + u]; };
        if (c.kind == Kind::Tanh) next[u] = std::tanh(sum(0));
        if (c.kind == Kind::Relu) next[u] = std::max(sum(0), 0.0);
        if (c.kind == Kind::Lstm) {
          cell[u] = sigmoid(sum(1)) * cell[u] + sigmoid(sum(0)) * std::tanh(sum(2));
          next[u] = sigmoid(sum(3)) * std::tanh(cell[u]);
        }
        if (c.kind == Kind::Gru) {
          const double z = sigmoid(sum(1));
          next[u] = (1 - z) * std::tanh(input[2 * H + u] + sigmoid(sum(0)) * product[2 * H + u]) + z * h[u];
        }
      }
      for (int64_t k = 0; k < K; ++k) {
        h[k] = c.projection ? 0 : next[k];
        for (int64_t u = 0; c.projection && u < H; ++u) h[k] += at(in.weights.hr, k * H + u) * next[u];
        e.y[(t * c.rows + n) * K + k] = h[k];
      }
    }
    e.h.insert(e.h.end(), h.begin(), h.end());
    e.c.insert(e.c.end(), cell.begin(), cell.end());
  }
  return e;
}

template <class T>
void near(const Tensor& got, const double* want, double bound, const std::string& what) {
  double scale = 1;
  for (int64_t i = 0; i < got.size(); ++i) scale = std::max(scale, std::abs(want[i]));
  for (int64_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(static_cast<double>(got.data<T>()[i]), want[i], bound * scale) << what << " element " << i;
}

// Additions from an input to a result. Each step may pass an error on larger than it came: weights are up to 1 here.
template <class T>
double bound_of(const Case& c) {
  const double additions = static_cast<double>(c.features + c.state() + c.hidden) * std::pow(8.0, c.steps - 1);
  return static_cast<double>(std::numeric_limits<T>::epsilon()) * additions;
}

template <class T>
void test_forward() {
  for (const Case& c : cases()) {
    const Inputs in = inputs_of<T>(c);
    const Expected e = naive<T>(c, in);
    for (const bool kept : {true, false}) {  // with and without what a gradient needs
      GradMode mode(kept);
      const ops::RecurrentResult r = run(c, in);
      near<T>(r.y, e.y.data(), bound_of<T>(c), "y");
      near<T>(r.h, e.h.data(), bound_of<T>(c), "h");
      if (r.c.defined()) near<T>(r.c, e.c.data(), bound_of<T>(c), "c");
    }
  }
}
TEST_P(RecurrentOnIsa, Float32) { test_forward<float>(); }
TEST_P(RecurrentOnIsa, Float64) { test_forward<double>(); }

// The fused gradient beside that of the decomposition, which is what a gradient to be differentiated again is made of.
TEST_P(RecurrentOnIsa, BackwardIsThatOfTheDecomposition) {
  for (const Case& c : cases()) {
    const Inputs in = inputs_of<double>(c);
    const auto gradients = [&](bool create_graph) {
      const ops::RecurrentResult r = run(c, in);
      Tensors out{r.y * r.y, r.h};
      if (r.c.defined()) out.push_back(r.c * r.c);
      for (Tensor& t : out) t = ops::sum(t);
      return grad(out, in.given, {}, create_graph);
    };
    const Tensors fused = gradients(false), decomposed = gradients(true);
    for (size_t i = 0; i < fused.size(); ++i) {
      const Tensor want = ops::contiguous(decomposed[i].detach());
      near<double>(ops::contiguous(fused[i]), want.data<double>(),
                   100 * static_cast<double>(c.rows) * bound_of<double>(c), "gradient " + std::to_string(i));
    }
  }
}

TEST(Recurrent, BadArguments) {
  const Tensor x = ops::zeros({3, 2, 4}), hh = ops::zeros({20, 5});
  const ops::RecurrentWeights weights{ops::zeros({20, 4}), hh, {}, {}, {}};
  EXPECT_THROW(ops::lstm(ops::zeros({3, 4}), weights), ShapeError);
  EXPECT_THROW(ops::lstm(x, {ops::zeros({20, 3}), hh, {}, {}, {}}), ShapeError);
  EXPECT_THROW(ops::gru(x, weights), ShapeError);
  EXPECT_THROW(ops::lstm(x, {weights.ih, hh, ops::zeros({20}), {}, {}}), Error);
  EXPECT_THROW(ops::lstm(x, {weights.ih, ops::zeros({20, 5}, DType::Float64), {}, {}, {}}), DTypeError);
  ops::RecurrentOptions o;
  o.h0 = ops::zeros({2, 4});
  EXPECT_THROW(ops::lstm(x, weights, o), ShapeError);
  o.h0 = {};
  for (const int64_t bad : {0, 4, -1}) {
    o.lengths = Tensor::from_vector(std::vector<int64_t>{3, bad}, {2});
    EXPECT_THROW(ops::lstm(x, weights, o), Error) << bad;
  }
}

}  // namespace
}  // namespace lanner
