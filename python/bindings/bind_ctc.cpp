#include "bindings.h"
#include "lanner/ops/ctc.h"

namespace lanner::python {
namespace {

// How many frames or labels of each sample count.
using Lengths = std::variant<Tensor, std::vector<int64_t>>;
Tensor tensor_of(const Lengths& lengths) {
  if (const auto* given = std::get_if<Tensor>(&lengths)) return *given;
  const auto& numbers = std::get<std::vector<int64_t>>(lengths);
  return Tensor::from_vector(numbers, {static_cast<int64_t>(numbers.size())});
}
Tensor tensor_of(const std::optional<Lengths>& lengths) { return lengths ? tensor_of(*lengths) : Tensor(); }

using Labels = std::pair<std::vector<int64_t>, double>;
Labels labels_of(ops::CtcHypothesis&& h) { return {std::move(h.labels), h.log_prob}; }

}  // namespace

void bind_ctc(py::module_& m) {
  using namespace py::literals;
  m.def(
      "ctc_loss",
      [](const Tensor& log_probs, const Tensor& targets, const Lengths& input_lengths, const Lengths& target_lengths,
         int64_t blank, const std::string& reduction, bool zero_infinity) {
        return ops::ctc_loss(log_probs, targets, tensor_of(input_lengths), tensor_of(target_lengths), blank,
                             ops::loss_reduction(reduction, "ctc_loss"), zero_infinity);
      },
      "log_probs"_a, "targets"_a, "input_lengths"_a, "target_lengths"_a, "blank"_a = 0, "reduction"_a = "mean",
      "zero_infinity"_a = false, NoGil(),
      R"(-log of the probability that the frames ``log_probs`` [T, N, C] say ``targets``; see `lanner.nn.CTCLoss`.

>>> log_probs = ln.log(ln.tensor([[[0.5, 0.5]], [[0.5, 0.5]]]))
>>> loss = ln.ctc_loss(log_probs, ln.tensor([[1]]), (2,), (1,))
>>> round(float(loss.exp()), 4)  # 1 / P(11, 01, 10)
1.3333
)");
  m.def(
      "ctc_greedy_decode",
      [](const Tensor& log_probs, const std::optional<Lengths>& input_lengths, int64_t blank) {
        std::vector<Labels> found;
        for (auto& h : ops::ctc_greedy_decode(log_probs, tensor_of(input_lengths), blank))
          found.push_back(labels_of(std::move(h)));
        return found;
      },
      "log_probs"_a, "input_lengths"_a = py::none(), "blank"_a = 0, NoGil(),
      R"(Of each sample of ``log_probs`` [T, N, C] the labels of its most probable path, and its log-probability.

Repeats and blanks are taken out. ``input_lengths`` [N] says how many frames of a sample count.

>>> frames = ln.log(ln.tensor([[[0.1, 0.9]], [[0.8, 0.2]], [[0.3, 0.7]]]))
>>> [labels for labels, log_prob in ln.ctc_greedy_decode(frames)]
[[1, 1]]
)");
  m.def(
      "ctc_beam_search",
      [](const Tensor& log_probs, const std::optional<Lengths>& input_lengths, int64_t beam_width, int64_t blank,
         int64_t top) {
        std::vector<std::vector<Labels>> found;
        for (auto& sample : ops::ctc_beam_search(log_probs, tensor_of(input_lengths), beam_width, blank, top)) {
          auto& labels = found.emplace_back();
          for (auto& h : sample) labels.push_back(labels_of(std::move(h)));
        }
        return found;
      },
      "log_probs"_a, "input_lengths"_a = py::none(), "beam_width"_a = 100, "blank"_a = 0, "top"_a = 1, NoGil(),
      R"(Of each sample the ``top`` most probable label sequences, best first, with their log-probabilities.

A prefix beam search (Hannun et al. 2014): at each frame the ``beam_width`` most probable prefixes are kept, each with the
sum of all its paths. ``log_probs`` [T, N, C]; ``input_lengths`` [N] says how many frames of a sample count.

>>> frames = ln.log(ln.tensor([[[0.6, 0.4]], [[0.6, 0.4]]]))
>>> [labels for labels, log_prob in ln.ctc_greedy_decode(frames)]  # P() = 0.36
[[]]
>>> [(labels, round(log_prob, 3)) for labels, log_prob in ln.ctc_beam_search(frames)[0]]  # P(11, 01, 10) = 0.64
[([1], -0.446)]
)");
}

}  // namespace lanner::python
