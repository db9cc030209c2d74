#pragma once

#include <string>

#include "lanner/tensor.h"

namespace lanner::ops {

// What is added around x: elements on each side of every spatial dimension (one number for all), "valid" for none, or
// "same" for as many as keep the size, the odd one after; "same" goes with stride 1.
class Padding {
 public:
  Padding(int size = 0) : size_({size}) {}  // NOLINT: a natural conversion
  Padding(std::initializer_list<int64_t> size) : size_(size) {}
  Padding(const Dims& size) : size_(size) {}         // NOLINT: a natural conversion
  Padding(const std::string& mode) : mode_(mode) {}  // NOLINT: a natural conversion
  Padding(const char* mode) : mode_(mode) {}         // NOLINT: a natural conversion

  const Dims& size() const { return size_; }
  const std::string& mode() const { return mode_; }  // empty where the size is given

 private:
  Dims size_;
  std::string mode_;
};

// Convolution, which here as everywhere in deep learning is cross-correlation: x [N, C, spatial...] or, one sample, [C,
// spatial...]; weight [O, C / groups, kernel...]; bias [O] or undefined. A spatial size becomes
// (size + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1, rounded down.
Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const Dims& stride = {1},
              const Padding& padding = 0, const Dims& dilation = {1}, int64_t groups = 1);
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const Dims& stride = {1},
              const Padding& padding = 0, const Dims& dilation = {1}, int64_t groups = 1);
Tensor conv3d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const Dims& stride = {1},
              const Padding& padding = 0, const Dims& dilation = {1}, int64_t groups = 1);

// Transposed convolution, the gradient of convolution by its input: weight [C, O / groups, kernel...]. A spatial size
// becomes (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1.
Tensor conv_transpose1d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const Dims& stride = {1},
                        const Dims& padding = {0}, const Dims& output_padding = {0}, int64_t groups = 1,
                        const Dims& dilation = {1});
Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const Dims& stride = {1},
                        const Dims& padding = {0}, const Dims& output_padding = {0}, int64_t groups = 1,
                        const Dims& dilation = {1});
Tensor conv_transpose3d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const Dims& stride = {1},
                        const Dims& padding = {0}, const Dims& output_padding = {0}, int64_t groups = 1,
                        const Dims& dilation = {1});

}  // namespace lanner::ops
