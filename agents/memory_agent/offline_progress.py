"""Statements about the course, read by rules for `offline_english`."""

from __future__ import annotations

from .offline_meanings import (
    NEXT_ONE,
    THAT_ONE,
    WHOLE_COURSE,
    Chat,
    Meaning,
    Progress,
    Review,
    Unfinished,
)
from .offline_questions import NEXT, THAT
from .offline_words import ADVERB, topics_in, words

FINISHED = words(
    rf"(?:i(?:'ve|'m| have)? )?(?:{ADVERB} )*(?:finished|completed|done|mastered|covered|through|"
    r"learned|learnt|(?:worked|gone|got) through|"
    r"(?P<unsure>know|understand|did|studied))\b(?: (?:with|all|about|how|of|the(?! first)))*"
    r"(?P<what>.*)"
)
ONLY_SO_FAR = words(
    r"\b(?:but|except|only|not|without|before|because|while|whereas|i'll|will|want|next)\b|"
    r"\band (?=(?:my|our|his|her|he|she|they|we|you)\b|"
    r"(?:(?!and\b)\w+ ){1,3}(?:has|have|had|did|is|are|was|finished)\b)"
)
UNFINISHED = words(
    r"i(?:'ve)? (?:haven't|didn't|not|never)(?: (?:yet|really|actually|quite|even))* "
    r"(?:finish|complet|master|learn|done|do|cover)\w*(?P<what>.*)|"
    r"i(?:'m| was) (?:not (?:\w+ )?(?:done|finished|through) with|wrong about) (?P<wrongly>.*)|"
    r"(?P<undone>.+) (?:is|are)n't (?:\w+ )?(?:done|finished|completed?)(?: yet)?"
)
MARKED = words(
    r"(?:mark|set|tick off|check off|count) (?P<what>.+?)(?: (?:as|to))? "
    r"(?P<un>not |un)?(?:done|finished|complete|completed)"
)
STOPPED = words(
    r"i(?:'m|'ve)? (?:(?:stopped|gave up|given up|quit|not)"
    r"(?: (?:on|with|learning|studying|doing|working))+|haven't (?:started|begun)(?: (?:on|with))?)"
    r" (?P<what>.+)"
)
CURRENT = words(
    r"(?:set |change )?(?:my )?current(?:ly)?(?: topic| lesson)?(?: is|'s| to|:) (?P<what>.+)"
)
PORTION = words(
    r"(?:i'm|i've (?:done|finished|completed)|my progress is) (?:now |about |at )*"
    r"(?:\d+ ?(?:%|percent)|half|\w+ (?:out )?of (?:the )?(?:\d+|four)).{0,40}"
)
FIRST = words(r"the first (?P<many>\w+)(?: (?:topics?|lessons?|chapters?))?")
NUMBERS = {"one": 1, "topic": 1, "lesson": 1, "two": 2, "three": 3, "four": 4, "five": 5}
ARE_DONE = words(
    r"(?P<what>.+?)(?:,|:| is| are| -) (?:now |all |already )?(?:done|finished|completed?)"
)
PASSED = words(r"i(?:'ve)? (?:passed|aced) (?P<what>.+ (?:test|exam|quiz))")
REVIEWED = words(
    r"(?:i(?:'ve)? )?(?:"
    rf"{ADVERB} )*(?:reviewed|revised|repeated|practi[sc]ed|refreshed|went (?:over|through))"
    r"(?: (?:again|the|all|about|of|over))*(?P<what>.*)"
)
HOW_IT_WENT = words(r"(?:(?:it|that|this|they|which) (?:was|were|felt|went)|i) (?P<how>.+)")
RATINGS = {
    "again": words(r"\b(?:forgot\w*|(?:could|did)n't|nothing|failed|again|not at all|blank)\b"),
    "hard": words(r"\b(?:hard|difficult|tough|tricky|struggled|not (?:so |very )?easy|badly)\b"),
    "easy": words(r"\b(?:(?:very |so |too )?easy|easily|trivial|a breeze|at once)\b"),
    "good": words(r"\b(?:good|well|fine|ok(?:ay)?|alright|remembered)\b"),
}
LEARNING = words(
    r"(?:i(?:'m|'ve|'ll| want to|'d like to)? |"
    r"(?P<lets>let's |(?=continue|go on|move on|start|begin)))?"
    rf"(?:{ADVERB} )*(?:learning|studying|working|stuck|struggling|"
    r"practi[sc]ing|on|doing|(?<=to )work|(?:half ?way|in the middle|part ?way)(?: of| through)?|"
    r"(?:moved|switched|went)(?= (?:on|to|back|ahead)\b)|"
    r"start(?:ing|ed)?|begun|begin(?:ning)?|do|continue|move|go|learn|study)\b"
    r"(?: (?:on|with|through|to|ahead|learning|studying))*(?P<what>.*)"
)


