"""How much of what is looked for is found: LoCoMo's questions, at the level of turns.

    python -m benchmarks.recall --locomo locomo10.json
    python -m benchmarks.recall --locomo locomo10.json --system ours-words --store postgresql://…

LoCoMo (https://github.com/snap-research/locomo, CC BY-NC 4.0) is read where it lies. Each of its
conversations is stored turn by turn, each question is asked of its own conversation, and what
comes back is compared with the turns that the data set gives as evidence:

- ``any@k`` any of them, ``all@k`` all of them, ``frac@k`` which part of them is among the first k
  (the data set's own measure); ``ndcg@10`` and ``mrr``;
- by category: 1 multi-hop, 2 when, 3 open-domain, 4 single-hop, 5 about what was never said;
- the time of a question, of indexing a turn, and how much memory the process took.

Every system gets the same texts, and the same embedding model where it takes one.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.recall_systems import SYSTEMS, System

Figures = dict[str, dict[str, float]]

KS = (1, 5, 10, 25, 50)
CATEGORIES = {1: "multi-hop", 2: "when", 3: "open-domain", 4: "single-hop", 5: "adversarial"}


@dataclass(frozen=True)
class Turn:
    id: str
    session: int
    speaker: str
    text: str
    at: datetime


@dataclass(frozen=True)
class Question:
    text: str
    category: int
    evidence: frozenset[str]


@dataclass(frozen=True)
class Conversation:
    name: str
    turns: list[Turn]
    questions: list[Question]


@dataclass
class Score:
    """What one system made of one question."""

    category: int
    places: list[int]  # of the evidence, from 0; those not found are left out
    wanted: int
    seconds: float
    cpu: float  # seconds too: what the other work of the machine does not change

    def found(self, k: int) -> float:
        return sum(place < k for place in self.places) / self.wanted

    @property
    def ndcg(self) -> float:
        gain = sum(1 / math.log2(place + 2) for place in self.places if place < 10)
        return gain / sum(1 / math.log2(i + 2) for i in range(min(self.wanted, 10)))

    @property
    def reciprocal(self) -> float:
        return 1 / (self.places[0] + 1) if self.places else 0.0


@dataclass
class Result:
    system: str
    scores: list[Score] = field(default_factory=list)
    indexing: float = 0.0
    indexing_cpu: float = 0.0
    turns: int = 0

    def row(self, categories: Sequence[int]) -> dict[str, float]:
        scores = [score for score in self.scores if score.category in categories]
        if not scores:
            return {}
        mean = statistics.fmean
        row = {"questions": float(len(scores))}
        for k in KS:
            row[f"any@{k}"] = 100 * mean(score.found(k) > 0 for score in scores)
            row[f"all@{k}"] = 100 * mean(score.found(k) == 1 for score in scores)
            row[f"frac@{k}"] = 100 * mean(score.found(k) for score in scores)
        row["ndcg@10"] = 100 * mean(score.ndcg for score in scores)
        row["mrr"] = 100 * mean(score.reciprocal for score in scores)
        return row

    def figures(self) -> Figures:
        """All that is reported, as plain JSON."""
        per_turn = 1000 / self.turns
        scores = self.scores
        return {
            "1-4": self.row((1, 2, 3, 4)),
            "all": self.row(tuple(CATEGORIES)),
            **{str(number): self.row((number,)) for number in CATEGORIES},
            "cost": {
                "index ms/turn": per_turn * self.indexing,
                "index CPU ms/turn": per_turn * self.indexing_cpu,
                "query p50 ms": 1000 * statistics.median(score.seconds for score in scores),
                "query p50 CPU ms": 1000 * statistics.median(score.cpu for score in scores),
                "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            },
        }


def conversations(path: Path) -> Iterator[Conversation]:
    for given in json.loads(path.read_text()):
        turns = list(_turns(given["conversation"]))
        known = {turn.id for turn in turns}
        questions = [
            Question(asked["question"], asked["category"], evidence)
            for asked in given["qa"]
            if (evidence := frozenset(_evidence(asked)) & known)
        ]
        yield Conversation(given["sample_id"], turns, questions)


def _turns(conversation: dict[str, Any]) -> Iterator[Turn]:
    number = 1
    while f"session_{number}" in conversation:
        said = conversation[f"session_{number}_date_time"]
        at = datetime.strptime(said, "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
        for turn in conversation[f"session_{number}"]:
            text = turn["text"]
            if turn.get("blip_caption"):  # what the picture shows that was shared
                text += f" [{turn['blip_caption']}]"
            yield Turn(turn["dia_id"], number, turn["speaker"], text, at)
        number += 1


def _evidence(asked: dict[str, Any]) -> Iterator[str]:
    for text in asked.get("evidence") or ():
        yield from re.findall(r"D\d+:\d+", str(text))


def measure(name: str, make: Callable[[Path], System], given: Sequence[Conversation]) -> Result:
    result = Result(name)
    for conversation in given:
        with tempfile.TemporaryDirectory() as folder:
            system = make(Path(folder))
            try:
                began, cpu = time.perf_counter(), time.process_time()
                system.add(conversation.turns)
                result.indexing += time.perf_counter() - began
                result.indexing_cpu += time.process_time() - cpu
                result.turns += len(conversation.turns)
                system.search("Who is it?", 50)  # what is loaded late is loaded
                for question in conversation.questions:
                    began, cpu = time.perf_counter(), time.process_time()
                    found = system.search(question.text, max(KS))
                    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
                    places = sorted(i for i, id in enumerate(found) if id in question.evidence)
                    wanted = len(question.evidence)
                    result.scores.append(Score(question.category, places, wanted, seconds, cpu))
            finally:
                system.close()
    return result


def report(results: dict[str, Figures]) -> str:
    costs = ("index ms/turn", "index CPU ms/turn", "query p50 ms", "query p50 CPU ms", "peak MB")
    shown = [*(f"frac@{k}" for k in KS), "ndcg@10", "mrr", "any@10", "all@10"]
    heads = [*(f"R@{k}" for k in KS), "nDCG@10", "MRR", "any@10", "all@10", "R@10, all categories"]
    lines = [_row(["system", *heads]), _rule(1 + len(heads))]
    for name, figures in results.items():
        cells = [f"{figures['1-4'][head]:.1f}" for head in shown]
        lines.append(_row([name, *cells, f"{figures['all']['frac@10']:.1f}"]))
    names = [f"{number} {name}" for number, name in CATEGORIES.items()]
    lines += ["", _row(["R@10 (nDCG@10)", *names]), _rule(1 + len(names))]
    for name, figures in results.items():
        rows = [figures[str(number)] for number in CATEGORIES]
        cells = [f"{row['frac@10']:.1f} ({row['ndcg@10']:.1f})" if row else "" for row in rows]
        lines.append(_row([name, *cells]))
    lines += ["", _row(["cost", *costs]), _rule(1 + len(costs))]
    for name, figures in results.items():
        lines.append(_row([name, *(f"{figures['cost'][cost]:.2f}" for cost in costs)]))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(count: int) -> str:
    return "|" + "---|" * count


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--locomo", type=Path, required=True, help="the data set's JSON file")
    parser.add_argument("--system", action="append", choices=SYSTEMS, help="only these")
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()
    names = options.system or list(SYSTEMS)
    results: dict[str, Figures] = {}
    if len(names) == 1:
        given = list(conversations(options.locomo))
        results[names[0]] = measure(names[0], SYSTEMS[names[0]], given).figures()
    for name in names if len(names) > 1 else ():  # each in a process of its own
        with tempfile.TemporaryDirectory() as folder:
            told = Path(folder, "figures.json")
            command = [sys.executable, "-m", "benchmarks.recall", "--system", name]
            command += ["--locomo", str(options.locomo), "--json", str(told)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{name}: left out ({(done.stderr.strip().splitlines() or ['?'])[-1]})")
                continue
            results |= json.loads(told.read_text())
        print(report({name: results[name]}), flush=True)
    print("\n" + report(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
