#include "lanner/optim.h"

#include "bindings.h"

namespace lanner::python {

// What the classes of lanner.optim call: one fused update of a list of parameters.
void bind_optim(py::module_& m) {
  using namespace optim;
  m.def(
      "_sgd",
      [](const Tensors& params, const Tensors& grads, const Tensors& buffers, const std::vector<bool>& first, double lr,
         double momentum, double dampening, double weight_decay, bool nesterov, bool maximize) {
        sgd(params, grads, buffers, first, {lr, momentum, dampening, weight_decay, nesterov, maximize});
      },
      NoGil());
  m.def(
      "_adagrad",
      [](const Tensors& params, const Tensors& grads, const Tensors& sums, const Tensors& steps, double lr,
         double lr_decay, double weight_decay, double eps,
         bool maximize) { adagrad(params, grads, sums, steps, {lr, lr_decay, weight_decay, eps, maximize}); },
      NoGil());
  m.def(
      "_rmsprop",
      [](const Tensors& params, const Tensors& grads, const Tensors& square_avgs, const Tensors& grad_avgs,
         const Tensors& buffers, const Tensors& steps, double lr, double alpha, double eps, double weight_decay,
         double momentum, bool centered, bool maximize) {
        rmsprop(params, grads, square_avgs, grad_avgs, buffers, steps,
                {lr, alpha, eps, weight_decay, momentum, centered, maximize});
      },
      NoGil());
  m.def(
      "_adadelta",
      [](const Tensors& params, const Tensors& grads, const Tensors& square_avgs, const Tensors& acc_deltas,
         const Tensors& steps, double lr, double rho, double eps, double weight_decay, bool maximize) {
        adadelta(params, grads, square_avgs, acc_deltas, steps, {lr, rho, eps, weight_decay, maximize});
      },
      NoGil());
  m.def(
      "_adam",
      [](const Tensors& params, const Tensors& grads, const Tensors& exp_avgs, const Tensors& exp_avg_sqs,
         const Tensors& max_exp_avg_sqs, const Tensors& steps, double lr, double beta1, double beta2, double eps,
         double weight_decay, bool amsgrad, bool maximize, bool decoupled) {
        adam(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps,
             {lr, beta1, beta2, eps, weight_decay, amsgrad, maximize, decoupled});
      },
      NoGil());
  m.def(
      "_adamax",
      [](const Tensors& params, const Tensors& grads, const Tensors& exp_avgs, const Tensors& exp_infs,
         const Tensors& steps, double lr, double beta1, double beta2, double eps, double weight_decay, bool maximize) {
        adamax(params, grads, exp_avgs, exp_infs, steps, {lr, beta1, beta2, eps, weight_decay, maximize});
      },
      NoGil());
  m.def(
      "_nadam",
      [](const Tensors& params, const Tensors& grads, const Tensors& exp_avgs, const Tensors& exp_avg_sqs,
         const Tensors& mu_products, const Tensors& steps, double lr, double beta1, double beta2, double eps,
         double weight_decay, double momentum_decay, bool decoupled, bool maximize) {
        nadam(params, grads, exp_avgs, exp_avg_sqs, mu_products, steps,
              {lr, beta1, beta2, eps, weight_decay, momentum_decay, decoupled, maximize});
      },
      NoGil());
  m.def(
      "_lion",
      [](const Tensors& params, const Tensors& grads, const Tensors& exp_avgs, double lr, double beta1, double beta2,
         double weight_decay,
         bool maximize) { lion(params, grads, exp_avgs, {lr, beta1, beta2, weight_decay, maximize}); },
      NoGil());
  m.def("_clip_norm", &clip_norm, py::arg("grads"), py::arg("norm"), py::arg("max_norm"),
        py::arg("error_if_nonfinite") = false, NoGil());
}

}  // namespace lanner::python
