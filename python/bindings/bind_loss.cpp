#include "bindings.h"
#include "lanner/ops/loss.h"

namespace lanner::python {
namespace {

using Optional = std::optional<Tensor>;
Tensor or_none(const Optional& t) { return t.value_or(Tensor()); }

using Pairwise = Tensor (*)(const Tensor&, const Tensor&, ops::LossReduction);
void def_pairwise(py::module_& m, const char* name, Pairwise f, const char* doc) {
  using namespace py::literals;
  m.def(
      name,
      [f, name = std::string(name)](const Tensor& input, const Tensor& target, const std::string& reduction) {
        return f(input, target, ops::loss_reduction(reduction, name.c_str()));
      },
      "input"_a, "target"_a, "reduction"_a = "mean", NoGil(), doc);
}

using Scaled = Tensor (*)(const Tensor&, const Tensor&, ops::LossReduction, double);
void def_scaled(py::module_& m, const char* name, Scaled f, const char* scale, const char* doc) {
  using namespace py::literals;
  m.def(
      name,
      [f, name = std::string(name)](const Tensor& input, const Tensor& target, const std::string& reduction, double s) {
        return f(input, target, ops::loss_reduction(reduction, name.c_str()), s);
      },
      "input"_a, "target"_a, "reduction"_a = "mean", py::arg(scale) = 1.0, NoGil(), doc);
}

}  // namespace

void bind_loss(py::module_& m) {
  using namespace py::literals;
  def_pairwise(m, "mse_loss", &ops::mse_loss,
               R"(``(input - target)**2``, averaged, summed or neither (``reduction`` "mean", "sum" or "none").

>>> ln.mse_loss(ln.tensor([1.0, 2.0]), ln.tensor([1.0, 4.0])).item()
2.0
)");
  def_pairwise(m, "l1_loss", &ops::l1_loss, R"(``|input - target|``.

>>> ln.l1_loss(ln.tensor([1.0, 2.0]), ln.tensor([1.0, 4.0])).item()
1.0
)");
  def_scaled(m, "smooth_l1_loss", &ops::smooth_l1_loss, "beta",
             R"(With ``d = |input - target|``: ``d**2 / (2 * beta)`` where ``d < beta``, else ``d - beta / 2``.

>>> ln.smooth_l1_loss(ln.tensor([0.0, 0.0]), ln.tensor([1.0, 3.0]), "none").tolist()
[0.5, 2.5]
)");
  def_scaled(m, "huber_loss", &ops::huber_loss, "delta",
             R"(With ``d = |input - target|``: ``d**2 / 2`` where ``d < delta``, else ``delta * (d - delta / 2)``.

>>> ln.huber_loss(ln.tensor([0.0, 0.0]), ln.tensor([1.0, 3.0]), "none", delta=2.0).tolist()
[0.5, 4.0]
)");
  m.def(
      "cross_entropy",
      [](const Tensor& input, const Tensor& target, const Optional& weight, int64_t ignore_index,
         const std::string& reduction, double label_smoothing) {
        return ops::cross_entropy(input, target, or_none(weight), ignore_index,
                                  ops::loss_reduction(reduction, "cross_entropy"), label_smoothing);
      },
      "input"_a, "target"_a, "weight"_a = py::none(), "ignore_index"_a = -100, "reduction"_a = "mean",
      "label_smoothing"_a = 0.0, NoGil(),
      R"(``-log(softmax(input)[target])`` of logits ``input`` [C], [N, C] or [N, C, d1, ...].

``target`` holds class indices, with the shape of ``input`` without C, or, if floating, probabilities, with the shape of
``input``. ``weight`` [C] scales the classes; targets equal to ``ignore_index`` count for nothing. The mean is over the
weights of the targets; for probabilities over the samples. Raises ShapeError for an index that is no class.

>>> loss = ln.cross_entropy(ln.tensor([[0.0, 0.0], [0.0, 100.0]]), ln.tensor([0, 1]), reduction="none")
>>> [round(x, 4) for x in loss.tolist()]
[0.6931, 0.0]
)");
  m.def(
      "nll_loss",
      [](const Tensor& input, const Tensor& target, const Optional& weight, int64_t ignore_index,
         const std::string& reduction) {
        return ops::nll_loss(input, target, or_none(weight), ignore_index, ops::loss_reduction(reduction, "nll_loss"));
      },
      "input"_a, "target"_a, "weight"_a = py::none(), "ignore_index"_a = -100, "reduction"_a = "mean", NoGil(),
      R"(``-input[target]`` of log-probabilities; shapes, ``weight`` and ``ignore_index`` as in ``cross_entropy``.

>>> ln.nll_loss(ln.tensor([[-1.0, -2.0], [-3.0, -4.0]]), ln.tensor([0, 1])).item()
2.5
)");
  m.def(
      "binary_cross_entropy",
      [](const Tensor& input, const Tensor& target, const Optional& weight, const std::string& reduction) {
        return ops::binary_cross_entropy(input, target, or_none(weight),
                                         ops::loss_reduction(reduction, "binary_cross_entropy"));
      },
      "input"_a, "target"_a, "weight"_a = py::none(), "reduction"_a = "mean", NoGil(),
      R"(``-(target * log(input) + (1 - target) * log(1 - input)) * weight``, each logarithm at least -100.

>>> ln.binary_cross_entropy(ln.tensor([1.0, 0.0]), ln.tensor([1.0, 1.0])).item()
50.0
)");
  m.def(
      "binary_cross_entropy_with_logits",
      [](const Tensor& input, const Tensor& target, const Optional& weight, const std::string& reduction,
         const Optional& pos_weight) {
        return ops::binary_cross_entropy_with_logits(input, target, or_none(weight),
                                                     ops::loss_reduction(reduction, "binary_cross_entropy_with_logits"),
                                                     or_none(pos_weight));
      },
      "input"_a, "target"_a, "weight"_a = py::none(), "reduction"_a = "mean", "pos_weight"_a = py::none(), NoGil(),
      R"(``binary_cross_entropy`` of ``sigmoid(input)``, which does not overflow.

``pos_weight`` multiplies the term with ``target``; it broadcasts, as ``weight`` does.

>>> ln.binary_cross_entropy_with_logits(ln.tensor([1000.0, -1000.0]), ln.tensor([1.0, 1.0])).item()
500.0
)");
  m.def(
      "kl_div",
      [](const Tensor& input, const Tensor& target, const std::string& reduction, bool log_target) {
        if (reduction == "batchmean") return ops::kl_div_batchmean(input, target, log_target);
        return ops::kl_div(input, target, ops::loss_reduction(reduction, "kl_div"), log_target);
      },
      "input"_a, "target"_a, "reduction"_a = "mean", "log_target"_a = false, NoGil(),
      R"(``target * (log(target) - input)``, where ``input`` is a log-probability, and with ``log_target`` also ``target``.

``reduction`` may also be "batchmean": the sum divided by the size of the first axis.

>>> p = ln.tensor([[0.5, 0.5]])
>>> ln.kl_div(ln.log(p), p, reduction="batchmean").item()
0.0
)");
  def_pairwise(m, "hinge_loss", &ops::hinge_loss, R"(``max(0, 1 - input * target)``, ``target`` -1 or 1.

>>> ln.hinge_loss(ln.tensor([0.5, 2.0]), ln.tensor([1.0, -1.0]), "none").tolist()
[0.5, 3.0]
)");
  m.def(
      "multi_margin_loss",
      [](const Tensor& input, const Tensor& target, int64_t p, double margin, const Optional& weight,
         const std::string& reduction) {
        return ops::multi_margin_loss(input, target, p, margin, or_none(weight),
                                      ops::loss_reduction(reduction, "multi_margin_loss"));
      },
      "input"_a, "target"_a, "p"_a = 1, "margin"_a = 1.0, "weight"_a = py::none(), "reduction"_a = "mean", NoGil(),
      R"(``sum(max(0, margin - x[t] + x[i])**p for i != t) * weight[t] / C`` of ``input`` [C] or [N, C], ``p`` 1 or 2.

>>> ln.multi_margin_loss(ln.tensor([[0.0, 1.0]]), ln.tensor([0])).item()
1.0
)");
  m.def(
      "cosine_embedding_loss",
      [](const Tensor& input1, const Tensor& input2, const Tensor& target, double margin,
         const std::string& reduction) {
        return ops::cosine_embedding_loss(input1, input2, target, margin,
                                          ops::loss_reduction(reduction, "cosine_embedding_loss"));
      },
      "input1"_a, "input2"_a, "target"_a, "margin"_a = 0.0, "reduction"_a = "mean", NoGil(),
      R"(``1 - cos(input1, input2)`` where ``target`` is 1, ``max(0, cos - margin)`` where it is -1; inputs [D] or [N, D].

>>> ln.cosine_embedding_loss(ln.tensor([[1.0, 0.0]]), ln.tensor([[0.0, 1.0]]), ln.tensor([1])).item()
1.0
)");
  m.def(
      "triplet_margin_loss",
      [](const Tensor& anchor, const Tensor& positive, const Tensor& negative, double margin, double p, double eps,
         bool swap, const std::string& reduction) {
        return ops::triplet_margin_loss(anchor, positive, negative, margin, p, eps, swap,
                                        ops::loss_reduction(reduction, "triplet_margin_loss"));
      },
      "anchor"_a, "positive"_a, "negative"_a, "margin"_a = 1.0, "p"_a = 2.0, "eps"_a = 1e-6, "swap"_a = false,
      "reduction"_a = "mean", NoGil(),
      R"(``max(0, margin + |anchor - positive| - |anchor - negative|)``, the p-norms over the last axis.

With ``swap``, ``|positive - negative|`` stands for ``|anchor - negative|`` where it is smaller.

>>> x = ln.zeros((1, 2))
>>> ln.triplet_margin_loss(x, x, x).item()
1.0
)");
}

}  // namespace lanner::python
