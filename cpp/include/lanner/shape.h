#pragma once

#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <string>
#include <vector>

namespace lanner {

constexpr int kMaxRank = 8;

// A short list of integers (sizes, strides, axes, pads) that lives in place: no allocation, trivially copied.
class Dims {
 public:
  Dims() = default;
  Dims(std::initializer_list<int64_t> values) { assign(values.begin(), values.end()); }
  Dims(const std::vector<int64_t>& values) {
    assign(values.data(), values.data() + values.size());
  }  // NOLINT: a natural conversion
  // `count` copies of `value`.
  static Dims filled(int count, int64_t value);

  int size() const { return size_; }
  bool empty() const { return size_ == 0; }
  int64_t& operator[](int i) { return values_[i]; }
  int64_t operator[](int i) const { return values_[i]; }
  int64_t back() const { return values_[size_ - 1]; }
  int64_t* begin() { return values_; }
  int64_t* end() { return values_ + size_; }
  const int64_t* begin() const { return values_; }
  const int64_t* end() const { return values_ + size_; }
  void push_back(int64_t value);
  void insert(int at, int64_t value);
  void erase(int at);

  friend bool operator==(const Dims& a, const Dims& b) {
    if (a.size_ != b.size_) return false;
    for (int i = 0; i < a.size_; ++i)
      if (a.values_[i] != b.values_[i]) return false;
    return true;
  }

 private:
  void assign(const int64_t* begin, const int64_t* end);

  int64_t values_[kMaxRank] = {};
  int32_t size_ = 0;
};
using Shape = Dims;

// "[2, 3]"
std::string to_string(const Dims& dims);
std::ostream& operator<<(std::ostream& out, const Dims& dims);

// The product; 1 for an empty list.
int64_t element_count(const Shape& shape);
// Strides, in elements, of a row-major array.
Dims contiguous_strides(const Shape& shape);
// The shape that NumPy's broadcasting gives; throws ShapeError that begins with `op`.
Shape broadcast_shapes(const Shape& a, const Shape& b, const char* op);
// -rank <= axis < rank to 0 <= axis < rank; throws ShapeError that begins with `op`.
int normalize_axis(int64_t axis, int rank, const char* op);

}  // namespace lanner
