"""Base and tuned model on a BEIR folder: one epoch at default settings on ``train``, measured on ``test``.

python tests/benchmarks/one_epoch.py --data FOLDER [--base MODEL] [--out FOLDER] [--json FILE]
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from embedtune import QADataset, compare, tune
from embedtune.demo import packaged_minilm


def main() -> None:
    """Tune, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="A BEIR folder with the splits train and test.")
    parser.add_argument("--base", help="Base model; the packaged all-MiniLM-L6-v2 if not given.")
    parser.add_argument("--out", help="Where the tuned model goes; a temporary folder if not given.")
    parser.add_argument("--json", help="Write the figures to this file.")
    arguments = parser.parse_args()
    base = arguments.base or str(packaged_minilm())
    with tempfile.TemporaryDirectory() as folder:
        out = arguments.out or str(Path(folder) / "tuned")
        figures = measure(arguments.data, base, out)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(figures, indent=1))
    sys.stdout.write(json.dumps({key: value for key, value in figures.items() if key != "rows"}, indent=1) + "\n")
    for row in figures["rows"]:
        sys.stdout.write(
            f"{row['metric']}@{row['k']:<3} {row['base']:.4f} -> {row['tuned']:.4f}  "
            f"{row['difference']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})\n"
        )


def measure(data: str, base: str, out: str) -> dict[str, Any]:
    """The comparison as JSON, with the seconds of tuning."""
    started, cpu = time.monotonic(), time.process_time()
    tune(base, QADataset.load(data, split="train"), path=out)
    seconds = {"tuning_wall_s": time.monotonic() - started, "tuning_cpu_s": time.process_time() - cpu}
    return {**seconds, **compare(base, out, QADataset.load(data, split="test")).to_json()}


if __name__ == "__main__":
    main()
