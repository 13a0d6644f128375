"""Write what the notebooks generate: modules, notebooks without metadata, README.md. `python .ci/export.py`"""
import sys

from in_sync import ROOT, nbdev
from readme import main

if __name__ == "__main__":
    if sys.argv[1:]:
        raise SystemExit("usage: python .ci/export.py")
    nbdev(ROOT, "doclinks", "nbdev_export")
    nbdev(ROOT, "clean", "nbdev_clean")
    main()
