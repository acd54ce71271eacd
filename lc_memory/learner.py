"""A model of the learner: topics, what rests on what, mastery, and what to review when.

All of it lies in one document of the collection ``user_learning_progress``
(:class:`~lc_memory.schemas.LearningProgress`), so that other processes see it whole. When a topic
is due again is told by FSRS, the scheduler that learns how long a memory lasts (the extra
``learning``); everything else works without it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from lc_memory.documents import document_key
from lc_memory.errors import InvalidValue, MissingExtra
from lc_memory.records import Value
from lc_memory.schemas import Card, LearningProgress, Topic

if TYPE_CHECKING:
    from lc_memory.memory import Memory

#: How a review went: not remembered, with effort, well, or at once.
Rating: TypeAlias = Literal["again", "hard", "good", "easy"]

#: A course: its topics in order, or each topic with the topics that must be mastered before it.
Course: TypeAlias = Collection[str] | Mapping[str, Sequence[str]]

#: Who a memory belongs to that no user was named for.
ANYBODY: Final = "default"

COLLECTION: Final = "user_learning_progress"

_TOMORROW: Final = timedelta(days=1)
_SCORE: Final[dict[str, float]] = {"again": 0.0, "hard": 0.5, "good": 1.0, "easy": 1.0}


class Learner:
    """How one user gets on with a course.

    ``memory`` is a handle bound to one user (:meth:`Memory.as_user`), or an unbound memory that
    belongs to one person. ``course`` names the topics in order; a mapping gives each topic's
    prerequisites: ``{"loops": [], "recursion": ["functions", "loops"], …}``. Every change is
    atomic against other threads and processes. Raises InvalidValue for prerequisites that lead
    in a circle or out of the course.
    """

    def __init__(self, memory: Memory, course: Course) -> None:
        self.memory = memory
        self.user = memory.user or ANYBODY
        self.course = list(course)
        self.prerequisites = prerequisites_of(course) if isinstance(course, Mapping) else {}

    def progress(self) -> LearningProgress:
        """What is stored, seen with this course."""
        return self.read(self.memory.retrieve_memory(COLLECTION, id=self.user))

    def advance(
        self, completed: Sequence[str] = (), current: str | None = None
    ) -> LearningProgress:
        """Note completed topics, or the one begun; returns the progress then."""
        now = self.memory.backend.now()
        return self._change(lambda progress: progress.advanced(completed, current, now))

    def drop(self, topic: str) -> LearningProgress:
        """Forget that a topic was ever begun."""
        return self._change(lambda progress: progress.without(topic))

    def review(self, topic: str, rating: Rating) -> LearningProgress:
        """Note that a topic was reviewed just now, and how that went.

        Mastery moves half the way to what the review showed, and the topic is planned anew (what
        was forgotten for tomorrow at the latest). Raises
        InvalidValue for no topic or another rating, MissingExtra without the extra ``learning``.
        """
        if not topic.strip():
            raise InvalidValue("$.topic", "empty; say which topic was reviewed")
        if rating not in get_args(Rating):
            known = ", ".join(get_args(Rating))
            raise InvalidValue("$.rating", f"{rating!r} is no rating; use one of {known}")
        _fsrs()
        now = self.memory.backend.now()

        def reviewed(progress: LearningProgress) -> LearningProgress:
            name = progress.named(topic)
            known = progress.topics.get(name, Topic())
            before = _card(known)
            score = _SCORE[rating]
            begun = known.mastery is not None or name in progress.completed_topics
            mastery = (progress.mastery(name) + score) / 2 if begun else score
            card = _reviewed(before, rating, now)
            return progress.with_topic(
                name,
                known.model_copy(
                    update={"mastery": mastery, "card": card, "reviews": known.reviews + 1}
                ),
            )

        return self._change(reviewed)

    def due(self, at: datetime | None = None) -> list[str]:
        """The topics to review today (UTC; or on the day of ``at``), the most faded first.

        A topic that was completed nobody knows when is due. Raises MissingExtra without the extra
        ``learning``.
        """
        _fsrs()
        return due_in(self.progress(), at or self.memory.backend.now())

    def next_topic(self) -> str | None:
        """What to learn next: the topic under way, else the course's first that is not mastered
        and whose prerequisites all are; None when the course is done."""
        return self.progress().next_topic

    def overview(self) -> list[dict[str, Any]]:
        """Each topic as plain data, in the course's order, then others that were begun.

        Keys: ``topic``, ``prerequisites``, ``state`` (``done``, ``current``, ``ready`` or
        ``locked``), ``mastery`` (0 to 1), ``reviews``, and with the extra ``learning`` ``due``
        (whether today) and ``due_at`` (ISO 8601, None: not yet known).
        """
        progress = self.progress()
        now = self.memory.backend.now()
        try:
            due = due_in(progress, now)
        except MissingExtra:
            due = None
        known = [*progress.course, *progress.completed_topics, *progress.topics]
        rows = []
        for name in dict.fromkeys([*known, *filter(None, [progress.current_topic])]):
            topic = progress.topics.get(name, Topic())
            row = {
                "topic": name,
                "prerequisites": list(topic.prerequisites),
                "state": _state(progress, name),
                "mastery": round(progress.mastery(name), 3),
                "reviews": topic.reviews,
            }
            if due is not None:
                card = _card(topic)
                row |= {"due": name in due, "due_at": card and card.due.isoformat()}
            rows.append(row)
        return rows

    def read(self, document: Value | None) -> LearningProgress:
        """A stored document, seen with this course."""
        document = document or {"user_id": self.user}
        progress = LearningProgress.of({**document, "course": self.course})
        for name, needed in self.prerequisites.items():
            known = progress.topics.get(name, Topic())
            progress.topics[name] = known.model_copy(update={"prerequisites": needed})
        return progress

    def _change(self, change: Callable[[LearningProgress], LearningProgress]) -> LearningProgress:
        record = self.memory.backend.update(
            self.memory.collection(COLLECTION),
            document_key(self.user),
            lambda value: change(self.read(value)).to_document(),
            default={"user_id": self.user},
        )
        return self.read(record.value)


def due_in(progress: LearningProgress, at: datetime) -> list[str]:
    """The topics due on the day of ``at``, the most faded first."""
    faded = {}
    for name in (*progress.completed_topics, *progress.topics):
        topic = progress.topics.get(name, Topic())
        card = _card(topic)
        if card is not None and card.due.astimezone(UTC).date() <= at.astimezone(UTC).date():
            faded[name] = _retrievability(card, at)
        elif card is None and name in progress.completed_topics:
            faded[name] = 0.0
    return sorted(faded, key=lambda name: faded[name])  # stable: the course's order among equals


def prerequisites_of(course: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """What must be mastered before each topic. Raises InvalidValue where that cannot be."""
    found = {topic: list(needed) for topic, needed in course.items()}
    for topic, needed in found.items():
        for name in needed:
            if name not in found:
                raise InvalidValue(f"$.course.{topic}", f"{name!r} is not a topic of the course")
    try:
        TopologicalSorter(found).prepare()
    except CycleError as error:
        circle = " before ".join(map(repr, error.args[1]))
        raise InvalidValue("$.course", f"a circle: {circle}") from error
    return found


def _state(progress: LearningProgress, name: str) -> str:
    if name == progress.current_topic:
        return "current"
    if progress.mastered(name):
        return "done"
    return "ready" if progress.ready(name) else "locked"


# -- FSRS ---------------------------------------------------------------------------------------


def _fsrs() -> Any:
    try:
        import fsrs
    except ImportError as error:
        raise MissingExtra("Spaced repetition", "learning") from error
    return fsrs


def _scheduler() -> Any:
    # Topics are reviewed after days, not minutes; and the same reviews always give the same plan.
    return _fsrs().Scheduler(learning_steps=(), relearning_steps=(), enable_fuzzing=False)


def _card(topic: Topic) -> Card | None:
    """Where a topic stands in the plan; what was completed since counts as a good review."""
    card, studied = topic.card, topic.studied_at
    if studied is not None and (card is None or studied > card.last_review):
        return _reviewed(card, "good", studied)
    return card


def _reviewed(card: Card | None, rating: str, at: datetime) -> Card:
    fsrs = _fsrs()
    before = fsrs.Card(card_id=0) if card is None else _fsrs_card(card)
    after, _ = _scheduler().review_card(
        before, fsrs.Rating[rating.capitalize()], at.astimezone(UTC)
    )
    due = min(after.due, at + _TOMORROW) if rating == "again" else after.due
    return Card(
        stability=after.stability,
        difficulty=after.difficulty,
        due=due,
        last_review=after.last_review,
    )


def _retrievability(card: Card, at: datetime) -> float:
    chance: float = _scheduler().get_card_retrievability(_fsrs_card(card), at)
    return chance


def _fsrs_card(card: Card) -> Any:
    fsrs = _fsrs()
    return fsrs.Card(card_id=0, state=fsrs.State.Review, **card.model_dump())
