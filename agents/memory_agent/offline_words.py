"""Words and clauses: what the rules of `offline_english` are made of.

Patterns are anchored or bounded and a message is cut at `READ_AT_MOST`, so that none is slow.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from difflib import get_close_matches
from functools import lru_cache

READ_AT_MOST = 4_000
"""Characters of a message that are read."""


def words(pattern: str) -> re.Pattern[str]:
    """A compiled pattern that is blind to case."""
    return re.compile(pattern, re.IGNORECASE)


def lexicon(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


# --- vocabulary --------------------------------------------------------------------------------

COURSE = ("variables", "functions", "classes", "inheritance")
OTHER_TOPICS = lexicon(
    "loops lists dictionaries strings tuples sets conditionals recursion modules exceptions "
    "decorators generators iterators closures comprehensions polymorphism encapsulation "
    "abstraction interfaces arrays objects methods operators types testing"
)
LEVELS = {
    "beginner": "beginner", "novice": "beginner", "newbie": "beginner", "starter": "beginner",
    "intermediate": "intermediate", "advanced": "advanced", "expert": "advanced",
    "experienced": "advanced", "pro": "advanced",
}  # fmt: skip
LEVEL = "|".join(LEVELS)
LANGUAGES = {
    name.casefold(): name
    for name in lexicon(
        "Python JavaScript TypeScript Java Rust Kotlin Swift Ruby PHP Scala Perl Haskell Julia Lua "
        "SQL Bash Elixir C++ C# Go C R"
    )
}
# "Go", "C" and "R" are languages only when they are written as names.
_LONGER = sorted(re.escape(name) for name in LANGUAGES if name not in ("go", "c", "r"))
LANGUAGE = rf"(?<!\w)(?:(?-i:Go|C|R)|{'|'.join(_LONGER)})(?![\w+#])"
LENGTHS = {
    "short": "short", "shorter": "short", "brief": "short", "concise": "short", "quick": "short",
    "terse": "short", "to the point": "short", "briefly": "short", "long": "long",
    "longer": "long", "verbose": "long", "wordy": "long", "detailed": "detailed",
    "thorough": "detailed", "in-depth": "detailed", "in detail": "detailed",
}  # fmt: skip
LENGTH = "|".join(sorted(LENGTHS, key=len, reverse=True))
ANSWER = "(?:answers?|replies|reply|responses?|explanations?|lessons?|messages?|texts?|versions?)"
ADVERB = (
    r"(?:just|already|now|also|finally|currently|still|really|always|usually|often|very|fairly|"
    rf"quite|pretty|rather|total|complete|absolute|totally|somewhat|an?|the|at|so|all|{LANGUAGE})"
)
EMAIL = re.compile(r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")

PARTICLES = lexicon("van von der den de da di la le bin al el")
AFTER_A_NAME = lexicon("from and here again btw by but in")
NOT_NAMES = lexicon(
    """a an the my your his her our their not no never new just only still also so too very really
    quite pretty rather totally completely absolutely fairly currently now already finally back
    here there away in on at from with about into over out up down off of for to by as like what
    who when where how why that this it me you he she they we all one some any everyone nobody
    same right left wrong sure sorry afraid able unable ok okay fine good great well bad better
    best happy sad glad tired sleepy hungry thirsty bored busy lost stuck confused curious ready
    done finished through sick ill cold hot late early free alone lazy crazy dizzy angry mad dead
    serious proud lucky nervous anxious worried excited scared interested tall short young old
    single married vegan vegetarian gluten left-handed right-handed colour-blind allergic born
    based blind deaf pregnant retired unemployed human male female gay
    home online offline asleep awake safe smart dumb stupid slow fast weird strange normal lonely
    jealous grateful silly shy calm broke rich poor weak strong upset overwhelmed frustrated
    impressed annoyed amazed surprised shocked delighted disappointed relaxed relieved motivated
    stressed exhausted depressed unsure gonna trying
    called spelled spelt pronounced secret private boring cool unusual
    maybe later tomorrow today tonight yesterday and or but if because
    monday tuesday wednesday thursday friday saturday sunday
    american british english irish scottish welsh french german spanish italian portuguese dutch
    belgian swiss austrian norwegian swedish danish finnish polish russian ukrainian greek turkish
    indian chinese japanese korean mexican canadian brazilian australian african european"""
) | frozenset(LEVELS)


def topics_in(text: str, course: tuple[str, ...] = COURSE) -> tuple[str, ...]:
    """The topics named in `text`, in order, each once; "class" names "classes"."""
    names, pattern = _topic_names(course)
    return tuple(dict.fromkeys(names[word] for word in pattern.findall(text.casefold())))


@lru_cache(maxsize=64)
def _topic_names(course: tuple[str, ...]) -> tuple[dict[str, str], re.Pattern[str]]:
    names: dict[str, str] = {}
    for topic in filter(str.strip, (*OTHER_TOPICS, *COURSE, *course)):
        low = topic.casefold()
        names |= dict.fromkeys((re.sub(r"(?:(?<=ss)es|(?<!s)s)$", "", low), low), topic)
    longest_first = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return names, re.compile(rf"(?<!\w)(?:{longest_first})(?!\w)")


def name_in(text: str, *, lower: int = 0) -> tuple[str, str]:
    """The name that `text` begins with, and what follows it; ("", text) where there is none.

    A name is up to four words that no other sense is known for. They have capitals, where their
    script has them; up to `lower` words may do without, and are given theirs.
    """
    parts, name = text.split(" "), list[str]()
    for part in parts[:4]:
        word = part.rstrip(",.")
        capital = not word[:1].islower()
        particle = name and word in PARTICLES
        if not _may_be_name(word) or not (capital or particle or len(name) < lower):
            break
        name.append(word)
        if word != part:
            break
    rest = parts[len(name) :]
    while name and name[-1] in PARTICLES:
        rest.insert(0, name.pop())
    closed = not rest or (name and parts[len(name) - 1].endswith(","))
    if not name or not (closed or rest[0].casefold() in AFTER_A_NAME):
        return "", text
    full = " ".join(name)
    return (full.title() if full.islower() else full), " ".join(rest)


def _may_be_name(word: str) -> bool:
    low = word.casefold()
    return (
        word[:1].isalpha()
        and len(word) <= 40
        and all(c.isalpha() or c in "'-." or unicodedata.category(c) in ("Mn", "Mc") for c in word)
        and low not in NOT_NAMES
        and not low.endswith(("ing", "'s", "less", "ful"))
    )


# Facts are kept as said of another ("has a cat") and told as said to you ("you have a cat").
THIRD_PERSON = {
    verb: re.sub("(s|ch|sh)$", r"\1e", re.sub("(?<![aeo])y$", "ie", verb)) + "s"
    for verb in lexicon(
        "own live work study like love hate enjoy play speak use want need come drive teach "
        "collect write read run sing paint cook bake grow dislike prefer follow know"
    )
} | {"have": "has", "am": "is", "was": "was"}
PAST = lexicon(
    "had grew started moved finished learned learnt studied worked lived bought passed failed "
    "graduated joined visited wrote built made won lost met married"
)
SECOND_PERSON = {third: verb for verb, third in THIRD_PERSON.items()} | {
    "is": "are", "was": "were", "their": "your", **{verb: verb for verb in PAST},
}  # fmt: skip


OF_OTHERS = "|".join(("is", "are", "was", "were", "has", "have", *THIRD_PERSON.values(), *PAST))
"""What a sentence says of somebody else: "my sister likes tea"."""


def told(fact: str) -> str:
    """A kept fact as it is told to its person; one in other words is quoted."""
    first, _, rest = fact.partition(" ")
    own = words(r"(?<![\w-])(my|I'm|I|me)(?![\w-])").sub(lambda m: _YOURS[m[0].casefold()], rest)
    if first in SECOND_PERSON and rest:
        return f"you {SECOND_PERSON[first]} {own}"
    if fact[:1].islower() and re.match(rf"(?:[\w'-]+ ){{1,6}}(?:{OF_OTHERS}) ", fact):
        return f"your {first} {own}"
    return f'"{fact}"'


_YOURS = {"my": "your", "i'm": "you're", "i": "you", "me": "you"}


# --- from a message to its clauses -------------------------------------------------------------

SPELLINGS = (
    (words("[\u2018\u2019\u02bc`]"), "'"),
    (words(r"\b(I) a(m)\b"), r"\1'\2"),  # in their case: "I'M ADA"
    (words(r"\b(I) woul(d)\b"), r"\1'\2"),
    (words(r"\b(I) have (?=(?:\w+ly |just |now )?(?:finished|completed|done|learn))"), r"\1've "),
    (words(r"\b(I)(?=(?:m|ve) )"), r"\1'"),
    (words(r"\b(I)d (?=like |rather |prefer )"), r"\1'd "),
    (words(r"\bwat(s?)\b"), r"what\1"),
    (words(r"\b(what|who|where|that|let)s\b"), r"\1's"),
    (words(r"\b(do|does|did|have|has|is|are|was)nt\b"), r"\1n't"),
    (words(r"\b(do|does|did|have|has|is|are|was) not\b"), r"\1n't"),
    (re.compile(r"(?<![\w.])u(?![\w.])"), "you"),
    (words(r"\bkno\b"), "know"),
    (words(r"\blvl\b"), "level"),
)
TYPED = (*COURSE, *LEVELS, *lexicon("finished completed examples answers python"))
"""What is read though it be mistyped, if that makes no other word."""
OTHER_WORDS = lexicon("clashes competed furnished")
MAYBE_MISTYPED = re.compile(r"(?<![\w@.'-])[a-z]{6,14}(?![\w@'-]|\.\w)")
SENTENCE = re.compile(r"(?<=[!?。！？])\s*|(?<=[.;])(?<!\b[SDM][trs]\.)(?<!\bMrs\.)\s+|\n+")
STARTS = (
    r"(?:i(?:'m|'ve|'d|'ll)?|please|call me|let's|don't forget|forget|explain|teach me|tell me|"
    r"remember|keep (?:it|your)|give me|use|show me|thanks|thank you|no emojis?|do you|"
    r"(?:can|could|would|will) you|(?:what|who|where|when|how|which)(?:'s| is| am| are| do|"
    r" did| have| should| far| much| many| now| can| comes| topics?)|"
    r"my(?= [^,]{1,40} (?:is|are|was))|"
    rf"(?:an? )?(?:\w+ )?(?:{LEVEL}))(?!\w)"
)
JOINS = "(?:(?:and|but|so|then|also|plus) )"
BREAK = words(
    rf"(?<!remember)(?<!note)[,:;] {JOINS}{{0,3}}(?={STARTS})| [-–—] (?={STARTS})|"
    rf" {JOINS}{{1,3}}(?={STARTS})"
    rf"| {JOINS}{{1,3}}(?=(?:just |now )?(?:started|starting|began|begun|moved on|working on)\b)"
    r"|(?P<bare> (?=(?:i'm|i prefer|i've finished|my name(?:'s| is))\b))"
)
# After these words "I'm ..." belongs to the clause before it.
HOLDS = lexicon(
    "that because if when while where who what how since as than whether think know say said "
    "remember forget sure hope everything though once until till after before unless"
)
FILLER = words(
    r"(?:(?:so far|actually|well(?! done)|ok(?:ay)?|oh|also|and|but|so|then|now|sorry|please|"
    r"kindly|btw|by the way|yes|yeah|great|cool|hm+|um+|just|from now on|no(?=,)|"
    r"i (?:think|guess|believe|said)(?: that)?(?= i\b)|i said(?: that)?(?= my\b))[,:]? )+"
)
TAIL = words(",? (?:please|from now on|by the way|btw)$")
POLITE = words(
    r"(?P<we>(?:can|could|shall|may) (?:we|i) )"
    r"(?=(?:do|start|begin|learn|continue|go on|move on)\b)|"
    r"(?:can|could|would|will) you (?:please )?(?=(?:remember|forget|explain|teach|tell|show|call|"
    r"keep|give|use|describe|help|remind|be|make|answer|stop|avoid|delete|erase|note)\b)"
)
GREETING = words(
    r"(?:hi|hello|hey|hiya|howdy|yo|greetings|(?:good )?(?:morning|afternoon|evening)|good day)"
    r"(?: there| again| everyone| all| tutor)*(?!\w)[,.! ]*"
)
UNWANTED = words(r"(?:please )?(?:don't|never) (?:remember|store|save|keep|note)\b.*")
SMALL_TALK = {
    "unkept": UNWANTED,
    "hello": words(rf"(?:{GREETING.pattern}|(?:i'm back|it's me)(?: again)?)"),
    "thanks": words(r"(?:many |no |yes )?(?:thanks?|thank you|thx|cheers)(?:,? .{1,30})?"),
    "bye": words(
        r"(?:good ?)?bye(?: .{1,20})?|cya|see (?:you|ya)(?: .{1,20})?|good ?night|"
        r"i(?:'ve got| have| must)(?: to)? go(?: now)?"
    ),
    "help": words(
        r"help(?: me)?|(?:who|what) are you|what can (?:you (?:do|remember)|"
        r"i (?:say|ask|do))(?: here)?|what(?:'s| is) your name|who (?:made|built|wrote) you|"
        r"how does this work|are you (?:an? )?(?:ai|bot|robot|human|real|person|chatgpt).{0,20}|"
        r"(?:what|which) (?:\w+ )?(?:model|ai|llm) (?:are you|is this)"
    ),
    "fine": words(r"how(?:'s it going| are you.{0,20})|what's up"),
    "listening": words(
        r"i(?: have|'ve|'ve got) (?:an?|another|some|one) (?:\w+ )?(?:questions?|problems?)"
        r"(?: (?:about|on|with) .{1,60})?|"
        r"i need (?:some |your )?help"
    ),
    "data": words(
        r"(?:where|how) (?:is|are|(?:do|can) (?:you|i) (?:store|keep|save|see|delete|erase))\b"
        r".{0,20} my (?:data|memories)\b.{0,20}|"
        r"(?:is|are|who can see) my (?:data|memories)\b.{0,20}|"
        r"(?:can you )?forget things|how do you (?:know|remember) (?:me|things|all that)"
    ),
    "wrong": words(
        r"(?:(?:that|this|it|you)(?: is|'s| are|'re|) )?(?:all )?(?:wrong|false|incorrect|"
        r"(?:not|isn't|aren't) (?:true|right|correct))|really|are you sure|no don't"
    ),
    "ok": words(
        r"ok(?:ay)?|k|lol|ha(?:ha)+|hm+|wow|ah+|oh|"
        r"yes|yeah|no|sure|great|cool|nice|good|perfect|right|fine|got it|never ?mind|"
        r"i (?:see|know|understand|agree|think so)|(?:that's|sounds) \w+|forget (?:it|that|this)|"
        r"well done|i changed my mind|not (?:bad|yet)|nothing|none|"
        r"no,? i (?:haven't|didn't|don't)|i'm (?:fine|good|well|great)(?:,? thank.*)?|"
        r"(?:nice|good) (?:to (?:meet|see) you|job|work)"
    ),
}
HERE = words(r"(?:it's|this is) (?:me, )?(?P<it>[^,]{1,60})|(?P<here>[^,]{1,60}) here")
QUESTION = words(
    r"(?:what|who|where|when(?! i'(?:ve|m|ll))|why|how|which|whose|"
    r"do(?!n't)|does|did|is|are|am|have i|"
    r"(?:tell|remind) me (?:my|what|where|who|when|how|about)|"
    r"(?:remember|know) (?:what|where|when|who|how|which))(?:'s|n't)?(?!\w)|"
    r"(?:my )?(?:next|progress|preferences)(?: topic| lesson| one)?$"
)


def is_question(clause: str) -> bool:
    """Whether a clause asks: by its mark, or by its first words."""
    return clause.endswith("?") or bool(QUESTION.match(clause))


def clauses(text: str) -> Iterator[str]:
    """The clauses of a message without fillers, outer punctuation and control characters.

    A question keeps its mark, a greeting is a clause of its own, and "Hi, Ada here" gives "Hi"
    and "I'm Ada".
    """
    for sentence in map(_trim, SENTENCE.split(_clean(text))):
        if greeting := GREETING.match(sentence):
            yield _trim(greeting.group())
            sentence = sentence[greeting.end() :]
            who = HERE.fullmatch(sentence)
            if who and name_in(own_words := who["it"] or who["here"])[0]:
                sentence = f"I'm {own_words}"
        if UNWANTED.fullmatch(sentence):
            yield sentence
            continue
        start = 0
        for cut in BREAK.finditer(sentence):
            before = sentence[start : cut.start()]
            if cut["bare"] and (is_question(sentence) or before.split(" ")[-1].lower() in HOLDS):
                continue
            yield from filter(None, [_trim(before)])
            start = cut.end()
        yield from filter(None, [_trim(sentence[start:])])


def _clean(text: str) -> str:
    text = unicodedata.normalize("NFC", text[:READ_AT_MOST])
    text = re.sub(r"[^\S\n]+|[\x00-\x09\x0b-\x1f\x7f\ud800-\udfff]+", " ", text)
    for pattern, spelling in SPELLINGS:
        text = pattern.sub(spelling, text)
    return MAYBE_MISTYPED.sub(lambda found: _meant(found[0]), text)


@lru_cache(maxsize=1024)
def _meant(word: str) -> str:
    """The word of `TYPED` that has the same ends and nearly all the same letters, or `word`."""
    ends = [known for known in TYPED if known[0] == word[0] and known[-1] == word[-1]]
    near = [] if word in OTHER_WORDS else get_close_matches(word, ends, 1, 0.83)
    return near[0] if near else word


def _trim(clause: str) -> str:
    asks = clause.rstrip(" !.)").endswith(("?", "？"))
    kept = [i for i, char in enumerate(clause) if char.isalnum() or char in "+#@%$€"]
    end = kept[-1] + 1 if kept else 0
    while end < len(clause) and unicodedata.category(clause[end]) in ("Mn", "Mc"):
        end += 1
    clause = clause[kept[0] : end] if kept else ""
    clause += ")" * (clause.count("(") > clause.count(")"))
    clause = TAIL.sub("", clause)
    clause = clause[filler.end() :] if (filler := FILLER.match(clause)) else clause
    if request := POLITE.match(clause):  # "can you ...?" asks for a deed, not for an answer
        return "let's " * bool(request["we"]) + clause[request.end() :]
    return clause + "?" if asks and clause else clause
