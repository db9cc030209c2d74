// einsum: the operands are joined two at a time, from the left; each join is a matmul over the letters that both have
// and nobody needs later.
#include <algorithm>
#include <cctype>

#include "lanner/ops/elementwise.h"
#include "lanner/ops/join.h"
#include "lanner/ops/linalg.h"
#include "lanner/ops/reduce.h"
#include "lanner/ops/shape.h"
#include "ops/op.h"

namespace lanner {
namespace {

// An axis's letter. The axes of "..." are kDots + 7, kDots + 6, ... counted from their right end, so that they line up
// and sort, leftmost first, before the letters.
using Label = int;
using Labels = std::vector<Label>;
constexpr Label kDots = 0;

bool contains(const Labels& labels, Label label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

struct Term {
  Labels before, after;  // of "..."
  bool dots = false;
};

struct Equation {
  std::vector<Term> in;
  Term out;
  bool has_out = false;
};

Term parse_term(const std::string& text, const std::string& equation) {
  Term term;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '.') {
      check<ShapeError>(!term.dots && text.compare(i, 3, "...") == 0, "einsum: \"...\" may stand once in a term, in \"",
                        equation, "\"");
      term.dots = true;
      i += 2;
      continue;
    }
    check<ShapeError>(std::isalpha(static_cast<unsigned char>(text[i])), "einsum: '", std::string(1, text[i]),
                      "' is no letter, in \"", equation, "\"");
    (term.dots ? term.after : term.before).push_back(text[i]);
  }
  return term;
}

Equation parse(const std::string& equation) {
  std::string text;
  for (char c : equation)
    if (c != ' ') text += c;
  Equation e;
  const size_t arrow = text.find("->");
  if (arrow != std::string::npos) {
    e.has_out = true;
    e.out = parse_term(text.substr(arrow + 2), equation);
    text.resize(arrow);
  }
  size_t begin = 0;
  for (size_t comma; (comma = text.find(',', begin)) != std::string::npos; begin = comma + 1)
    e.in.push_back(parse_term(text.substr(begin, comma - begin), equation));
  e.in.push_back(parse_term(text.substr(begin), equation));
  return e;
}

Labels with_dots(const Term& term, int dots) {
  Labels labels = term.before;
  for (int i = dots - 1; i >= 0; --i) labels.push_back(kDots + kMaxRank - 1 - i);
  labels.insert(labels.end(), term.after.begin(), term.after.end());
  return labels;
}

// A tensor whose axes have names, each once.
struct Named {
  Tensor x;
  Labels labels;

  int axis(Label label) const {
    return static_cast<int>(std::find(labels.begin(), labels.end(), label) - labels.begin());
  }
};

void take_diagonals(Named& t) {
  for (size_t i = 0; i < t.labels.size(); ++i) {
    for (size_t j = i + 1; j < t.labels.size();) {
      if (t.labels[j] != t.labels[i]) {
        ++j;
        continue;
      }
      const Label label = t.labels[i];
      t.x = ops::diagonal(t.x, 0, static_cast<int64_t>(i), static_cast<int64_t>(j));  // the new axis is the last
      t.x = ops::moveaxis(t.x, {-1}, {static_cast<int64_t>(i)});
      t.labels.erase(t.labels.begin() + static_cast<int64_t>(j));
      t.labels[i] = label;
    }
  }
}

// Adds up the axes that are not in `keep`.
void sum_all_but(Named& t, const Labels& keep) {
  Dims axes;
  Labels left;
  for (size_t i = 0; i < t.labels.size(); ++i) {
    if (contains(keep, t.labels[i]))
      left.push_back(t.labels[i]);
    else
      axes.push_back(static_cast<int64_t>(i));
  }
  if (axes.empty()) return;
  t.x = ops::sum(t.x, axes, false, t.x.dtype());
  t.labels = left;
}

Tensor permuted(const Named& t, const Labels& order) {
  Dims axes;
  for (Label label : order) axes.push_back(t.axis(label));
  return ops::permute_dims(t.x, axes);
}

int64_t product(const Named& t, const Labels& labels) {
  int64_t n = 1;
  for (Label label : labels) n *= t.x.size(t.axis(label));
  return n;
}

Labels joined(std::initializer_list<const Labels*> parts) {
  Labels all;
  for (const Labels* part : parts) all.insert(all.end(), part->begin(), part->end());
  return all;
}

Named join(Named a, Named b, const Labels& needed) {
  Labels keep_a = joined({&needed, &b.labels}), keep_b = joined({&needed, &a.labels});
  sum_all_but(a, keep_a);
  sum_all_but(b, keep_b);
  Labels batch, free_a, free_b, summed;
  for (Label label : a.labels)
    (!contains(b.labels, label) ? free_a : contains(needed, label) ? batch : summed).push_back(label);
  for (Label label : b.labels)
    if (!contains(a.labels, label)) free_b.push_back(label);

  Named out;
  out.labels = joined({&batch, &free_a, &free_b});
  Shape shape, shape_a, shape_b;
  for (Label label : batch) shape.push_back(a.x.size(a.axis(label)));
  shape_a = shape_b = shape;
  for (Label label : free_a) {
    shape.push_back(a.x.size(a.axis(label)));
    shape_a.push_back(shape.back());
  }
  for (Label label : free_b) {
    shape.push_back(b.x.size(b.axis(label)));
    shape_a.push_back(1);
    shape_b.push_back(shape.back());
  }
  if (summed.empty()) {
    for (size_t i = 0; i < free_a.size(); ++i) shape_b.insert(static_cast<int>(batch.size()), 1);
    out.x = ops::multiply(ops::reshape(permuted(a, joined({&batch, &free_a})), shape_a),
                          ops::reshape(permuted(b, joined({&batch, &free_b})), shape_b));
    return out;
  }
  const int64_t count = product(a, batch), m = product(a, free_a), n = product(b, free_b), k = product(a, summed);
  const Tensor left = ops::reshape(permuted(a, joined({&batch, &free_a, &summed})), {count, m, k});
  const Tensor right = ops::reshape(permuted(b, joined({&batch, &summed, &free_b})), {count, k, n});
  out.x = ops::reshape(ops::matmul(left, right), shape);
  return out;
}

}  // namespace