def unfinished(clause: str, course: tuple[str, ...]) -> list[Meaning]:
    if said := UNFINISHED.fullmatch(clause):
        what = said["what"] or said["wrongly"] or said["undone"] or ""
        what = ONLY_SO_FAR.split(what)[0]
        it = (THAT_ONE,) if what and THAT.fullmatch(what.strip()) else ()
        return [Unfinished(topic) for topic in topics_in(what, course) or it]
    if said := MARKED.fullmatch(clause):
        topics = topics_in(said["what"], course)
        done: list[Meaning] = [Progress(completed=topics)] if topics else []
        return [Unfinished(topic) for topic in topics] if said["un"] else done
    said = STOPPED.fullmatch(clause)
    topics = topics_in(" ".join(said["what"].split(" ")[:2]), course) if said else ()
    return [Unfinished(topic, begun=True) for topic in topics]


def finished(clause: str, course: tuple[str, ...]) -> list[Meaning]:
    if PORTION.fullmatch(clause) and not topics_in(clause, course):
        return [Chat("which")]  # progress is a matter of topics
    said = FINISHED.fullmatch(clause) or ARE_DONE.fullmatch(clause) or PASSED.fullmatch(clause)
    if not said:
        return []
    what, *rest = ONLY_SO_FAR.split(said["what"])
    what = what.strip()
    if topics := topics_in(what, course):
        return [Progress(completed=topics)]
    if words(r"everything|all(?: the)? topics|(?:the )?(?:whole |entire )?course").fullmatch(what):
        left = topics_in(" ".join(rest), course)
        done = tuple(topic for topic in course if topic not in left) if left else (WHOLE_COURSE,)
        return [Progress(completed=done)]
    if words(r"none|nothing").fullmatch(what):
        return [Chat("unkept")]
    if first := FIRST.fullmatch(what):
        many = first["many"].casefold()
        number = int(many) if many.isdecimal() else NUMBERS.get(many, 0)
        return [Progress(completed=course[:number])] if 0 < number <= len(course) else []
    if words(r".*\b(?:course|(?:topic|lesson|chapter)(?:s| \d+)?)").fullmatch(what):
        return [Chat("which")]
    over = not said.groupdict().get("unsure")  # "I know that" closes no topic
    return [Progress(completed=(THAT_ONE,))] if over and THAT.fullmatch(what) else []


def reviewed(clause: str, course: tuple[str, ...]) -> list[Meaning]:
    if said := REVIEWED.fullmatch(clause):
        topics = topics_in(said["what"], course)
        return [Review(topic, _rating(said["what"])) for topic in topics]
    went = HOW_IT_WENT.fullmatch(clause)
    rating = _rating(went["how"]) if went else ""
    alone = went and not clause.casefold().startswith("i ")
    return [Review(THAT_ONE, rating)] if alone and rating else []


def _rating(text: str) -> str:
    return next((rating for rating, said in RATINGS.items() if said.search(text)), "")


def learning(clause: str, course: tuple[str, ...]) -> list[Meaning]:
    if current := CURRENT.fullmatch(clause):
        return [Progress(current=topic) for topic in topics_in(current["what"], course)[:1]]
    said = LEARNING.fullmatch(clause)
    if not said:
        return []
    what = said["what"].strip()
    if topics := topics_in(what, course):
        return [Progress(current=topics[0])]
    if NEXT.fullmatch(what) or (said["lets"] is not None and THAT.fullmatch(what)):
        return [Progress(current=NEXT_ONE)]
    return []
