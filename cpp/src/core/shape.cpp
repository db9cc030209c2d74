#include "lanner/shape.h"

#include <algorithm>
#include <ostream>
#include <sstream>

#include "lanner/error.h"

namespace lanner {

void Dims::assign(const int64_t* begin, const int64_t* end) {
  check<ShapeError>(end - begin <= kMaxRank, "at most ", kMaxRank, " dimensions are possible, got ", end - begin);
  std::copy(begin, end, values_);
  size_ = static_cast<int32_t>(end - begin);
}

Dims Dims::filled(int count, int64_t value) {
  Dims d;
  for (int i = 0; i < count; ++i) d.push_back(value);
  return d;
}

void Dims::push_back(int64_t value) { insert(size_, value); }

void Dims::insert(int at, int64_t value) {
  check<ShapeError>(size_ < kMaxRank, "at most ", kMaxRank, " dimensions are possible, got ", kMaxRank + 1);
  std::copy_backward(values_ + at, values_ + size_, values_ + size_ + 1);
  values_[at] = value;
  ++size_;
}

void Dims::erase(int at) {
  std::copy(values_ + at + 1, values_ + size_, values_ + at);
  --size_;
}

std::ostream& operator<<(std::ostream& out, const Dims& dims) {
  out << '[';
  for (int i = 0; i < dims.size(); ++i) out << (i ? ", " : "") << dims[i];
  return out << ']';
}

std::string to_string(const Dims& dims) {
  std::ostringstream text;
  text << dims;
  return text.str();
}

int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (int64_t n : shape) count *= n;
  return count;
}

Dims contiguous_strides(const Shape& shape) {
  Dims strides = shape;
  int64_t stride = 1;
  for (int i = shape.size() - 1; i >= 0; --i) {
    strides[i] = stride;
    stride *= std::max<int64_t>(shape[i], 1);
  }
  return strides;
}

Shape broadcast_shapes(const Shape& a, const Shape& b, const char* op) {
  if (a == b) return a;
  const Shape& longer = a.size() >= b.size() ? a : b;
  const Shape& shorter = a.size() >= b.size() ? b : a;
  Shape out = longer;
  const int lead = longer.size() - shorter.size();
  for (int i = 0; i < shorter.size(); ++i) {
    const int64_t m = longer[lead + i], n = shorter[i];
    check<ShapeError>(m == n || m == 1 || n == 1, op, ": shapes ", a, " and ", b, " do not broadcast");
    out[lead + i] = m == 1 ? n : m;
  }
  return out;
}

int normalize_axis(int64_t axis, int rank, const char* op) {
  check<ShapeError>(axis >= -rank && axis < rank, op, ": axis ", axis, " is out of range for ", rank, " dimensions");
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

}  // namespace lanner
