"""Questions and small talk, read by rules for `offline_english`."""

from __future__ import annotations

from .offline_meanings import NEXT_ONE, THAT_ONE, Ask, Chat, Meaning, Unclear
from .offline_words import SMALL_TALK, is_question, topics_in, words

ASKS = {
    "me": words(
        r"(?:what|do you|tell me|everything)\b.{0,40} (?:about|on|of) (?:me|myself)"
        r"(?: (?:so far|now|already|again|then))?|"
        r"what (?:was|is|were) .{0,30}\bi (?:told|said)\b.*|"
        r"what do you remember|"
        r"what (?:have|did) (?:i (?:told|tell|said|say)|we (?:talk|discuss|speak|do)\b).*|"
        r"what (?:we did|i(?:'ve)? (?:told|said)).*|"
        r"do you (?:\w+ )?(?:know|remember) (?:our|the) (?:\w+ )?(?:conversation|talk|session)s?|"
        r"what do you know|do(?:n't)? you (?:\w+ )?(?:know|remember) (?:me|who i'm)"
    ),
    "name": words(
        r"who am i|what (?:do you call me|am i called)|"
        r".*\bmy (?:(?:full|first|last) )?name\b.{0,30}"
    ),
    "email": words(r".*\bmy (?:e-?)?mail\b.{0,30}"),
    "level": words(
        r".*\bmy (?:\w+ )?level\b.{0,30}|level|how (?:advanced|experienced) am i|"
        r"(?:what|which)(?:'s| is)? (?:\w+ )?level (?:am i|do i have|i'm)\b.{0,30}"
    ),
    "review": words(
        r"(?:what|which|do i|is|are)\b.{0,40}\b(?:review|revise|repeat|refresh|due)\b.*|"
        r"(?:my )?(?:reviews?|revisions?)(?: today)?"
    ),
    "next": words(
        r"(?:what|which (?:topic|lesson))(?:'s| is| comes)?(?: my| the)? next\b.*|"
        r"(?:what )?now|(?:what|which (?:topic|lesson)) (?:comes|is|follows) after\b.*|after that|"
        r"(?:my )?next(?: topic| lesson| one)?|where (?:do|should|can) i (?:start|begin)|"
        r"(?:what|which topic|where) (?:should|shall) i .*|"
        r"(?:what|where) (?:do|can|could) i (?:\w+ ){1,3}(?:next|now)"
    ),
    "completed": words(
        r"(?:what|which)(?! percent).{0,30}? (?:(?:have|did) i|i've) (?:already )?"
        r"(?:finish|complet|done|learn|cover).*|"
        r"(?:(?:have|did) i|i've|i) (?:already )?(?:finish|complet|done|learn|cover).*|"
        r"(?:what|which).{0,30}?(?:'s| is| are) (?:done|finished|completed)"
    ),
    "progress": words(
        r".*\b(?:how far|progress|my percent(?:age)?|still have to (?:do|learn|finish)|"
        r"how (?:much|many) (?:of|have|did|percent|topics)|"
        r"(?:what|which) percent(?:age)?|how am i (?:doing|getting on|coming along)|"
        r"(?:what(?:'s| is)|how much is|(?:what|which) topics are) left|"
        r"current (?:topic|lesson))\b.*|am i (?:done|finished)(?: .*)?|"
        r"where (?:(?:do )?i stand|am i|i'm|in the course am i)(?: (?:now|in the course|so far))?|"
        r"where (?:did|have) (?:i|we) (?:stop|leave|left).*|where (?:were we|was i)|"
        r"(?:am|was) i (?:\w+ )?(?:learning|studying|working on|on|doing)\b.*|"
        r"(?:what|which topic) (?:am i|was i|i'm) (?:\w+ )?"
        r"(?:learning|studying|working on|stuck on|on|doing)\b.*"
    ),
    "preferences": words(
        r".*\bpreferences\b.*|.* (?:do|would) i prefer|how do i (?:like|want) .*|"
        r"how (?:should|do|will|must) you (?:answer|reply|explain|teach|talk)\b.*"
    ),
    "course": words(
        r"(?:(?:what|which|how many)\b.{0,20} )?(?:all |the )?(?:topics|lessons|chapters)\b.{0,30}|"
        r"what(?:'s| is) (?:in )?(?:the|this|your) course(?: about)?|what (?:can|do) you teach\b.*"
    ),
}
AGAIN = words(
    r"(?:tell me |explain )?more(?: about (?:it|that))?|(?:repeat|say) (?:that|it)(?: again)?|"
    r"repeat|once more|(?:(?:show|give) me )?(?:an|another|one more|more) examples?"
)
LESSON = words(
    r"(?P<clearly>explain|teach me|teach|describe|define)\b(?: about)?(?P<what>.*)|"
    r"(?:what(?:'s| is| are)|how (?:do|does|to|can)|why|tell me|show me|give me|an example of|"
    r"i(?: want|'d like) to (?:learn|know|understand|see)|"
    r"i (?:\w+ )?(?:don't|can't|do not)(?: \w+)? (?:get|understand|grasp)|i forgot how|"
    r"(?:i need )?help(?: me)?|learn|more about"
    r")\b(?P<rest>.*)"
)
TELL_ME = words(
    r"^(?:is it true|do you (?:know|remember)) (?:that|if|whether) (?=i\b)|"
    r"^(?:(?:tell|remind|show) me|summari[sz]e|list|i(?: want|'d like) to (?:know|see)) "
    r"(?=(?:what|who|where|when|how|which|my|everything|all|the)\b)"
)
THAT = words(
    r"(?:(?:with|about) )*(?:it|that|this|them|(?:that|this|the)(?: \w+)? (?:one|topic|lesson)|)"
    r"(?:(?:^| )(?:again|once more))?"
)
BARE = words(r"(?:(?:what|how) about )?(?:an? |the )?\w+")
NEXT = words(
    r"(?:(?:with|on|to) )*(?:the )?next(?: one| topic| lesson)?|"
    r"where (?:we|i) (?:left off|stopped|were|was)"
)
AFTER = words(r"\bafter (?P<what>.+)")
DONE = words(r"(?:is|are) (?P<what>.+) (?:done|finished|completed?)")
WHO = words(r"who(?:'s| is| are| was)\b")
UPCOMING = words(rf"(?:about )?(?:{NEXT.pattern}|what(?:'s| is| comes) next)")
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
            of = AFTER.search(plain) if about == "next" else None
            if of:
                return [Ask("next", *(topics_in(of["what"], course)[:1] or (THAT_ONE,)))]
            return [Ask(about, " ".join(topics_in(plain, course)[:1]) * (about == "completed"))]
    if asks and (done := DONE.fullmatch(plain)) and (named := topics_in(done["what"], course)):
        return [Ask("completed", named[0])]
    if AGAIN.fullmatch(plain):
        return [Ask("lesson", THAT_ONE)]
    lesson = LESSON.fullmatch(plain)
    if lesson and not words(r"\bmy\b").search(plain):
        rest = (lesson["what"] or lesson["rest"] or "").strip()
        it = NEXT_ONE if UPCOMING.fullmatch(rest) else THAT_ONE
        said = rest and (it == NEXT_ONE or THAT.fullmatch(rest))
        named = topics_in(rest, course) or ((it,) if said else ())
        if named or (lesson["clearly"] and rest):
            return [Ask("lesson", named[0] if named else rest)]
    if asks and BARE.fullmatch(plain) and (named := topics_in(plain, course)):
        return [Ask("lesson", named[0])]  # "And a function?"
    if asks:
        about_people = SELF.search(plain) or WHO.match(plain)
        return [Ask("fact", plain) if about_people else Unclear(clause)]
    return []
