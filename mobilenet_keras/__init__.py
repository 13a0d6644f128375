"""Take a MobileNet from photos to a five-dollar board. Public names are imported when they are first used."""
__version__ = "0.1.0"

from .names import public_names, resolve  # noqa: E402


def __getattr__(name):
    value = globals()[name] = resolve(name)  # once
    return value


def __dir__():
    return sorted({*globals(), *public_names()})
