#include "lanner/tensor.h"

#include <algorithm>
#include <cstring>

#include <cstring>

#include "core/allocator.h"
#include "core/half.h"
#include "core/tensor_impl.h"
#include "lanner/autodiff.h"

namespace lanner {

thread_local RecordingNotes* recording_notes = nullptr;
std::atomic<uint64_t> RecordingNotes::count{0};

void RecordingNotes::note_grad(const std::shared_ptr<AutogradMeta>& leaf, bool relied_on) {
  for (const Leaf& known : leaves)
    if (!known.leaf.owner_before(leaf) && !leaf.owner_before(known.leaf)) return;
  leaves.push_back({leaf, relied_on, leaf->grad});
}

namespace {

std::shared_ptr<Storage> copied(const void* first, size_t bytes) {
  auto copy = std::make_shared<Storage>(bytes);
  std::memcpy(copy->data(), first, bytes);
  return copy;
}

}  // namespace

void RecordingNotes::note_write(const TensorImpl& x) {
  const Storage& block = *x.storage;
  const bool from_outside = block.recording() != number;
  if (from_outside && x.size > 0) {
    // The whole block, the first time; of another library's memory, whose size is not known, what is written to.
    char *first = static_cast<char*>(block.data()), *last = first + block.bytes();
    if (block.bytes() == 0) {
      first = static_cast<char*>(x.first), last = first + itemsize(x.dtype);
      for (int i = 0; i < x.shape.size(); ++i) {
        const int64_t span = (x.shape[i] - 1) * x.strides[i] * static_cast<int64_t>(itemsize(x.dtype));
        (span < 0 ? first : last) += span;
      }
    }
    const bool known = block.bytes() > 0 &&
                       std::any_of(saved.begin(), saved.end(), [&](const Saved& s) { return s.block.get() == &block; });
    const auto bytes = static_cast<size_t>(last - first);
    if (!known) saved.push_back({x.storage, copied(first, bytes), first, bytes});
  }
  for (const Write& w : writes)
    if (w.block == &block) return;
  writes.push_back({&block, from_outside ? nullptr : copied(block.data(), block.bytes())});
}

void RecordingNotes::undo_writes() {
  for (auto s = saved.rbegin(); s != saved.rend(); ++s) {
    std::memcpy(s->first, s->before->data(), s->bytes);
    s->block->count_write();
  }
  saved.clear();
}

Storage::Storage(size_t bytes)
    : data_(allocate(bytes)),
      bytes_(bytes == 0 ? 1 : bytes),
      recording_(recording_notes ? recording_notes->number : 0) {}

Storage::~Storage() {
  if (bytes_ > 0)
    deallocate(data_, bytes_);
  else if (release_)
    release_();
}

Tensor Tape::without_memory(const Tensor& t) {
  auto impl = std::make_shared<TensorImpl>(*t.impl_);
  impl->storage = nullptr;
  impl->first = nullptr;
  return Tensor(std::move(impl));
}

Tensor Tape::with_meta(const Tensor& t, std::shared_ptr<AutogradMeta> meta) {
  auto impl = std::make_shared<TensorImpl>(*t.impl_);
  impl->meta = std::move(meta);
  return Tensor(std::move(impl));
}

bool is_row_major(const Shape& shape, const Dims& strides) {
  int64_t expected = 1;
  for (int i = shape.size() - 1; i >= 0; --i) {
    if (shape[i] == 0) return true;
    if (shape[i] != 1 && strides[i] != expected) return false;
    expected *= shape[i];
  }
  return true;
}

namespace {

template <class T>
T read_item(const TensorImpl& t) {
  switch (t.dtype) {
    case DType::Bool: return static_cast<T>(*static_cast<const bool*>(t.first));
    case DType::UInt8: return static_cast<T>(*static_cast<const uint8_t*>(t.first));
    case DType::UInt16: return static_cast<T>(*static_cast<const uint16_t*>(t.first));
    case DType::UInt32: return static_cast<T>(*static_cast<const uint32_t*>(t.first));
    case DType::UInt64: return static_cast<T>(*static_cast<const uint64_t*>(t.first));
    case DType::Int8: return static_cast<T>(*static_cast<const int8_t*>(t.first));
    case DType::Int16: return static_cast<T>(*static_cast<const int16_t*>(t.first));
    case DType::Int32: return static_cast<T>(*static_cast<const int32_t*>(t.first));
    case DType::Int64: return static_cast<T>(*static_cast<const int64_t*>(t.first));
    case DType::Float16: return static_cast<T>(to_float(*static_cast<const float16*>(t.first)));
    case DType::BFloat16: return static_cast<T>(to_float(*static_cast<const bfloat16*>(t.first)));
    case DType::Float32: return static_cast<T>(*static_cast<const float*>(t.first));
    case DType::Float64: return static_cast<T>(*static_cast<const double*>(t.first));
  }
  __builtin_unreachable();
}

}  // namespace

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  int64_t bytes = static_cast<int64_t>(itemsize(dtype));
  for (int64_t n : shape) {
    check<ShapeError>(n >= 0, "empty: a size is negative in shape ", shape);
    check<ShapeError>(!__builtin_mul_overflow(bytes, n, &bytes), "empty: shape ", shape, " has too many elements");
  }
  auto impl = std::make_shared<TensorImpl>();
  impl->storage = std::make_shared<Storage>(static_cast<size_t>(bytes));
  impl->first = impl->storage->data();
  impl->shape = shape;
  impl->strides = contiguous_strides(shape);
  impl->size = element_count(shape);
  impl->dtype = dtype;
  impl->device = device;
  return Tensor(std::move(impl));
}

