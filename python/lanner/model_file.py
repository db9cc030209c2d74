"""A Model in one safetensors file: weights under their state-dict names, and all else as JSON in the metadata.

The optimizer's tensors are named ``optimizer.<parameter>.<what>``, so that training goes on where it stopped. There is
no pickle: a file names classes, which must be lanner's or registered with ``ln.nn.register``.
"""

from __future__ import annotations

import json
import math
import warnings
from typing import TYPE_CHECKING, Any

from lanner import _core
from lanner._core import Tensor
from lanner.io import Path, load, save

if TYPE_CHECKING:
    from lanner.model import Model

FORMAT = 1
KEY = "lanner"


def save_model(model: Model, path: Path) -> None:
    """Write ``model`` to ``path``; the file appears whole or not at all."""
    tensors: dict[str, Tensor] = dict(model.net.state_dict())
    document = {
        "format": FORMAT,
        "version": _core.__version__,
        "class": type(model.net).__name__,
        "net": _net_config(model),
        "inputs": [{"shape": list(shape), "dtype": dtype} for shape, dtype in model.input_specs or ()],
        "loss": _loss_config(model.loss),
        "metrics": [c for c in map(_metric_config, model.metrics) if c is not None],
        "optimizer": _optimizer_config(model, tensors),
    }
    text = json.dumps(_to_json(document), allow_nan=False, separators=(",", ":"))
    save(path, tensors, {"format": "lanner", KEY: text})


def load_model(path: Path, net: Any = None) -> Model:
    """Read what ``save_model`` wrote. With ``net`` its weights are put into that one, of the user's making."""
    from lanner.model import Model

    tensors, metadata = load(path, return_metadata=True)
    if KEY not in metadata:
        if net is None:
            raise _core.FormatError(
                f"{path}: a file of tensors without a model; read it with ln.load, or give the net: "
                "ln.Model.load(path, net=...)"
            )
        net.load_state_dict(tensors)
        return Model(net)
    document = _document(path, metadata[KEY])
    given = net is not None
    try:
        state = document.get("optimizer")
        entries = (state or {}).get("state", {}).values()
        names = {value["$tensor"] for entry in entries for value in entry.values() if _is_reference(value)}
        weights = {name: tensor for name, tensor in tensors.items() if name not in names}
        if not given:
            net = _build_net(path, document, sum(int(t.nbytes) for t in tensors.values()))
            net.load_state_dict(weights)
        model = Model(net, loss=_load_loss(document.get("loss")), metrics=_load_metrics(document.get("metrics", [])))
        model.input_specs = _load_specs(document.get("inputs", []))
        optimizer = None if given else _load_optimizer(state, tensors, net)
    except _core.FormatError as error:
        raise _core.FormatError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from error
    except (Exception, MemoryError) as error:
        # Whatever a damaged description leads to when a net is built from it.
        raise _core.FormatError(f"{path}: the description of the model is damaged: {_tell(error)}") from error
    if given:
        net.load_state_dict(weights)
        optimizer = _load_optimizer(state, tensors, net)
    model.optimizer = optimizer
    return model


def _document(path: Path, text: str) -> dict[str, Any]:
    try:
        document = json.loads(text, object_hook=_from_json, parse_constant=_refuse)
        if not isinstance(document, dict) or not isinstance(document["format"], int):
            raise TypeError("no format")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _core.FormatError(f"{path}: the description of the model is damaged: {_tell(error)}") from error
    if document["format"] > FORMAT:
        raise _core.FormatError(
            f"{path}: written by lanner {document.get('version')} in format {document['format']}; this lanner "
            f"({_core.__version__}) reads up to format {FORMAT}: pip install --upgrade lanner"
        )
    return document


def _tell(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# ---- the net ----


def _net_config(model: Model) -> Any:
    from lanner.nn.serialization import to_config

    try:
        return to_config(model.net)
    except _core.Error as error:
        warnings.warn(
            f"Model.save: the file holds the weights, not the layers, and needs ln.Model.load(path, net=...): {error}",
            stacklevel=4,
        )
        return None


def _build_net(path: Path, document: dict[str, Any], file_bytes: int) -> Any:
    from lanner.nn.serialization import from_config

    if document.get("net") is None:
        raise _core.FormatError(
            f"{path}: holds the weights of a {document.get('class')}, but not its layers; "
            f"give the net: ln.Model.load(path, net={document.get('class')}(...))"
        )
    # A small file does not make a machine run out of memory: layers must be worth their weights. The factor leaves room
    # for other dtypes and for layers that are made twice, the rest for buffers that a file does not hold.
    before = _core._set_allocation_budget(16 * file_bytes + 2**28)
    try:
        return from_config(document["net"])
    finally:
        _core._set_allocation_budget(before)


def _load_specs(items: Any) -> list[tuple[tuple[int, ...], str]] | None:
    specs = [(tuple(int(n) for n in item["shape"]), str(item["dtype"])) for item in items]
    if any(n < 0 for shape, _ in specs for n in shape) or any(dtype not in _DTYPES for _, dtype in specs):
        raise _core.FormatError("the shape or dtype of an input is damaged")
    return specs or None


_DTYPES = (
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "bfloat16", "float32", "float64"),
)


