"""`python -m bench.ai --output DIRECTORY`: measure all candidates in interleaved rounds and report medians."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path

from bench.ai.candidates import LITELLM, PORT, direct, gateway, litellm
from bench.ai.measure import EVENTS, PAUSE_MICROSECONDS, measure
from bench.ai.report import CANDIDATES, GATEWAY, figures, markdown, table, verdicts
from bench.ending import end_in_order
from bench.measure import facts
from bench.rig import Rig
from kube_gateway import __version__


def main() -> int:
    """Measure and report; with --check, exit status 1 if a limit does not hold."""
    parser = argparse.ArgumentParser(prog="bench.ai", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out/bench-ai"))
    parser.add_argument("--quick", action="store_true", help="one round of short measurements: does it run at all")
    parser.add_argument("--check", action="store_true", help="fail if a limit does not hold")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure")
    options = parser.parse_args()
    rounds, seconds = (1, 0.5) if options.quick else (options.rounds, options.seconds)
    end_in_order(within=60 + rounds * (90 + 60 * seconds))
    options.output.mkdir(parents=True, exist_ok=True)
    samples = _measure(options.output.absolute(), rounds, seconds)
    found = figures(samples)
    limits = verdicts(found)
    now = datetime.datetime.now(datetime.UTC)
    machine = facts("litellm", LITELLM.parents[1])
    result = {
        "version": __version__,
        "date": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "machine": machine,
        "rounds": rounds,
        "seconds": seconds,
        "median": found,
        "limits": [verdict._asdict() for verdict in limits],
        "samples": samples,
    }
    (options.output / "results.json").write_text(json.dumps(result, indent=2) + "\n")
    (options.output / "results.md").write_text(markdown(found) + "\n")
    print(table(found) + "\n")
    for verdict in limits:
        print(f"{'holds ' if verdict.holds else 'MISSED'}  {verdict.what} ({verdict.found})")
    print(
        f"\nmedian of {rounds} rounds of {seconds:g} s a figure; {machine['cpus']} x {machine['cpu']}, "
        f"Linux {machine['kernel']}, {now:%Y-%m-%d}\nwritten: {options.output}/results.json, results.md"
    )
    return int(options.check and not all(verdict.holds for verdict in limits))


def _measure(output: Path, rounds: int, seconds: float) -> dict[str, list[dict[str, float]]]:
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in CANDIDATES}
    events = ("--events", str(EVENTS), "--pause-us", str(PAUSE_MICROSECONDS))
    with Rig("llm-serve", "--listen", f"[::]:{PORT}", *events) as rig:
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
            with direct(rig) as candidate:
                samples[candidate.name].append(measure(rig, candidate, seconds))
            for policy in GATEWAY:
                with gateway(rig, policy) as candidate:
                    samples[candidate.name].append(measure(rig, candidate, seconds))
            with litellm(rig, output) as candidate:
                samples[candidate.name].append(measure(rig, candidate, seconds))
    return samples


if __name__ == "__main__":
    sys.exit(main())