Tensor Tensor::scalar(double value, DType dtype) {
  Tensor t = empty({}, dtype);
  void* p = t.raw();
  switch (dtype) {
    case DType::Bool: *static_cast<bool*>(p) = value != 0; break;
    case DType::UInt8: *static_cast<uint8_t*>(p) = static_cast<uint8_t>(static_cast<int64_t>(value)); break;
    case DType::UInt16: *static_cast<uint16_t*>(p) = static_cast<uint16_t>(static_cast<int64_t>(value)); break;
    case DType::UInt32: *static_cast<uint32_t*>(p) = static_cast<uint32_t>(static_cast<int64_t>(value)); break;
    case DType::UInt64:
      *static_cast<uint64_t*>(p) =
          value < 0 ? static_cast<uint64_t>(static_cast<int64_t>(value)) : static_cast<uint64_t>(value);
      break;
    case DType::Int8: *static_cast<int8_t*>(p) = static_cast<int8_t>(static_cast<int64_t>(value)); break;
    case DType::Int16: *static_cast<int16_t*>(p) = static_cast<int16_t>(static_cast<int64_t>(value)); break;
    case DType::Int32: *static_cast<int32_t*>(p) = static_cast<int32_t>(static_cast<int64_t>(value)); break;
    case DType::Int64: *static_cast<int64_t*>(p) = static_cast<int64_t>(value); break;
    case DType::Float16: *static_cast<float16*>(p) = to_float16(static_cast<float>(value)); break;
    case DType::BFloat16: *static_cast<bfloat16*>(p) = to_bfloat16(static_cast<float>(value)); break;
    case DType::Float32: *static_cast<float*>(p) = static_cast<float>(value); break;
    case DType::Float64: *static_cast<double*>(p) = value; break;
  }
  return t;
}

Tensor Tensor::weak(double value) {
  Tensor t = scalar(value, DType::Float64);
  t.impl_->weak = true;
  return t;
}

Tensor Tensor::weak(int64_t value) {
  Tensor t = empty({}, DType::Int64);
  *t.data<int64_t>() = value;
  t.impl_->weak = true;
  return t;
}

bool Tensor::is_weak() const { return impl_->weak; }

Tensor Tensor::from_memory(void* data, const Shape& shape, const Dims& strides, DType dtype,
                           std::function<void()> release) {
  auto impl = std::make_shared<TensorImpl>();
  impl->storage = std::make_shared<Storage>(data, std::move(release));
  impl->first = data;
  impl->shape = shape;
  impl->strides = strides;
  impl->size = element_count(shape);
  impl->dtype = dtype;
  impl->contiguous = is_row_major(shape, strides);
  return Tensor(std::move(impl));
}

