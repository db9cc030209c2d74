// Indexing as NumPy does it. What Python writes between brackets becomes a view (ints, slices, None, Ellipsis) and,
// where arrays stand among them, an index tensor for some axes of that view.
#include "lanner/ops/indexing.h"

#include <utility>

#include "bindings.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/shape.h"

namespace lanner::python {
namespace {

// A key, taken apart: first the slices, then the shape with new axes and without dropped ones, then the arrays.
struct Key {
  Dims starts, stops, steps;
  bool slices = false;  // any axis is not taken whole
  Shape shape;          // after slicing
  bool reshapes = false;
  Dims order;       // if not empty: then these axes, in this order
  Tensors indices;  // one an axis of that (a mask: one for all of its axes), undefined where it is taken whole
  bool advanced = false;
};

bool is_int(py::handle item) {
  if (PyLong_Check(item.ptr())) return !PyBool_Check(item.ptr());
  // A NumPy array has a length, a NumPy integer none.
  return PyIndex_Check(item.ptr()) && !py::isinstance<Tensor>(item) && !py::hasattr(item, "__len__");
}

bool is_array(py::handle item) {
  return py::isinstance<Tensor>(item) || py::hasattr(item, "__array__") || py::isinstance<py::list>(item) ||
         py::isinstance<py::tuple>(item);
}

// A tensor of integers or bool. An empty list selects nothing.
Tensor array_of(py::handle item) {
  Tensor t = py::isinstance<Tensor>(item) ? item.cast<Tensor>() : tensor_from_object(item, std::nullopt, true);
  if (!py::isinstance<Tensor>(item) && t.size() == 0 && is_floating(t.dtype())) t = ops::cast(t, DType::Int64);
  check<DTypeError>(!is_floating(t.dtype()), "index: an index array must be integer or bool, got ",
                    dtype_name(t.dtype()));
  return t;
}

// How many axes of x an item takes.
int axes_of(py::handle item) {
  if (item.is_none() || item.ptr() == Py_Ellipsis || PyBool_Check(item.ptr())) return 0;
  if (py::isinstance<Tensor>(item)) {
    const Tensor& t = item.cast<const Tensor&>();
    return t.dtype() == DType::Bool ? t.ndim() : 1;
  }
  return 1;
}

class Parser {
 public:
  Parser(const Tensor& x, const py::object& key) : x_(x) {
    std::vector<py::object> items;
    if (py::isinstance<py::tuple>(key))
      for (py::handle item : key) items.push_back(py::reinterpret_borrow<py::object>(item));
    else
      items.push_back(key);
    for (py::object& item : items)
      if (!is_int(item) && !PyBool_Check(item.ptr()) && is_array(item)) item = py::cast(array_of(item));
    int taken = 0, ellipses = 0;
    for (const py::object& item : items) {
      taken += axes_of(item);
      ellipses += item.ptr() == Py_Ellipsis;
      out_.advanced |= PyBool_Check(item.ptr()) || py::isinstance<Tensor>(item);
    }
    check<IndexError>(ellipses <= 1, "index: an index can have a single ellipsis ('...')");
    check<IndexError>(taken <= x.ndim(), "index: ", taken, " indices for ", x.ndim(), " dimensions (x ", x.shape(),
                      ")");
    bool empty_ellipsis = false, apart = false, any = false;
    for (const py::object& item : items) {
      if (item.ptr() == Py_Ellipsis) {
        for (int i = taken; i < x.ndim(); ++i) whole();
        empty_ellipsis = any && taken == x.ndim();
      } else {
        add(item);
        if (!out_.advanced || PySlice_Check(item.ptr()) || item.is_none()) continue;
        apart |= empty_ellipsis;
        any = true;
      }
    }
    while (axis_ < x.ndim()) whole();
    if (apart) indices_first();
  }

  Key take() { return std::move(out_); }

 private:
  void add(const py::object& item) {
    if (item.is_none()) {
      out_.reshapes = true;
      result(1, Tensor());
    } else if (PyBool_Check(item.ptr())) {  // a new axis, taken or not
      out_.reshapes = true;
      result(1, item.ptr() == Py_True ? ops::zeros({1}, DType::Int64) : ops::zeros({0}, DType::Int64));
    } else if (PySlice_Check(item.ptr())) {
      slice(item);
    } else if (is_int(item)) {
      integer(item);
    } else if (py::isinstance<Tensor>(item)) {
      tensor(item.cast<Tensor>());
    } else {
      throw py::type_error(
          "index: an index must be an int, a slice, None, Ellipsis or an array of ints or bools, got " +
          std::string(py::str(py::type::handle_of(item).attr("__name__"))));
    }
  }

