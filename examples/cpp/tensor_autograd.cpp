// Tensors and gradients in C++: a line is fitted to noisy points, and Newton's method uses a second derivative.
//
//   cmake -S . -B build -DCMAKE_PREFIX_PATH=<where lanner is installed> && cmake --build build && build/tensor_autograd
#include <lanner/lanner.h>

#include <cstdio>

using namespace lanner;

// The weight and bias that fit y = 3 x - 1 + noise best, by gradient descent.
void fit_line() {
  manual_seed(0);
  const Tensor x = ops::uniform({256, 1}, -1, 1);
  const Tensor y = 3 * x - 1 + ops::normal({256, 1}, 0, 0.05);
  Tensor w = ops::zeros({1, 1}).requires_grad_();
  Tensor b = ops::zeros({1}).requires_grad_();
  for (int step = 0; step < 200; ++step) {
    const Tensor loss = ops::mse_loss(ops::linear(x, w, b), y);
    const Tensors g = grad({loss}, {w, b});
    NoGrad off;
    ops::copy_(w, w - 0.3 * g[0]);
    ops::copy_(b, b - 0.3 * g[1]);
    if (step % 50 == 0) std::printf("step %3d  loss %.5f\n", step, loss.item());
  }
  std::printf("y = %.3f x %+.3f\n", w.item(), b.item());
}

// Where x^3 - 2 x - 5 (J. Wallis's example of Newton's method, 1685) has its local minimum: a root of the first
// derivative, found with the second.
void newton() {
  Tensor x = Tensor::scalar(2, DType::Float64);
  for (int step = 0; step < 6; ++step) {
    x = x.detach().requires_grad_();
    const Tensor f = x * x * x - 2 * x - 5;
    const Tensor slope = grad({f}, {x}, {}, /*create_graph=*/true)[0];
    const Tensor curvature = grad({slope}, {x})[0];
    NoGrad off;
    x = x - slope / curvature;
    std::printf("step %d  x = %.12f\n", step, x.item());
  }
}

int main() {
  try {
    fit_line();
    newton();
    ops::matmul(ops::zeros({2, 3}), ops::zeros({2, 3}));
  } catch (const ShapeError& error) {
    std::printf("a mistake says what it is: %s\n", error.what());
  }
}
