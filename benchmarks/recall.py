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
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.recall_systems import SYSTEMS, System

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
    turns: int = 0
    megabytes: float = 0.0

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

    @property
    def milliseconds(self) -> float:
        return 1000 * statistics.median(score.seconds for score in self.scores)


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
                began = time.perf_counter()
                system.add(conversation.turns)
                result.indexing += time.perf_counter() - began
                result.turns += len(conversation.turns)
                system.search("Who is it?", 50)  # what is loaded late is loaded
                for question in conversation.questions:
                    began = time.perf_counter()
                    found = system.search(question.text, max(KS))
                    seconds = time.perf_counter() - began
                    places = sorted(i for i, id in enumerate(found) if id in question.evidence)
                    wanted = len(question.evidence)
                    result.scores.append(Score(question.category, places, wanted, seconds))
            finally:
                system.close()
    result.megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


def report(results: Sequence[Result]) -> str:
    lines = [
        "| system | R@1 | R@5 | R@10 | R@25 | R@50 | nDCG@10 | MRR | any@10 | all@10 "
        "| all categories R@10 | index ms/turn | query p50 ms | peak MB |",
        "|---|" + "---|" * 13,
    ]
    for result in results:
        row, whole = result.row((1, 2, 3, 4)), result.row((1, 2, 3, 4, 5))
        cells = [f"{row[f'frac@{k}']:.1f}" for k in KS]
        cells += [f"{row[name]:.1f}" for name in ("ndcg@10", "mrr", "any@10", "all@10")]
        cells += [
            f"{whole['frac@10']:.1f}",
            f"{1000 * result.indexing / result.turns:.2f}",
            f"{result.milliseconds:.1f}",
            f"{result.megabytes:.0f}",
        ]
        lines.append(f"| {result.system} | {' | '.join(cells)} |")
    names = [f"{number} {name}" for number, name in CATEGORIES.items()]
    lines += ["", f"| R@10 (nDCG@10) | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for result in results:
        rows = [result.row((number,)) for number in CATEGORIES]
        cells = [f"{row['frac@10']:.1f} ({row['ndcg@10']:.1f})" if row else "" for row in rows]
        lines.append(f"| {result.system} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--locomo", type=Path, required=True, help="the data set's JSON file")
    parser.add_argument("--system", action="append", choices=SYSTEMS, help="only these")
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()
    given = list(conversations(options.locomo))
    results: list[Result] = []
    for name in options.system or SYSTEMS:
        try:
            results.append(measure(name, SYSTEMS[name], given))
        except ImportError as error:
            print(f"{name}: left out ({error})")
            continue
        print(report(results[-1:]), flush=True)
    print("\n" + report(results))
    if options.json:
        figures = {
            result.system: {
                "all": result.row((1, 2, 3, 4, 5)),
                "1-4": result.row((1, 2, 3, 4)),
                **{str(n): result.row((n,)) for n in CATEGORIES},
                "index ms/turn": 1000 * result.indexing / result.turns,
                "query p50 ms": result.milliseconds,
                "peak MB": result.megabytes,
            }
            for result in results
        }
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
