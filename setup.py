"""Packaging: everything is read from settings.ini; `microcontroller/` ships inside the package."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

config = ConfigParser(delimiters=["="])
config.read(Path(__file__).with_name("settings.ini"), encoding="utf-8")
cfg = config["DEFAULT"]


def requirements(key):
    """The requirements under `key` of settings.ini, one per line."""
    return [line for line in map(str.strip, cfg[key].splitlines()) if line]


extras = {name: requirements(f"{name}_requirements") for name in ("train", "pi", "mcu", "sweep", "heic", "demo", "dev")}
without = [r for r in extras["train"] if not r.startswith("tensorflow")]
extras["demo"] += without + requirements("cpu_requirements") + extras["mcu"]
extras["dev"] = sorted({*extras["dev"], *extras["demo"], *extras["pi"], *extras["heic"], *extras["sweep"]})

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    keywords=cfg["keywords"],
    author=cfg["author"],
    url=cfg["git_url"],
    license="Apache-2.0",
    python_requires=f">={cfg['min_python']}",
    packages=[*find_packages(include=["mobilenet_keras*"]), "mobilenet_keras.microcontroller"],
    package_dir={"mobilenet_keras.microcontroller": "microcontroller"},
    package_data={"mobilenet_keras": ["py.typed"], "mobilenet_keras.microcontroller": ["**/*"]},
    install_requires=requirements("requirements"),
    extras_require=extras,
    entry_points={"console_scripts": ["mobilenet=mobilenet_keras.cli:main"],
                  "nbdev": [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"]},
    zip_safe=False,
)
