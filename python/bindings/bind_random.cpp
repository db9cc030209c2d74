#include "lanner/random.h"

#include "bindings.h"
#include "lanner/ops/random.h"

namespace lanner::python {

// The functions with an underscore are what lanner.random is made of.
void bind_random(py::module_& m) {
  using namespace py::literals;
  m.def(
      "manual_seed",
      [](const py::int_& seed) { manual_seed(py::int_(seed & py::int_(~uint64_t{0})).cast<uint64_t>()); }, "seed"_a,
      R"(Starts the generator of all random numbers again from the integer ``seed``.

The same seed gives the same bits, for any number of threads. Without it every run of a program is another one.

>>> ln.manual_seed(0); a = ln.random.uniform(3)
>>> ln.manual_seed(0); b = ln.random.uniform(3)
>>> ln.all(a == b).item()
True
)");
  m.def("_random_state", [] {
    const RandomState state = random_state();
    return Tensor::from_vector<uint64_t>({state.seed, state.call}, {2});
  });
  m.def("_set_random_state", [](const Tensor& state) {
    check<ShapeError>(state.shape() == Shape{2}, "set_state: expected what get_state gave, of shape [2]; got shape ",
                      state.shape());
    const uint64_t* words = state.data<uint64_t>();
    const int64_t stride = state.strides()[0];
    set_random_state({words[0], words[stride]});
  });
  // A seed for something that draws for itself, as a loader does.
  m.def("_draw_seed", [] {
    const RandomState state = next_random_state();
    return (state.seed ^ (state.call * 0x9E3779B97F4A7C15)) & ((uint64_t{1} << 63) - 1);
  });
  m.def("_normal", &ops::normal, "shape"_a, "mean"_a, "std"_a, "dtype"_a, NoGil());
  m.def("_uniform", &ops::uniform, "shape"_a, "low"_a, "high"_a, "dtype"_a, NoGil());
  m.def("_randint", &ops::randint, "low"_a, "high"_a, "shape"_a, "dtype"_a, NoGil());
  m.def("_permutation", py::overload_cast<int64_t>(&ops::permutation), "n"_a, NoGil());
  m.def("_permutation", py::overload_cast<const Tensor&>(&ops::permutation), "x"_a, NoGil());
  m.def("_bernoulli", py::overload_cast<double, const Shape&, DType>(&ops::bernoulli), "p"_a, "shape"_a, "dtype"_a,
        NoGil());
  m.def("_bernoulli", py::overload_cast<const Tensor&>(&ops::bernoulli), "p"_a, NoGil());
  m.def("_categorical", &ops::categorical, "logits"_a, "axis"_a, "shape"_a, NoGil());
  m.def("_uniform_", &ops::uniform_, "x"_a, "low"_a, "high"_a, NoGil());
  m.def("_normal_", &ops::normal_, "x"_a, "mean"_a, "std"_a, NoGil());
  m.def("dropout", &ops::dropout, "x"_a, "p"_a = 0.5, "training"_a = true, NoGil(),
        R"(In training, each element of ``x`` is zeroed with probability ``p``, and the others divided by ``1 - p``.

Otherwise ``x`` itself. No mask is kept: the gradient draws the same random numbers again.

>>> ln.manual_seed(0)
>>> sorted(set(ln.dropout(ln.ones(100), 0.5).tolist()))
[0.0, 2.0]
>>> ln.dropout(ln.ones(3), 0.5, training=False).tolist()
[1.0, 1.0, 1.0]
)");
  m.def("dropout2d", &ops::dropout2d, "x"_a, "p"_a = 0.5, "training"_a = true, NoGil(),
        R"(As ``dropout``, of whole channels of ``x`` [N, C, H, W] or [C, H, W].

>>> ln.manual_seed(0)
>>> y = ln.dropout2d(ln.ones((1, 8, 2, 2)), 0.5)
>>> ln.all(y == y[:, :, :1, :1]).item()
True
)");
}

}  // namespace lanner::python
