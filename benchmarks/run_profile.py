"""Where do the seconds of a run go? Shares by what is worked at, from the stacks that a sampling profiler has taken.

    OMP_NUM_THREADS=1 py-spy record --rate 100 --format raw --output stacks.txt -- python -m fedtap run quickstart --out RUN
    python benchmarks/run_profile.py stacks.txt

`py-spy` (MIT) is no part of fedtap's environment: `pip install py-spy`. Of each stack the innermost frame that has a name below
says what was worked at. Prints samples and shares, largest first.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

AREAS = {
    "softmax over the vocabulary": ("tied_softmax.py",),
    "backward passes": ("_engine_run_backward",),
    "answers written word by word": ("generate (fedtap",),
    "frozen encoders": ("fedtap/backbones", "fedtap/data/encode.py"),
    "structural similarity": ("functional/image/ssim.py",),
    "trivial baselines": ("fedtap/evaluation/trivial.py", "fedtap/evaluation/baselines.py", "sklearn/"),
    "fusion, forward": ("fedtap/network", "fedtap/tasks"),
    "optimizer and clipping": ("fedtap/training/optimizer.py", "torch/optim/", "clip_grad.py"),
    "batches": ("fedtap/data/loader.py", "fedtap/data/prefetch.py"),
    "data": ("fedtap/data",),
    "loading code": ("<frozen importlib",),
    "files and report": (
        "fedtap/reporting",
        "fedtap/runtime",
        "fedtap/experiment/folder.py",
        "fedtap/federation/store.py",
    ),
}


def area(stack: list[str]) -> str:
    """Return what a stack, outermost frame first, is at work at."""
    for frame in reversed(stack):
        for name, marks in AREAS.items():
            if any(mark in frame for mark in marks):
                return name
    return "the rest"


def main() -> None:
    """Read the stacks and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stacks", type=Path)
    found: Counter[str] = Counter()
    for line in parser.parse_args().stacks.read_text(encoding="utf-8").splitlines():
        stack, _, samples = line.rpartition(" ")
        found[area(stack.split(";"))] += int(samples)
    whole = found.total()
    for name, samples in found.most_common():
        print(f"{name:<30}{samples:>8}{samples / whole:>8.1%}")
    print(f"{'all':<30}{whole:>8}")


if __name__ == "__main__":
    main()
