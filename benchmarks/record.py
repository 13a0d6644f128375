"""What the benchmark scripts share: one way to write down what they measured."""
import csv
from pathlib import Path


def record(script, rows, name=None):
    """Write dicts with equal keys to NAME.csv beside a script, which has the script's own name by default; returns its path."""
    target = Path(script).with_name(f"{name or Path(script).stem}.csv")
    with open(target, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return target