  void integer(const py::object& item) {
    const py::object number = py::reinterpret_steal<py::object>(PyNumber_Index(item.ptr()));
    if (!number) throw py::error_already_set();
    int overflow = 0;
    const int64_t i = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow), n = x_.shape()[axis_];
    check<IndexError>(overflow == 0 && i >= -n && i < n, "index: index ", std::string(py::str(number)),
                      " is out of range for axis ", axis_, " of size ", n);
    if (out_.advanced) {  // among arrays an int is an array of no dimensions
      cut(0, n, 1);
      result(n, Tensor::scalar(static_cast<double>(i), DType::Int64));
      return;
    }
    const int64_t at = i < 0 ? i + n : i;
    cut(at, at + 1, 1);
    out_.reshapes = true;
  }

  void slice(const py::object& item) {
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(item.ptr(), &start, &stop, &step) < 0) throw py::error_already_set();
    const int64_t n = PySlice_AdjustIndices(x_.shape()[axis_], &start, &stop, step);
    if (n == 0) start = stop = 0, step = 1;
    cut(start, stop, step);
    result(n, Tensor());
  }

  void tensor(const Tensor& index) {
    if (index.dtype() == DType::Bool && index.ndim() == 0) return add(py::bool_(index.item() != 0));
    const int axes = index.dtype() == DType::Bool ? index.ndim() : 1;
    if (index.dtype() == DType::Bool)  // here, where the axis has x's number and not that of the view
      for (int i = 0; i < axes; ++i)
        check<IndexError>(index.shape()[i] == x_.shape()[axis_ + i], "index: a boolean index of shape ", index.shape(),
                          " does not fit x of shape ", x_.shape(), " at axis ", axis_);
    result(x_.shape()[axis_], index);
    for (int i = 0; i < axes; ++i) {
      if (i > 0) out_.shape.push_back(x_.shape()[axis_]);
      cut(0, x_.shape()[axis_], 1);
    }
  }

  void whole() {
    const int64_t n = x_.shape()[axis_];
    cut(0, n, 1);
    result(n, Tensor());
  }

  // In NumPy an ellipsis keeps arrays on both sides apart even where it stands for no axis; their result goes in front.
  void indices_first() {
    Dims rest;
    Tensors indices;
    int axis = 0;
    for (Tensor& index : out_.indices) {
      const int axes = index.defined() && index.dtype() == DType::Bool ? index.ndim() : 1;
      for (int i = 0; i < axes; ++i) (index.defined() ? out_.order : rest).push_back(axis++);
      if (index.defined()) indices.push_back(std::move(index));
    }
    for (int64_t a : rest) out_.order.push_back(a);
    out_.indices = std::move(indices);
  }

  // What is taken of the next axis of x.
  void cut(int64_t start, int64_t stop, int64_t step) {
    out_.slices |= start != 0 || stop != x_.shape()[axis_] || step != 1;
    out_.starts.push_back(start);
    out_.stops.push_back(stop);
    out_.steps.push_back(step);
    ++axis_;
  }

  // The next axis of the view.
  void result(int64_t n, Tensor index) {
    check<IndexError>(out_.shape.size() < kMaxRank, "index: the result has more than ", kMaxRank, " dimensions");
    out_.shape.push_back(n);
    out_.indices.push_back(std::move(index));
  }

  const Tensor& x_;
  Key out_;
  int axis_ = 0;  // of x, the next
};

// The part of the key that is a view.
Tensor view_of(const Tensor& x, const Key& key) {
  Tensor view = key.slices ? ops::slice(x, key.starts, key.stops, key.steps) : x;
  if (key.reshapes) view = ops::reshape(view, key.shape);
  return key.order.empty() ? view : ops::permute_dims(view, key.order);
}

// x[...] and x[:] are tensors of their own.
Tensor fresh_view(const Tensor& x, const Key& key) {
  if (key.slices || key.reshapes) return view_of(x, key);
  return ops::slice(x, key.starts, key.stops, key.steps);
}

}  // namespace

Tensor getitem(const Tensor& x, py::object key) {
  const Key k = Parser(x, key).take();
  const GilRelease release;
  return k.advanced ? ops::index(view_of(x, k), k.indices) : fresh_view(x, k);
}

void setitem(const Tensor& x, py::object key, py::object value) {
  const Key k = Parser(x, key).take();
  Tensor source =
      py::isinstance<Tensor>(value) ? value.cast<Tensor>()
      : py::isinstance<py::bool_>(value) || py::isinstance<py::float_>(value) || py::isinstance<py::int_>(value)
          ? value.cast<Operand>().tensor
          : tensor_from_object(value, std::nullopt, true);
  const GilRelease release;
  check(!grad_enabled() || !source.requires_grad(),
        "setitem: the value requires grad, and writing it into a tensor would lose its gradient; use ln.where, "
        "ln.scatter or ln.index_put");
  if (grad_enabled() && x.requires_grad()) x.will_write("setitem");  // throws; said of x, not of a view of it
  const NoGrad off;
  ops::assign_(view_of(x, k), k.advanced ? k.indices : Tensors(), source);
}

}  // namespace lanner::python
