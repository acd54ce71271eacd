"""Questions and small talk, read by rules for `offline_english`."""

from __future__ import annotations

from .offline_meanings import THAT_ONE, Ask, Chat, Meaning, Unclear
from .offline_words import SMALL_TALK, is_question, topics_in, words

ASKS = {
    "me": words(
        r"(?:what|do you|tell me|everything)\b.{0,40} (?:about|on|of) (?:me|myself)|"
        r"what do you remember|"
        r"what (?:have|did) i (?:told|tell) you.*|do you (?:\w+ )?(?:know|remember) (?:me|who i'm)"
    ),
    "name": words(r"who am i|what do you call me|.*\bmy (?:(?:full|first|last) )?name\b.{0,30}"),
    "email": words(r".*\bmy e-?mail\b.{0,30}"),
    "level": words(
        r".*\bmy (?:experience )?level\b.{0,30}|how (?:advanced|experienced) am i|"
        r"(?:what|which)(?:'s| is)? (?:\w+ )?level (?:am i|do i have|i'm)\b.{0,30}"
    ),
    "review": words(
        r"(?:what|which|do i|is|are)\b.{0,40}\b(?:review|revise|repeat|refresh|due)\b.*|"
        r"(?:my )?(?:reviews?|revisions?)(?: today)?"
    ),
    "next": words(
        r"(?:what|which (?:topic|lesson))(?:'s| is| comes)?(?: my| the)? next\b.*|"
        r"what now|(?:my )?next(?: topic| lesson)?|"
        r"(?:what|which topic|where) (?:should|shall) i .*|"
        r"(?:what|where) (?:do|can|could) i (?:\w+ ){1,3}(?:next|now)"
    ),
    "completed": words(
        r"(?:what|which)(?! percent).{0,30}? (?:have|did) i (?:already )?"
        r"(?:finish|complet|done|learn|cover).*|"
        r"(?:have|did) i (?:already )?(?:finish|complet|done|learn|cover).*|"
        r"(?:what|which).{0,30}?(?:'s| is| are) (?:done|finished|completed)"
    ),
    "progress": words(
        r".*\b(?:how far|progress|how (?:much|many) (?:of|have|percent|topics)|"
        r"(?:what|which) percent(?:age)?|how am i (?:doing|getting on|coming along)|"
        r"(?:what(?:'s| is)|how much is|(?:what|which) topics are) left|"
        r"current (?:topic|lesson))\b.*|am i (?:done|finished)(?: .*)?|"
        r"where (?:do i stand|am i)(?: (?:now|in the course|so far))?|"
        r"(?:what|which topic) am i (?:\w+ )?(?:learning|studying|working on|stuck on|on|doing)\b.*"
    ),
    "preferences": words(r".*\bpreferences\b.*|.* (?:do|would) i prefer|how do i (?:like|want) .*"),
}
LESSON = words(
    r"(?P<clearly>explain|teach me|teach|describe|define)\b(?: about)?(?P<what>.*)|"
    r"(?:what(?:'s| is| are)|how (?:do|does|to|can)|why|tell me|show me|give me|an example of|"
    r"i(?: want|'d like) to (?:learn|know|understand|see)|(?:i need )?help(?: me)?|learn|more about"
    r")\b(?P<rest>.*)"
)
TELL_ME = words(
    r"^(?:(?:tell|remind|show) me|summari[sz]e|list|i(?: want|'d like) to (?:know|see)) "
    r"(?=(?:what|who|where|when|how|which|my|everything)\b)"
)
THAT = words(
    r"(?:(?:with|about) )*(?:it|that|this|them|(?:that|this|the)(?: \w+)? (?:one|topic|lesson)|)"
    r"(?:(?:^| )(?:again|once more))?"
)
BARE = words(r"(?:(?:what|how) about )?(?:an? |the )?\w+")
NEXT = words(r"(?:(?:with|on|to) )*(?:the )?next(?: one| topic| lesson)?")
SELF = words(r"\b(?:i|my|me|mine|i'm|i've)\b")


def small_talk(clause: str, course: tuple[str, ...]) -> list[Meaning]:
    plain = clause.rstrip("?")
    kind = next((kind for kind, said in SMALL_TALK.items() if said.fullmatch(plain)), None)
    return [Chat(kind)] if kind else []


def question(clause: str, course: tuple[str, ...]) -> list[Meaning]:
    plain, told = TELL_ME.subn("", clause.rstrip("?"), count=1)
    asks = bool(told) or is_question(clause)
    for about, asked in ASKS.items():
        if asks and asked.fullmatch(plain):
            return [Ask(about, " ".join(topics_in(plain, course)[:1]) * (about == "completed"))]
    lesson = LESSON.fullmatch(plain)
    if lesson and not words(r"\bmy\b").search(plain):
        rest = (lesson["what"] or lesson["rest"] or "").strip()
        named = topics_in(rest, course) or ((THAT_ONE,) if rest and THAT.fullmatch(rest) else ())
        if named or (lesson["clearly"] and rest):
            return [Ask("lesson", named[0] if named else rest)]
    if asks and BARE.fullmatch(plain) and (named := topics_in(plain, course)):
        return [Ask("lesson", named[0])]  # "And a function?"
    if asks:
        return [Ask("fact", plain) if SELF.search(plain) else Unclear(clause)]
    return []
