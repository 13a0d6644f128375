"""Take a MobileNet from photos to a five-dollar board. Public names are imported when they are first used."""
__version__ = "0.1.0"

from typing import Any  # noqa: E402

from .names import public_names, resolve  # noqa: E402


def __getattr__(name: str) -> Any:  # a checker can't know what is only imported when it is first used
    value = globals()[name] = resolve(name)  # once
    return value


def __dir__():
    return sorted({*globals(), *public_names()})
