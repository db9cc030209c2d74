// The gradient of an op through its decomposition into basic ops.
#pragma once

#include <utility>

#include "lanner/autodiff.h"
#include "ops/op.h"

namespace lanner {

// What `decomposition(inputs)`, a function of Tensors to Tensors, says of the cotangents in `v`: it is run again, on
// the tape, and walked back. In a walk that is itself recorded the result can be differentiated again.
template <class F>
Tensors vjp_by(const Vjp& v, F&& decomposition) {
  const bool recorded = grad_enabled();
  GradMode on(true);
  Tensors in, targets;
  for (size_t i = 0; i < v.in.size(); ++i) {
    Tensor x = v.in[i];
    if (x.defined() && (!recorded || !v.needs(i))) x = x.detach();
    if (v.needs(i)) {
      if (!recorded) x.requires_grad_();
      targets.push_back(x);
    }
    in.push_back(std::move(x));
  }
  const Tensors all = decomposition(std::as_const(in));
  Tensors out, cotangents;
  for (size_t i = 0; i < all.size(); ++i) {
    if (!v.g[i].defined() || !all[i].requires_grad()) continue;
    out.push_back(all[i]);
    cotangents.push_back(v.g[i]);
  }
  Tensors gradients(v.in.size());
  if (out.empty()) return gradients;
  Tensors found = grad(out, targets, cotangents, recorded, recorded, true);
  for (size_t i = 0, next = 0; i < v.in.size(); ++i)
    if (v.needs(i)) gradients[i] = std::move(found[next++]);
  return gradients;
}

}  // namespace lanner