namespace ops {

Tensor einsum(const std::string& equation, const Tensors& operands) {
  const Equation e = parse(equation);
  check<ShapeError>(e.in.size() == operands.size(), "einsum: \"", equation, "\" names ", e.in.size(), " operands, got ",
                    operands.size());
  DType dtype = operands[0].dtype();
  for (const Tensor& x : operands) dtype = promote(dtype, x.dtype());
  if (is_half(dtype)) {
    Tensors wide;
    for (const Tensor& x : operands) wide.push_back(cast(x, DType::Float32));
    return cast(einsum(equation, wide), dtype);
  }
  // Axes of every operand, and what is known of each letter.
  std::vector<Named> terms;
  std::vector<std::pair<Label, int64_t>> sizes;
  std::vector<Label> occurrences;
  const auto size_of = [&](Label label) -> int64_t& {
    for (auto& entry : sizes)
      if (entry.first == label) return entry.second;
    sizes.emplace_back(label, 1);
    return sizes.back().second;
  };
  int most_dots = 0;
  for (size_t i = 0; i < operands.size(); ++i) {
    const Term& term = e.in[i];
    const int letters = static_cast<int>(term.before.size() + term.after.size()), rank = operands[i].ndim();
    check<ShapeError>(term.dots ? rank >= letters : rank == letters, "einsum: operand ", i, " of \"", equation,
                      "\" expects ", term.dots ? "at least " : "", letters, " dimensions, got shape ",
                      operands[i].shape());
    const int dots = term.dots ? rank - letters : 0;
    most_dots = std::max(most_dots, dots);
    terms.push_back({operands[i], with_dots(term, dots)});
    for (int axis = 0; axis < rank; ++axis) {
      const Label label = terms.back().labels[axis];
      const int64_t size = operands[i].size(axis);
      int64_t& known = size_of(label);
      for (int other = 0; other < axis; ++other)
        check<ShapeError>(terms.back().labels[other] != label || operands[i].size(other) == size, "einsum: '",
                          std::string(1, static_cast<char>(label)), "' is repeated, but its axes have sizes ",
                          operands[i].size(other), " and ", size, " (operand ", i, " of \"", equation, "\", shape ",
                          operands[i].shape(), ")");
      check<ShapeError>(known == 1 || size == 1 || known == size,
                        "einsum: ", label >= kMaxRank ? std::string(1, static_cast<char>(label)) : std::string("..."),
                        " has size ", size, " in operand ", i, " (shape ", operands[i].shape(), ") and ", known,
                        " before, in \"", equation, "\"");
      if (size != 1) known = size;
      occurrences.push_back(label);
    }
  }
  Labels out;
  if (e.has_out) {
    check<ShapeError>(e.out.dots || most_dots == 0, "einsum: the result of \"", equation, "\" lacks \"...\"");
    out = with_dots(e.out, most_dots);
    for (size_t i = 0; i < out.size(); ++i) {
      const std::string letter(1, static_cast<char>(out[i]));
      check<ShapeError>(contains(occurrences, out[i]), "einsum: '", letter, "' of the result is in no operand, in \"",
                        equation, "\"");
      check<ShapeError>(std::find(out.begin(), out.begin() + static_cast<int64_t>(i), out[i]) ==
                            out.begin() + static_cast<int64_t>(i),
                        "einsum: '", letter, "' is twice in the result of \"", equation, "\"");
    }
  } else {
    for (const auto& [label, size] : sizes)
      if (label < kMaxRank || std::count(occurrences.begin(), occurrences.end(), label) == 1) out.push_back(label);
    std::sort(out.begin(), out.end());
  }
  check<ShapeError>(static_cast<int>(out.size()) <= kMaxRank, "einsum: the result of \"", equation, "\" has more than ",
                    kMaxRank, " dimensions");

  for (Named& t : terms) {
    take_diagonals(t);
    // An axis of size 1 where another operand has more is broadcast: as if it were not there.
    for (size_t i = 0; i < t.labels.size();) {
      if (t.x.size(static_cast<int>(i)) == 1 && size_of(t.labels[i]) != 1) {
        t.x = squeeze(t.x, {static_cast<int64_t>(i)});
        t.labels.erase(t.labels.begin() + static_cast<int64_t>(i));
      } else {
        ++i;
      }
    }
  }
  Named result = terms[0];
  for (size_t i = 1; i < terms.size(); ++i) {
    Labels needed = out;
    for (size_t j = i + 1; j < terms.size(); ++j)
      needed.insert(needed.end(), terms[j].labels.begin(), terms[j].labels.end());
    result = join(result, terms[i], needed);
  }
  sum_all_but(result, out);
  return permuted(result, out);
}

}  // namespace ops
}  // namespace lanner
