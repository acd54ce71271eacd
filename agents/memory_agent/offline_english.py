"""Plain English read by rules: a message goes in, meanings (`offline_meanings`) come out.

`understand` tries `RULES` on each clause of the message, in order, until one speaks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from .offline_meanings import (
    THAT_ONE,
    Ask,
    Chat,
    Forget,
    Meaning,
    Progress,
    Remember,
    Review,
    Unclear,
    Unfinished,
)
from .offline_progress import finished, learning, reviewed, unfinished
from .offline_questions import THAT, question, small_talk
from .offline_words import (
    ADVERB,
    ANSWER,
    COURSE,
    EMAIL,
    LANGUAGE,
    LANGUAGES,
    LENGTH,
    LENGTHS,
    LEVEL,
    LEVELS,
    OF_OTHERS,
    PAST,
    THIRD_PERSON,
    clauses,
    is_question,
    lexicon,
    name_in,
    topics_in,
    words,
)

AS_WELL = lexicon("too also as well and the")
Rule = Callable[[str, tuple[str, ...]], list[Meaning]]


def understand(text: str, course: tuple[str, ...] = COURSE) -> list[Meaning]:
    """What `text` says, in order, each meaning once; all progress is in one `Progress`."""
    found: list[Meaning] = []
    last = THAT_ONE
    for clause in clauses(text):
        addressed = found[-1:] == [Chat("hello")] and clause.count(" ") < 2
        meant = _first(RULES, clause, course) or _more(found[-1:], clause, course)
        found += [_of(last, m) for m in meant] or ([] if addressed else [Unclear(clause)])
        last = (last, *topics_in(clause, course))[-1]
    found = _rated(found)
    steps = [meaning for meaning in found if isinstance(meaning, Progress)]
    if steps:
        done = dict.fromkeys(topic for step in steps for topic in step.completed)
        current = next((step.current for step in reversed(steps) if step.current), None)
        found[found.index(steps[0])] = whole = Progress(tuple(done), current)
        found = [m for m in found if m is whole or not isinstance(m, Progress)]
    return _corrected(list(dict.fromkeys(found)))


def _corrected(found: list[Meaning]) -> list[Meaning]:
    """ "I'm Ada. No, I'm Eve": of what there is but one, the last."""
    last = {(m.kind, m.topic): m for m in found if isinstance(m, Remember) and _is_single(m)}
    return [m for m in found if not isinstance(m, Remember) or last.get((m.kind, m.topic), m) is m]


def _is_single(meaning: Remember) -> bool:
    return meaning.topic is not None or meaning.kind in ("name", "email", "level")


def _of(it: str, meaning: Meaning) -> Meaning:
    """The meaning with the topic that the message spoke of last for "it"."""
    match meaning:
        case Progress(completed, current):
            return Progress(tuple(it if t == THAT_ONE else t for t in completed), current)
        case Unfinished(topic, begun) if topic == THAT_ONE:
            return Unfinished(it, begun)
        case Ask(about, subject) if subject == THAT_ONE:
            return Ask(about, it)
    return meaning


def _more(last: list[Meaning], clause: str, course: tuple[str, ...]) -> list[Meaning]:
    """ "I've finished variables. Functions too." """
    topics = topics_in(clause, course)
    others = [word for word in clause.casefold().replace(",", "").split() if word not in AS_WELL]
    match last:
        case [Progress(completed, None)] if completed and topics and len(others) == len(topics):
            return [Progress(topics)]
    return []


def _rated(found: list[Meaning]) -> list[Meaning]:
    """ "I reviewed classes. It was hard." is one review."""
    rated: list[Meaning] = []
    for meaning in found:
        match [*rated[-1:], meaning]:
            case [Review(topic, ""), Review(it, rating)] if it == THAT_ONE:
                rated[-1] = Review(topic, rating)
            case _:
                rated.append(meaning)
    return rated


def _first(rules: Sequence[Rule], clause: str, course: tuple[str, ...]) -> list[Meaning]:
    return next((found for rule in rules if (found := rule(clause, course))), [])


# --- remembering and forgetting on request -----------------------------------------------------

REMEMBER = words(
    r"(?:remember|note|don't forget|keep in mind|write down|make a note)(?: that|:| to)? "
    r"(?P<what>.+)"
)
FORGET = words(
    r"(?:forget|delete|erase|remove|wipe|reset)(?: (?:that|about|the fact that))? (?P<what>.+)"
)
AND = words(r",? and |, ")
FROM_DONE = words(r" (?:from|in|off) (?:my|the) (?:\w+ )?(?:topics|list|progress)$")
KINDS = ("name", "email", "level", "preferences", "progress")
EVERYTHING = words(
    r"(?:everything|all|me|it all|(?:all )?(?:of )?my (?:data|memory|memories))"
    r"(?: (?:about|of|on) me| you (?:know|have|remember)(?: (?:about|of|on) me)?)?"
)


IT_LATER = words(rf"{THAT.pattern}(?: (?:tomorrow|later|forever|always|for .*))?")
OWN_THING = words("me|my [a-z]+")


def remembering(clause: str, course: tuple[str, ...]) -> list[Meaning]:
    """Read as if only what follows "remember that" had been said, if need be as it stands."""
    said = REMEMBER.fullmatch(clause.rstrip("?"))
    if not said or is_question(said["what"]) or IT_LATER.fullmatch(said["what"]):
        return []
    if OWN_THING.fullmatch(said["what"]):  # "can you remember my name?"
        return question(f"what do you know of {said['what']}?", course)
    found = _first(STATEMENTS, said["what"], course)
    kept: list[Meaning] = [m for m in found if not isinstance(m, Chat)]
    return kept or [Remember(words("^my ").sub("", said["what"]))]


def forgetting(clause: str, course: tuple[str, ...]) -> list[Meaning]:
    """What is to be forgotten, in the words in which it would be kept."""
    said = FORGET.fullmatch(clause)
    if not said or THAT.fullmatch(said["what"]):
        return []
    if EVERYTHING.fullmatch(said["what"]):
        return [Forget("everything")]
    for kept in _first(STATEMENTS, said["what"], course):
        if isinstance(kept, Remember):
            fact = kept.kind in ("fact", "preference")
            return [Forget(kept.topic or (kept.content if fact else kept.kind))]
    what = FROM_DONE.sub("", said["what"])
    each = [words("^(?:about |all |my |the )+").sub("", part) for part in AND.split(what)]
    known = (*KINDS, *course)
    whole = len(each) == 1 or any(part.casefold() not in known for part in each)
    return (
        [Forget(words("^(?:about |all |my |the )+").sub("", what))]
        if whole
        else list(map(Forget, each))
    )


# --- preferences -------------------------------------------------------------------------------

# What a clause that states a taste begins with, and then the tastes that it may state.
TASTE = words(
    r"(?:i(?:'d)? (?:(?:really|also|much|still|usually|always|would|do|no longer) )*"
    r"(?:don't |dis|hate )?"
    r"(?:prefer|like|love|rather|want|need|enjoy|hate|dislike)|keep|give|use|show|make|be|answer|reply|respond|"
    r"speak|write|stop|no|don't|avoid|without|less|more|my (?:preferred|favou?rite) "
    r"(?:\w+ )?language)(?!\w)|"
    rf"(?=(?:{LENGTH}|{LANGUAGE}|(?:code )?(?:examples?|snippets?|samples?)) )|"
    rf"(?=(?:your|the|these|this|that) {ANSWER}\b)"
)
ANSWER_LENGTH = words(
    rf"\b(?<!\bno )(?P<a>{LENGTH})(?:,? [\w-]+){{0,2}}? {ANSWER}\b|"
    r"(?:keep|make|be|answer|reply|explain|like(?= it| them| things| your))"
    rf"(?: (?:it|them|things|me|your|more|very|so|too|a bit|{ANSWER})){{0,3}} (?P<b>{LENGTH})\b|"
    rf"{ANSWER} (?:(?:(?:to|should|must|can|be|more|very|a bit) )*|"
    rf"(?:are|is|were|was) (?:way |far |much |a bit )*(?:too|so) )(?P<c>{LENGTH})\b"
)
LENGTH_ALONE = words(
    rf"(?:a (?:bit|little) |much |even |more |still )*(?:(?P<too>too|less) )?(?P<length>{LENGTH})|"
    r"more details?"
)
TOO = words(rf"\b(?:too|so) (?:{LENGTH})\b")
ANY_EXAMPLES = words(r"\b(?:examples?|snippets?)\b")
EXAMPLES = words(
    rf"(?P<a>{LANGUAGE}) (?:code )?(?:examples?|snippets?|samples?|code)\b|"
    rf"(?<!to )\b(?:examples?|snippets?|samples?|code)\b[^,.]{{0,30}}? (?:in|using|with) "
    rf"(?P<b>{LANGUAGE})|"
    r"\b(?P<c>real[- ](?:world|life)|practical|simple|many|more|few) examples"
)
CODING = words(
    r"(?: (?:to|using|writing|coding|programming|working|work|write|code|program|use|in|with))*"
    rf"(?: is|'s)? (?P<a>{LANGUAGE})(?:[ ,].{{0,60}})?"
)
REPLY_IN = words(r"(?:answer|reply|respond|speak|write)(?: to)?(?: me)? in (?P<a>(?-i:[A-Z])\w+)")
PREFERRED = words(
    r"i(?:'d)? (?:\w+ )?prefer (?!to be called )(?P<a>.+)|i'd rather (?P<b>(?!not\b).+)"
)
NEGATIVE = words(r"\b(?:no|not|don't|dislike|hate|stop|avoid|without|never|less|isn't)\b")


def preferences(clause: str, course: tuple[str, ...]) -> list[Meaning]:
    if alone := LENGTH_ALONE.fullmatch(clause):
        value = LENGTHS[(alone["length"] or "longer").casefold()]
        value = {"short": "long"}.get(value, "short") if alone["too"] else value
        return [Remember(value, "preference", "answer length")]
    begins = TASTE.match(clause)
    if not begins:
        return []

    def unwanted(match: re.Match[str]) -> bool:
        return bool(NEGATIVE.search(clause[: match.start()]))

    found: dict[str, str] = {}
    if length := ANSWER_LENGTH.search(clause):
        value = LENGTHS[_named(length).casefold()]
        opposite = "long" if value == "short" else "short"
        against = unwanted(length) or TOO.search(clause)
        found["answer length"] = opposite if against else value
    if examples := EXAMPLES.search(clause):
        kind = LANGUAGES.get(_named(examples).casefold(), _named(examples))
        found |= {} if unwanted(examples) else {"examples": kind}
    elif (examples := ANY_EXAMPLES.search(clause)) and unwanted(examples):
        found["examples"] = "no"
    if emojis := words(r"\bemojis?\b").search(clause):
        found["emojis"] = "no" if unwanted(emojis) else "some"
    if reply := REPLY_IN.match(clause):
        found["reply language"] = reply["a"]
    coding = CODING.fullmatch(clause, begins.end()) if begins.group() else None
    if coding and "examples" not in found and not unwanted(coding):
        found["language"] = LANGUAGES[coding["a"].casefold()]
    if not found and (preferred := PREFERRED.fullmatch(clause)):
        return [Remember(_named(preferred), "preference")]
    return [Remember(value, "preference", topic) for topic, value in found.items()]


def _named(match: re.Match[str]) -> str:
    """The text of the one named group that took part in a match."""
    return next(text for text in match.groupdict().values() if text)


# --- statements about oneself ------------------------------------------------------------------

DENIED = words(
    r"(?:(?:i|we)(?:'\w+)?(?: \S+){0,2}?|my(?: \S+){0,4}?) (?:(?:not|never|no|hardly)\b|\S+n't\b)"
)
OWN_EMAIL = words(
    r"\bmy (?:(?:new|work|private|school) )?e?-?mail|\b(?:reach|write|mail)(?: to)? me"
)
OWN_LEVEL = words(
    r"(?:(?:i'd say )?i'm|i've become|i(?:'d)? (?:have|consider myself|call myself|became|feel)|"
    r"my (?:\w+ )?level(?:'s| is)|(?:set|change|update) my (?:\w+ )?level to|level)? ?"
    rf"(?:{ADVERB} )*(?P<level>{LEVEL})(?: (?:level|programmer|coder|developer|learner))?"
    rf"(?: (?:in|at|with|to) (?:programming|coding|computers|this|it|{LANGUAGE}))?"
    r"(?: (?:now|by now|these days))?(?: (?P<origin>from .*)|(?:,| and| with| but| who) .*)?"
)
NEW_TO_IT = words(
    rf"i'm (?:{ADVERB} )*new to (?:programming|coding|this|it|computers|{LANGUAGE})\b.*"
)
NAMED = words(
    r"(?:i'm called|i(?:'d)? (?:prefer|like|want) to be called|(?P<weak>i'm)|"
    r"my (?:full |first )?name(?:'s| is)|i go by|"
    r"(?:you (?:can|may) )?(?:call|address) me(?: as)?|"
    r"change my name to|"
    r"(?:the )?name(?:'s| is|:)) (?P<name>.+)|(?P<named>.+) is my name"
)
RENAMED = words(
    r"(?:(?:my (?:full |first )?name(?:'s| is| was)(?:n't| not)|i'm not) [^,]{1,60}?(?:,|,? but)|"
    r"(?:you (?:got|have) my name wrong|that's not my name),) "
    r"(?:it's |it is |i'm |my name(?:'s| is) |call me )?(?P<name>.+)"
)
ENDED = words(r"i(?P<m>'m)? no longer (?P<what>.+)|i don't (?P<does>.+) (?:any ?more|any longer)")
I_DO = words(
    r"i (?:(?:now|currently|also|really|always|usually|often|still|just) )*"
    r"(?P<verb>\w+) (?P<rest>.+)"
)
I_HAVE = words(r"i've (?:got )?(?P<rest>.+)")
I_AM = words(
    r"i'm (?P<rest>(?:an?|from|based|born|allergic|married|single|vegan|vegetarian|\d+|\w+-handed|"
    r"colou?r-?blind|learning|studying|using|taking|preparing|training|building|writing|working|"
    r"living|moving|interested|into|afraid|scared|good at|(?:in|at|near) (?-i:[A-Z]))\b.*)"
)
BAD_FACT = words(
    r"an? (?:bit|little|lot|moment|second|minute)\b.*|(?:wrong|joking|kidding|your?)\b.*"
)
MY_OWN = words(rf"my (?P<rest>(?:[\w'-]+ ){{1,6}}(?:{OF_OTHERS}) .+)")
I_KNOW = words(rf"i (?:already |also )?know (?P<rest>(?:\w+ ){{0,3}}{LANGUAGE}.*)")
AGE = words(r"i'm (?P<age>\d{1,3})(?: (?:years? old|now))?")


def renamed(clause: str, course: tuple[str, ...]) -> list[Meaning]:
    """ "My name isn't Bob, it's Robert": the name after the wrong one."""
    said = RENAMED.fullmatch(clause)
    found, rest = name_in(said["name"]) if said else ("", "")
    return [Remember(found, "name")] if found and not rest else []


def ended(clause: str, course: tuple[str, ...]) -> list[Meaning]:
    """ "I no longer have a cat" forgets what "I have a cat" has kept."""
    said = ENDED.fullmatch(clause)
    if not said:
        return []
    held = f"I{said['m'] or ''} {said['what'] or said['does']}"
    once = [rule for rule in STATEMENTS if rule is not ended]
    kept = [m for m in _first(once, held, course) if isinstance(m, Remember)]
    return [
        Forget(
            m.kind
            if m.kind in ("name", "email", "level")
            else f"{m.topic or ''} {m.content}".strip()
        )
        for m in kept
    ]


def denial(clause: str, course: tuple[str, ...]) -> list[Meaning]:
    return [Chat("unkept")] if DENIED.match(clause) else []


def email(clause: str, course: tuple[str, ...]) -> list[Meaning]:
    found = [word for raw in clause.split(" ") if EMAIL.fullmatch(word := raw.strip(",;:()<>"))]
    alone = found == [clause]
    return [Remember(found[0], "email")] if found and (alone or OWN_EMAIL.search(clause)) else []


def level(clause: str, course: tuple[str, ...]) -> list[Meaning]:
    if said := OWN_LEVEL.fullmatch(clause):
        kept: list[Meaning] = [Remember(LEVELS[said["level"].casefold()], "level")]
        return kept + ([Remember(f"is {said['origin']}")] if said["origin"] else [])
    return [Remember("beginner", "level")] if NEW_TO_IT.fullmatch(clause) else []


def name(clause: str, course: tuple[str, ...]) -> list[Meaning]:
    said = NAMED.fullmatch(clause)
    if not said:
        return []
    # "i'm ada" may be a name; "I'm dizzy", by one who does use capitals, is none.
    lower = int(clause.islower()) if said["weak"] else 2
    found, rest = name_in(said["name"] or said["named"], lower=lower)
    if not found:
        return []
    kept: list[Meaning] = [Remember(found.title() if clause.isupper() else found, "name")]
    return kept + ([Remember(f"is {rest}")] if rest.lower().startswith("from ") else [])


def fact(clause: str, course: tuple[str, ...]) -> list[Meaning]:
    if said := AGE.fullmatch(clause):
        return [Remember(f"is {said['age']} years old")]
    if said := I_KNOW.fullmatch(clause):
        return [Remember(f"knows {said['rest']}")]
    if (said := I_AM.fullmatch(clause)) and not BAD_FACT.fullmatch(said["rest"]):
        return [Remember(f"is {said['rest']}")]
    if said := I_HAVE.fullmatch(clause):
        return [Remember(f"has {said['rest']}")]
    if said := MY_OWN.fullmatch(clause):
        return [Remember(said["rest"])]
    if said := I_DO.fullmatch(clause):
        verb = said["verb"].lower()
        known = verb in THIRD_PERSON or verb in PAST
        if known and not BAD_FACT.fullmatch(said["rest"]):
            return [Remember(f"{THIRD_PERSON.get(verb, verb)} {said['rest']}")]
    return [Chat("unkept")] if clause.casefold().startswith("i'm ") else []


STATEMENTS: tuple[Rule, ...] = (
    preferences, renamed, ended, unfinished, denial, email, level, finished, reviewed, learning,
    name, fact,
)  # fmt: skip
RULES: tuple[Rule, ...] = (small_talk, forgetting, remembering, question, *STATEMENTS)
