"""timm and torchvision, imported without torch's compiler, which nothing here uses.

While they are imported, torchvision.ops asks it whether it can compile for a device, and timm marks functions
that it shall leave alone. To import it for that takes every job as long as to import all of torch. So a
stand-in answers, which is gone afterwards.
"""

import sys
from types import ModuleType
from typing import Any

import torch

COMPILER = "torch._dynamo"


def leave_alone(function=None, *_, **__):
    """torch.compiler.disable of a function that nobody compiles, with and without arguments."""
    return function or leave_alone


if not {COMPILER, "torchvision", "timm"} & sys.modules.keys():
    compiler: Any = ModuleType(COMPILER)
    compiler.disable = leave_alone
    utilities: Any = ModuleType(f"{COMPILER}.utils")
    utilities.is_compile_supported = lambda device: False
    stand_ins = {COMPILER: compiler, f"{COMPILER}.utils": utilities}
    sys.modules |= stand_ins
    try:
        import timm  # noqa: F401
        import torchvision  # noqa: F401
    finally:
        for name in stand_ins:
            del sys.modules[name]
        vars(torch).pop("_dynamo", None)
