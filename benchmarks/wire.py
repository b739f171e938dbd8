"""What the form of updates costs: bytes and accuracy of float32, bfloat16, eight bits (with and without feedback), and masks.

    python benchmarks/wire.py

Writes ``benchmarks/results/wire.json`` and ``wire.md``.
"""

from __future__ import annotations

from typing import Any

from five_sites import federate, scenario, spread, write

SEEDS = tuple(range(6))
CASES: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"wire": {"precision": "bf16"}},
    "int8": {"wire": {"precision": "int8"}},
    "int8, no feedback": {"wire": {"precision": "int8", "feedback": False}},
    "secure aggregation": {"privacy": {"secure": {}}},
}


def main() -> None:
    """Run every case with every seed."""
    rows: list[dict[str, Any]] = []
    for seed in SEEDS:
        for case, settings in CASES.items():
            done = federate(scenario(**settings), seed)
            quality = {model: done.accuracy(model) for model in ("federated", "personal")}
            moved = {key: done.total(key) for key in ("bytes_down", "bytes_up")}
            rows.append({"seed": seed, "case": case, **quality, **moved})
            print(rows[-1], flush=True)
    lines = [
        "| precision | MB down | MB up | of fp32 | accuracy, federated | accuracy, personal |",
        "|---|---|---|---|---|---|",
    ]
    whole = next(row["bytes_up"] for row in rows if row["case"] == "fp32")
    for case in CASES:
        mine = [row for row in rows if row["case"] == case]
        down, up = (mine[0][key] for key in ("bytes_down", "bytes_up"))
        quality_cells = " | ".join(spread([row[model] for row in mine]) for model in ("federated", "personal"))
        lines.append(f"| {case} | {down / 1e6:.1f} | {up / 1e6:.1f} | {up / whole:.1%} | {quality_cells} |")
    write("wire", rows, "\n".join(lines))


if __name__ == "__main__":
    main()
