#include "bindings.h"
#include "lanner/ops/recurrent.h"

namespace lanner::python {
namespace {

using Optional = std::optional<Tensor>;
Tensor or_none(const Optional& t) { return t.value_or(Tensor()); }

ops::RecurrentWeights weights(const Tensor& ih, const Tensor& hh, const Optional& bias_ih, const Optional& bias_hh,
                              const Optional& hr = {}) {
  return {ih, hh, or_none(bias_ih), or_none(bias_hh), or_none(hr)};
}
ops::RecurrentOptions options(const Optional& h0, const Optional& c0, const Optional& lengths, bool reverse) {
  return {or_none(h0), or_none(c0), or_none(lengths), reverse};
}

}  // namespace

void bind_recurrent(py::module_& m) {
  using namespace py::literals;
  using Pair = std::pair<Tensor, Tensor>;
  using Triple = std::tuple<Tensor, Tensor, Tensor>;
  m.def(
      "rnn",
      [](const Tensor& x, const Tensor& ih, const Tensor& hh, const Optional& bias_ih, const Optional& bias_hh,
         const std::string& nonlinearity, const Optional& h0, const Optional& lengths, bool reverse) -> Pair {
        check(nonlinearity == "tanh" || nonlinearity == "relu", "rnn: nonlinearity must be tanh or relu, got ",
              nonlinearity);
        const auto r =
            ops::rnn(x, weights(ih, hh, bias_ih, bias_hh), options(h0, {}, lengths, reverse), nonlinearity == "relu");
        return {r.y, r.h};
      },
      "x"_a, "weight_ih"_a, "weight_hh"_a, "bias_ih"_a = py::none(), "bias_hh"_a = py::none(), py::kw_only(),
      "nonlinearity"_a = "tanh", "h0"_a = py::none(), "lengths"_a = py::none(), "reverse"_a = false, NoGil(),
      R"(``h' = tanh(W_ih x + b_ih + W_hh h + b_hh)``, or relu of it, for all steps of ``x`` [T, N, input].

Returns the states of all steps [T, N, H] and that after the last one [N, H]. ``h0`` [N, H] is zeros by default. Sequence n
has ``lengths[n]`` steps, from 1 to T: past them its state stays, and the result is 0. With ``reverse`` the steps are gone
through from each sequence's last to its first.

>>> y, h = ln.rnn(ln.ones((3, 1, 1)), ln.ones((1, 1)), ln.ones((1, 1)), nonlinearity="relu")
>>> y[:, 0, 0].tolist(), h.tolist()
([1.0, 2.0, 3.0], [[3.0]])
)");
  m.def(
      "lstm",
      [](const Tensor& x, const Tensor& ih, const Tensor& hh, const Optional& bias_ih, const Optional& bias_hh,
         const Optional& hr, const Optional& h0, const Optional& c0, const Optional& lengths, bool reverse) -> Triple {
        const auto r = ops::lstm(x, weights(ih, hh, bias_ih, bias_hh, hr), options(h0, c0, lengths, reverse));
        return {r.y, r.h, r.c};
      },
      "x"_a, "weight_ih"_a, "weight_hh"_a, "bias_ih"_a = py::none(), "bias_hh"_a = py::none(),
      "weight_hr"_a = py::none(), py::kw_only(), "h0"_a = py::none(), "c0"_a = py::none(), "lengths"_a = py::none(),
      "reverse"_a = false, NoGil(),
      R"(``c' = f c + i g``, ``h' = o tanh(c')`` for all steps of ``x`` [T, N, input].

``i, f, g, o`` are sigmoid, sigmoid, tanh and sigmoid of ``W_ih x + b_ih + W_hh h + b_hh``, weights [4 H, ...] in this order;
``weight_hr`` [P, H] projects h. Returns the states h of all steps [T, N, H], and h and c after the last one. ``lengths`` and
``reverse`` as in ``rnn``.

>>> y, h, c = ln.lstm(ln.ones((5, 2, 3)), ln.ones((16, 3)), ln.ones((16, 4)))
>>> y.shape, h.shape, c.shape
((5, 2, 4), (2, 4), (2, 4))
)");
  m.def(
      "gru",
      [](const Tensor& x, const Tensor& ih, const Tensor& hh, const Optional& bias_ih, const Optional& bias_hh,
         const Optional& h0, const Optional& lengths, bool reverse) -> Pair {
        const auto r = ops::gru(x, weights(ih, hh, bias_ih, bias_hh), options(h0, {}, lengths, reverse));
        return {r.y, r.h};
      },
      "x"_a, "weight_ih"_a, "weight_hh"_a, "bias_ih"_a = py::none(), "bias_hh"_a = py::none(), py::kw_only(),
      "h0"_a = py::none(), "lengths"_a = py::none(), "reverse"_a = false, NoGil(),
      R"(``h' = (1 - z) n + z h`` for all steps of ``x`` [T, N, input].

``r, z = sigmoid(W_ih x + b_ih + W_hh h + b_hh)`` and ``n = tanh(W_in x + b_in + r (W_hn h + b_hn))``, weights [3 H, ...] in the
order r, z, n. Returns the states of all steps [T, N, H] and that after the last one [N, H]. ``lengths`` and ``reverse`` as in
``rnn``.

>>> y, h = ln.gru(ln.ones((5, 2, 3)), ln.ones((12, 3)), ln.ones((12, 4)))
>>> y.shape, h.shape
((5, 2, 4), (2, 4))
)");
}

}  // namespace lanner::python
