#include "lanner/data.h"

#include "bindings.h"

namespace lanner::python {

// What lanner.data.DataLoader is made of.
void bind_data(py::module_& m) {
  using namespace py::literals;
  m.def("_sample_order", &sample_order, "n"_a, "shuffle"_a, "seed"_a, "epoch"_a, NoGil());
  // The loader's thread touches no Python object: the arrays belong to the loader and the epoch, which are dropped
  // here.
  py::class_<BatchLoader>(m, "_BatchLoader")
      .def(py::init([](Tensors arrays, int64_t batch_size, bool shuffle, bool drop_last, uint64_t seed, int prefetch,
                       const std::optional<Tensor>& indices) {
             return BatchLoader(std::move(arrays), {batch_size, shuffle, drop_last, seed, prefetch},
                                indices.value_or(Tensor()));
           }),
           "arrays"_a, "batch_size"_a, "shuffle"_a, "drop_last"_a, "seed"_a, "prefetch"_a, "indices"_a)
      .def_property_readonly("samples", &BatchLoader::samples)
      .def("__len__", &BatchLoader::batches)
      .def("epoch", &BatchLoader::epoch, "number"_a);
  py::class_<BatchLoader::Epoch>(m, "_BatchEpoch")
      .def("__iter__", [](py::object self) { return self; })
      .def("__next__", [](BatchLoader::Epoch& self) {
        Tensors batch;
        {
          GilRelease released;
          if (!self.next(batch)) batch.clear();
        }
        if (batch.empty()) throw py::stop_iteration();
        py::tuple out(batch.size());
        for (size_t i = 0; i < batch.size(); ++i) out[i] = std::move(batch[i]);
        return out;
      });
}

}  // namespace lanner::python
