"""`python -m benchmarks`: measures, prints, writes docs/benchmarks.md. Removes its cluster whatever happens."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import chaos_test, components, edits, partition, report, size
from benchmarks.bench import ROOT, Bench, say


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="of everything but the first up (default 5)")
    parser.add_argument("--cold-runs", type=int, default=5, help="of the first up; removes our images (default 5)")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks.md")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        bench = Bench(Path(made))
        try:
            for turn in range(asked.cold_runs):
                say(f"first up, {turn + 1} of {asked.cold_runs}")
                bench.first()
            bench.prepare()
            for turn in range(asked.runs):
                say(f"warm, {turn + 1} of {asked.runs}")
                bench.warm()
                bench.chaos()
        finally:
            bench.clean()
        say("a partition in three ways")
        ways = partition.measure(asked.runs)
        say("chaos tests at three rates")
        tests = chaos_test.measure()
        say("ten edits of a running topology")
        edited = edits.section(*edits.measure())
        say("nine, eighteen, thirty-six nodes")
        sizes = size.section(size.measure())
        say("each system of the gallery")
        systems = components.section(components.measure())
    sections = [partition.section(ways), chaos_test.section(tests), edited, sizes, systems]
    written = "\n".join([report.text(bench.figures, bench.versions()), *sections])
    asked.output.write_text(written)
    print(written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