# ---- loss and metrics ----


def _loss_config(loss: Any) -> Any:
    from lanner.nn import functional
    from lanner.nn.module import Module
    from lanner.nn.serialization import to_config

    if loss is None:
        return None
    name = getattr(loss, "__name__", type(loss).__name__)
    if isinstance(loss, Module):
        try:
            return {"module": to_config(loss)}
        except _core.Error:
            pass
    elif getattr(functional, name, None) is loss:
        return {"function": name}
    warnings.warn(f"Model.save: the loss {name} is not registered; the loaded model will have none", stacklevel=4)
    return None


def _load_loss(config: Any) -> Any:
    from lanner.nn import functional
    from lanner.nn.serialization import from_config

    if config is None:
        return None
    if "function" in config:
        if config["function"] not in functional.__all__:
            raise _core.FormatError(f"lanner.nn.functional has no {config['function']!r}")
        return getattr(functional, config["function"])
    return from_config(config["module"])


def _metric_config(metric: Any) -> Any:
    from lanner import metrics

    kind = type(metric)
    if kind is metrics.Mean or getattr(metrics, kind.__name__, None) is not kind:
        warnings.warn(f"Model.save: the metric {metric.name} is none of lanner's and is left out", stacklevel=4)
        return None
    return {"class": kind.__name__, "config": metric.config()}


def _load_metrics(configs: Any) -> list[Any]:
    from lanner import metrics

    loaded = []
    for config in configs:
        kind = getattr(metrics, config["class"]) if config["class"] in metrics.__all__ else None
        if not isinstance(kind, type) or not issubclass(kind, metrics.Metric):
            raise _core.FormatError(f"there is no metric {config['class']!r}")
        loaded.append(kind(**config["config"]))
    return loaded


# ---- the optimizer ----


def _optimizer_config(model: Model, tensors: dict[str, Tensor]) -> Any:
    from lanner import optim

    optimizer = model.optimizer
    if optimizer is None:
        return None
    kind = type(optimizer)
    if getattr(optim, kind.__name__, None) is not kind:
        warnings.warn(
            f"Model.save: the optimizer {kind.__name__} is none of lanner's; the loaded model will have none",
            stacklevel=4,
        )
        return None
    prefix = "optimizer."
    while any(name.startswith(prefix) for name in tensors):
        prefix = "_" + prefix
    paths = {id(parameter): name for name, parameter in model.net.named_parameters()}
    groups = []
    for group in optimizer.param_groups:
        members = [paths.get(id(parameter)) for parameter in group["params"]]
        if None in members:
            warnings.warn(
                "Model.save: the optimizer has parameters that are not the net's; the loaded model will have none",
                stacklevel=4,
            )
            return None
        groups.append({**{k: v for k, v in group.items() if k != "param_names"}, "params": members})
    state: dict[str, Any] = {}
    for parameter, values in optimizer.state.items():
        name = paths[id(parameter)]
        # Not state_dict(), whose counts and products are PyTorch's float32: numbers are kept to the last bit.
        state[name] = dict(values)
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{prefix}{name}.{key}"] = value
                state[name][key] = {"$tensor": f"{prefix}{name}.{key}"}
    return {"class": kind.__name__, "param_groups": groups, "state": state}


def _load_optimizer(config: Any, tensors: dict[str, Tensor], net: Any) -> Any:
    import inspect

    from lanner import optim

    if config is None:
        return None
    kind: Any = getattr(optim, config["class"], None)
    if not isinstance(kind, type) or not issubclass(kind, optim.Optimizer) or kind is optim.Optimizer:
        raise _core.FormatError(f"there is no optimizer {config['class']!r}")
    parameters = dict(net.named_parameters())
    groups, order = [], []
    for group in config["param_groups"]:
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in group.items() if k != "params"}
        groups.append({**values, "params": [parameters[name] for name in group["params"]]})
        order += group["params"]
    if len(set(order)) != len(order) or not set(config["state"]) <= set(order):
        raise _core.FormatError("the optimizer names a parameter twice, or one that it does not train")
    accepted = inspect.signature(kind).parameters
    defaults: dict[str, Any] = {k: v for k, v in groups[0].items() if k in accepted and k != "params"}
    optimizer = kind(groups, **defaults)
    state = {
        order.index(name): {k: tensors[v["$tensor"]] if _is_reference(v) else v for k, v in values.items()}
        for name, values in config["state"].items()
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return optimizer


def _is_reference(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("$tensor"), str) and len(value) == 1


# ---- JSON has no infinities ----


def _to_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if isinstance(value, dict):
        return {key: _to_json(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(v) for v in value]
    return value


def _from_json(value: dict[str, Any]) -> Any:
    return float(value["$float"]) if value.keys() == {"$float"} else value
