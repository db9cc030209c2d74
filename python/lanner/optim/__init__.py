"""Optimizers, with PyTorch's names, arguments and defaults. Each step updates all parameters in one fused kernel call.

>>> w = ln.tensor(5.0, requires_grad=True)
>>> optimizer = ln.optim.SGD([w], lr=0.1)
>>> loss = (w * 2 - 6) ** 2 / 2
>>> loss.backward(); optimizer.step()
>>> round(w.item(), 4)
4.2
"""

from __future__ import annotations

from lanner.optim import lr_scheduler
from lanner.optim.adam import Adam, Adamax, AdamW, NAdam
from lanner.optim.adaptive import Adadelta, Adagrad, RMSprop
from lanner.optim.optimizer import Optimizer
from lanner.optim.sgd import SGD, Lion

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "NAdam",
    "Optimizer",
    "RMSprop",
    "lr_scheduler",
]
