"""Does training bear that three replies in ten are lost? Five sites, three of them a round, 50 rounds.

    python benchmarks/faults.py

Writes ``benchmarks/results/faults.json`` and ``faults.md``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from five_sites import federate, scenario, spread, write

from fedtap.engines.faulty import Faults, FaultyTransport

SEEDS = tuple(range(6))
SETTINGS = {"rounds": 50, "clients_per_round": 3, "local_steps": 4}
CASES = {
    "no faults": (Faults(), 50),
    "30 % of replies lost": (Faults(drop=0.3), 50),
    "no faults, as many updates": (Faults(), 35),
}
"""What is lost, and in how many rounds. The last case tells what fewer updates cost from what holes in the rounds cost."""


def main() -> None:
    """Run both cases with every seed."""
    rows: list[dict[str, Any]] = []
    for seed in SEEDS:
        for case, (faults, rounds) in CASES.items():
            done = federate(
                scenario(**{**SETTINGS, "rounds": rounds}),
                seed,
                wrap=partial(FaultyTransport, faults=faults, seed=seed),
            )
            rows.append(
                {
                    "seed": seed,
                    "case": case,
                    "federated": done.accuracy("federated"),
                    "personal": done.accuracy("personal"),
                    "updates": done.count("update"),
                    "lost": done.count("failed"),
                }
            )
            print(rows[-1], flush=True)
    lines = [
        "| replies | accuracy, federated | accuracy, personal | updates taken up | lost |",
        "|---|---|---|---|---|",
    ]
    for case in CASES:
        mine = [row for row in rows if row["case"] == case]
        numbers = " | ".join(spread([row[key] for row in mine]) for key in ("federated", "personal", "updates", "lost"))
        lines.append(f"| {case} | {numbers} |")
    write("faults", rows, "\n".join(lines), **SETTINGS)


if __name__ == "__main__":
    main()