const Shape& Tensor::shape() const { return impl_->shape; }
const Dims& Tensor::strides() const { return impl_->strides; }
int64_t Tensor::size() const { return impl_->size; }
DType Tensor::dtype() const { return impl_->dtype; }
Device Tensor::device() const { return impl_->device; }
bool Tensor::is_contiguous() const { return impl_->contiguous; }
void* Tensor::raw() const { return impl_->first; }

void Tensor::check_dtype(DType dtype) const {
  check<DTypeError>(impl_->dtype == dtype, "data: the tensor holds ", dtype_name(impl_->dtype), ", asked for ",
                    dtype_name(dtype));
}

double Tensor::item() const {
  check<ShapeError>(size() == 1, "item: expected one element, x has shape ", shape());
  will_read("item");
  return read_item<double>(*impl_);
}

int64_t Tensor::item_int() const {
  check<ShapeError>(size() == 1, "item: expected one element, x has shape ", shape());
  will_read("item");
  return read_item<int64_t>(*impl_);
}

Tensor Tensor::view(const Shape& shape, const Dims& strides, int64_t offset) const {
  auto impl = std::make_shared<TensorImpl>();
  impl->storage = impl_->storage;
  impl->first = static_cast<char*>(impl_->first) + offset * static_cast<int64_t>(itemsize(impl_->dtype));
  impl->shape = shape;
  impl->strides = strides;
  impl->size = element_count(shape);
  impl->dtype = impl_->dtype;
  impl->device = impl_->device;
  impl->contiguous = is_row_major(shape, strides);
  return Tensor(std::move(impl));
}

Tensor Tensor::detach() const { return Tape::with_meta(*this, nullptr); }

bool Tensor::requires_grad() const { return impl_->meta && impl_->meta->requires_grad; }

Tensor& Tensor::requires_grad_(bool on) {
  check<DTypeError>(!on || is_floating(dtype()), "requires_grad_: only a floating tensor has a gradient, x is ",
                    dtype_name(dtype()));
  check(is_leaf() || on, "requires_grad_: x was computed from others; use detach() for a tensor without history");
  if (!impl_->meta) {
    if (!on) return *this;
    impl_->meta = std::make_shared<AutogradMeta>();
  }
  impl_->meta->requires_grad = on;
  return *this;
}

bool Tensor::is_leaf() const { return !impl_->meta || !impl_->meta->node; }

Tensor Tensor::grad() const { return impl_->meta ? impl_->meta->grad : Tensor(); }

void Tensor::set_grad(const Tensor& grad) {
  if (grad.defined()) {
    check<ShapeError>(grad.shape() == shape(), "grad: expected shape ", shape(), ", got ", grad.shape());
    check<DTypeError>(grad.dtype() == dtype(), "grad: expected ", dtype_name(dtype()), ", got ",
                      dtype_name(grad.dtype()));
  }
  if (!impl_->meta) {
    if (!grad.defined()) return;
    impl_->meta = std::make_shared<AutogradMeta>();
  }
  if (recording_notes) recording_notes->note_grad(impl_->meta, false);
  impl_->meta->grad = grad;
}

void Tensor::will_read(const char* what) const {
  check<RecordingError>(
      !recording_notes || impl_->weak, what, ": a value (shape ", shape(),
      ") is read back while the step is recorded as a plan; return it from the step and read it there");
}

uint32_t Tensor::version() const { return impl_->storage ? impl_->storage->version() : 0; }

void Tensor::will_write(const char* op) const {
  if (grad_enabled() && requires_grad()) {
    check(!is_leaf(), op, ": the tensor is a leaf that requires grad; write to it inside no_grad()");
    check(false, op,
          ": the tensor was computed on the tape, and writing into it would make its gradient wrong; use an "
          "expression that gives a new tensor (x = x + y, where, scatter), or detach()");
  }
  impl_->storage->count_write();
  if (recording_notes) recording_notes->note_write(*impl_);
}

void Tensor::will_share() const {
  will_read("numpy");
  impl_->storage->share();
}

}  // namespace lanner
