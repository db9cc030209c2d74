#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "lanner/device.h"
#include "lanner/dtype.h"
#include "lanner/error.h"
#include "lanner/shape.h"

namespace lanner {

class Storage;
class Tensor;
struct TensorImpl;
struct Tape;
using Tensors = std::vector<Tensor>;

// A handle to an n-dimensional array. Copies of a handle are the same tensor; slices and transposes are tensors of
// their own that share its memory.
class Tensor {
 public:
  Tensor() = default;
  // Memory not yet written to, row-major.
  static Tensor empty(const Shape& shape, DType dtype = DType::Float32, Device device = {});
  // A 0-d tensor.
  static Tensor scalar(double value, DType dtype = DType::Float32);
  // A 0-d tensor that takes the dtype of what it is combined with, as a Python number does: x + 1 keeps x's dtype; a
  // fractional one turns an integer x into float32.
  static Tensor weak(double value);
  static Tensor weak(int64_t value);
  static Tensor weak(int value) { return weak(static_cast<int64_t>(value)); }
  bool is_weak() const;
  // Memory that somebody else owns; `release` is called when the last tensor on it is gone.
  static Tensor from_memory(void* data, const Shape& shape, const Dims& strides, DType dtype,
                            std::function<void()> release);
  template <class T>
  static Tensor from_vector(const std::vector<T>& values, const Shape& shape) {
    check<ShapeError>(static_cast<int64_t>(values.size()) == element_count(shape), "from_vector: ", values.size(),
                      " values do not fill shape ", shape);
    Tensor t = empty(shape, DTypeOf<T>::value);
    for (size_t i = 0; i < values.size(); ++i) t.data<T>()[i] = values[i];
    return t;
  }

  bool defined() const { return impl_ != nullptr; }
  const Shape& shape() const;
  const Dims& strides() const;  // in elements
  int64_t size(int axis) const { return shape()[axis < 0 ? axis + ndim() : axis]; }
  int64_t size() const;  // number of elements
  int ndim() const { return shape().size(); }
  DType dtype() const;
  Device device() const;
  bool is_contiguous() const;  // row-major without gaps

  // The first element. The typed form throws DTypeError when T is not the dtype.
  void* raw() const;
  template <class T>
  T* data() const {
    check_dtype(DTypeOf<T>::value);
    return static_cast<T*>(raw());
  }
  // The value of a tensor of one element, converted.
  double item() const;
  int64_t item_int() const;

  // To be called before values are looked at by anything but an op: throws RecordingError while this thread records a
  // plan, whose later runs could not take the same look.
  void will_read(const char* what) const;

  // The same memory seen through another shape and strides; `offset` is in elements from the first element. Not
  // recorded on the tape: for ops and kernels. Users call ops::reshape and its kin.
  Tensor view(const Shape& shape, const Dims& strides, int64_t offset = 0) const;
  // Shares memory, has no history.
  Tensor detach() const;

  // ---- autodiff ----
  bool requires_grad() const;
  // Only a leaf of floating dtype may be told to want gradients.
  Tensor& requires_grad_(bool on = true);
  bool is_leaf() const;
  Tensor grad() const;
  void set_grad(const Tensor& grad);
  // Adds d(this)/d(leaf) into grad() of every leaf that wants it. `gradient` may be left out for one element.
  void backward(const Tensor& gradient = {}, bool retain_graph = false, bool create_graph = false) const;

  // ---- writing in place ----
  // Counts the writes to the memory, of all who share it.
  uint32_t version() const;
  // To be called before memory is written to in place by `op`: throws Error where the tape would then give a wrong
  // gradient (the tensor was computed on the tape, or is a leaf that wants gradients, while gradients are recorded),
  // else counts the write.
  void will_write(const char* op) const;

  // To be called before the memory is handed to another library, which may write to it unnoticed.
  void will_share() const;

  // Of the same tensor?
  bool is(const Tensor& other) const { return impl_ == other.impl_; }
  const void* id() const { return impl_.get(); }

 private:
  friend struct Tape;
  explicit Tensor(std::shared_ptr<TensorImpl> impl) : impl_(std::move(impl)) {}
  void check_dtype(DType dtype) const;

  std::shared_ptr<TensorImpl> impl_;
};

}  // namespace lanner
