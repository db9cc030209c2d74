"""Every example in a docstring runs, and everything public has one."""

import doctest
import importlib
import inspect
import os
import pkgutil

import lanner as ln
import numpy as np
import pytest

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
# Abstract or plain containers of names, whose members carry the examples.
WITHOUT_EXAMPLE_OK = (type(ln), type)

# Examples that read a data set run where LANNER_DATA has its folder.
DATA = {
    "airline": "timeseries",
    "etth1": "timeseries",
    "multi30k": "multi30k",
    "rt_polarity": "rt_polarity",
    "spoken_digits": "fsdd",
    "sst": "sst",
    "sst_trees": "sst",
    "tiny_shakespeare": "tinyshakespeare",
}


def modules():
    yield ln
    for info in pkgutil.walk_packages(ln.__path__, "lanner."):
        if not info.name.rpartition(".")[2].startswith("_"):
            yield importlib.import_module(info.name)


def documented():
    """(name, docstring) of all that is public: functions, classes, methods, properties."""
    seen = set()
    for module in modules():
        names = getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]
        yield module.__name__, inspect.getdoc(module) or ""
        for name in names:
            item = getattr(module, name)
            if inspect.ismodule(item) or id(item) in seen:
                continue
            if not callable(item) or not (getattr(item, "__module__", "") or "").startswith("lanner"):
                continue
            seen.add(id(item))
            yield f"{module.__name__}.{name}", item.__doc__ or ""
            if inspect.isclass(item):
                for member_name, member in vars(item).items():
                    doc = getattr(member, "__doc__", None) or ""
                    if not member_name.startswith("_") and ">>>" in doc:
                        yield f"{module.__name__}.{name}.{member_name}", doc


ITEMS = dict(documented())


@pytest.mark.parametrize("name", [n for n, doc in ITEMS.items() if ">>>" in doc])
def test_example(name, tmp_path, monkeypatch):
    folder = DATA.get(name.rpartition(".")[2]) if name.startswith("lanner.datasets.") else None
    if folder and not os.path.isdir(os.path.join(os.environ.get("LANNER_DATA", ""), folder)):
        pytest.skip(f"LANNER_DATA has no {folder}")
    monkeypatch.chdir(tmp_path)
    ln.manual_seed(0)
    test = doctest.DocTestParser().get_doctest(ITEMS[name], {"ln": ln, "lanner": ln, "np": np}, name, None, 0)
    report = []
    result = doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(test, out=report.append)
    assert result.failed == 0, "".join(report)


def test_everything_public_is_documented():
    missing = [name for name, doc in ITEMS.items() if not doc.strip()]
    assert not missing, missing
