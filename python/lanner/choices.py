"""A loss and an optimizer by name, as a function, or as they are."""

from __future__ import annotations

from typing import Any

_LOSSES = {
    "mse": "MSELoss",
    "mean_squared_error": "MSELoss",
    "mae": "L1Loss",
    "mean_absolute_error": "L1Loss",
    "l1": "L1Loss",
    "smooth_l1": "SmoothL1Loss",
    "huber": "HuberLoss",
    "cross_entropy": "CrossEntropyLoss",
    "nll": "NLLLoss",
    "bce": "BCELoss",
    "binary_cross_entropy": "BCELoss",
    "bce_with_logits": "BCEWithLogitsLoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
    "kl_div": "KLDivLoss",
    "hinge": "HingeLoss",
    "multi_margin": "MultiMarginLoss",
}
_OPTIMIZERS = ("SGD", "Adagrad", "RMSprop", "Adadelta", "Adam", "AdamW", "Adamax", "NAdam", "Lion", "LBFGS")


def make_loss(loss: Any) -> Any:
    """A loss module by its name; a module or function itself."""
    if loss is None:
        return None
    if isinstance(loss, str):
        from lanner import nn

        name = _LOSSES.get(loss, loss if loss.endswith("Loss") and hasattr(nn, loss) else None)
        if name is None:
            raise ValueError(f"Model: there is no loss {loss!r}; there are {', '.join(_LOSSES)}")
        return getattr(nn, name)()
    if isinstance(loss, type) or not callable(loss):
        hint = f"; did you mean {loss.__name__}()?" if isinstance(loss, type) else ""
        raise TypeError(f"Model: loss must be a name, a module or a function of output and target, got {loss!r}{hint}")
    return loss


def make_optimizer(optimizer: Any, net: Any) -> Any:
    """An optimizer of the net's parameters by its name or made by a function; one of `ln.optim` itself."""
    if optimizer is None:
        return None
    from lanner import optim

    if isinstance(optimizer, str):
        names = {name.lower(): name for name in _OPTIMIZERS if hasattr(optim, name)}
        if optimizer.lower() not in names:
            raise ValueError(f"Model: there is no optimizer {optimizer!r}; there are {', '.join(names)}")
        return getattr(optim, names[optimizer.lower()])(net.parameters())
    if not isinstance(optimizer, optim.Optimizer) and callable(optimizer):
        optimizer = optimizer(net.parameters())
    if not isinstance(optimizer, optim.Optimizer):
        raise TypeError(f"Model: optimizer must be one of lanner.optim, a function or a name, got {optimizer!r}")
    own = {id(parameter) for parameter in net.parameters()}
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise ValueError("Model: the optimizer trains none of the net's parameters; make it from net.parameters()")
    return optimizer
