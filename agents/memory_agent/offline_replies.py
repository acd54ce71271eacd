"""What the offline model says: confirmations, answers, lessons and small talk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .offline_english import understand
from .offline_meanings import Ask, Chat, Forget, Meaning, Progress, Remember, Review, Unclear
from .offline_memory import Memory, Outcome, learned, recollect
from .offline_words import LANGUAGES, READ_AT_MOST, told

HELP = (
    'I understand things like "I\'m Ada", "I prefer short answers with Python examples", '
    '"I have finished variables", "what\'s next?", "explain classes", "what do you know about me?" '
    'and "forget my name". Set OPENAI_API_KEY to talk with a large model.'
)
SMALL_REPLIES = {
    "thanks": "You're welcome.",
    "bye": "Goodbye, and see you soon.",
    "help": f"I'm the small offline model. {HELP}",
    "which": "Which topic do you mean?",
    "how it went": "How did it go: had you forgotten it, or was it hard, good or easy?",
    "fine": "I'm a small program, so I'm always well.",
    "listening": "Go ahead.",
    "unkept": "I see. I have kept nothing of that.",
    "ok": "Good.",
    "wrong": "I go by what you told me. Tell me what is right, or what I should forget.",
    "data": "All I know of you is in the database that I was started with. Ask "
    '"what do you know about me?" to see it; say "forget everything" to delete it.',
}
UNKNOWN = "I have nothing about that in memory, and the offline model knows no more."
ONLY_ALONE = frozenset(("hello", "ok", "fine", "unkept", "wrong"))
"""Small talk that is passed over when a message says anything else."""

PROMISES = {
    "answer length": "keep my answers {}",
    "examples": "use {} examples",
    "emojis": "use {} emojis",
    "reply language": "remember that you would like {}, though I speak only English",
}
TOOLS: dict[type, str] = {
    Remember: "remember",
    Forget: "forget",
    Progress: "update_progress",
    Review: "review",
}


def reply(
    text: str,
    meanings: Sequence[Meaning],
    memory: Memory,
    outcomes: Sequence[Outcome],
    bound: frozenset[str],
) -> str:
    """The answer to a message, given what its tool calls came to; never empty."""
    memory = learned(memory, outcomes)
    todo = [] if outcomes else [m for m in meanings if TOOLS.get(type(m), "") not in {"", *bound}]
    held = [m for fact in memory.facts * bool(todo) for m in understand(fact, memory.course)]
    known = [m for m in todo if isinstance(m, Remember) and m in held]
    lacking = {TOOLS[type(m)]: None for m in todo if m not in known}
    said = [
        *confirmations(memory, outcomes),
        *(f"I know that {told(m.content)}." for m in known),
        *(f"I understood you, but have no {t} tool here." for t in lacking),
    ]
    for ask in (meaning for meaning in meanings if isinstance(meaning, Ask)):
        found = answer_to(ask, memory)
        for sentence in (standing(memory), upcoming(memory)):
            found = found.replace(sentence, "") if sentence in " ".join(said) else found
        said += [found.strip()] if found.strip() else []
    for meaning in meanings:
        if isinstance(meaning, Chat) and not (said and meaning.kind in ONLY_ALONE):
            said.append(SMALL_REPLIES.get(meaning.kind) or welcome(memory))
    unclear = [meaning.text for meaning in meanings if isinstance(meaning, Unclear)]
    if not said:
        said.append(f"I'm the small offline model, and I did not follow that. {HELP}")
    elif unclear:
        said.append(f'I did not follow "{unclear[0][:100]}".')
    if len(text) > READ_AT_MOST:
        said.append(f"That was long: I read only its first {READ_AT_MOST} characters.")
    return " ".join(said)


def confirmations(memory: Memory, outcomes: Sequence[Outcome]) -> Iterator[str]:
    """What was stored, forgotten or refused: a sentence each, and one for all alike."""
    wishes: list[str] = []
    facts: list[str] = []
    for outcome in outcomes:
        kind, content = outcome.said("kind") or "fact", outcome.said("content")
        what = outcome.said("what")
        match outcome.tool, kind:
            case tool, _ if outcome.failure:
                deed = {"remember": f"remember {content}", "forget": f"forget {what}"}
                deed |= {"update_progress": "update your progress", "review": "note the review"}
                deed |= {"recall": "search my memory"}
                yield f"I could not {deed.get(tool, 'do that')}: {outcome.failure.rstrip('.')}."
            case "review", _:
                yield f"I have noted your review of {outcome.said('topic')}: {_went(outcome)}."
            case "forget", _ if outcome.forgotten and what == "everything":
                yield "I have forgotten everything about you."
            case "forget", _ if outcome.forgotten:
                gone = [_gone(item, memory.course) for item in outcome.forgotten]
                yield f"I have forgotten {listed(gone)}."
            case "forget", _:
                yield f'I found nothing to forget about "{what}".'
            case "remember", "preference":
                promise = PROMISES.get(outcome.said("topic"), "remember that you prefer {}")
                wishes.append(promise.replace("{}", content))
            case "remember", "name":
                yield f"Nice to meet you, {content}."
            case "remember", "email" | "level":
                yield f"I have noted your {kind}: {content}."
            case "remember", _:
                facts.append(told(content))
    if wishes:
        yield f"I'll {listed(wishes)}."
    if facts:
        yield f"I'll remember that {listed(facts)}."
    if any(outcome.tool == "update_progress" and not outcome.failure for outcome in outcomes):
        yield standing(memory)


def _went(outcome: Outcome) -> str:
    rating = outcome.said("rating")
    return {"again": "forgotten", "good": "well remembered"}.get(rating, rating)


def _gone(item: str, course: Sequence[str]) -> str:
    """Something forgotten as it is told: "name", "name: Ada", a topic or a fact."""
    if item in (topic.casefold() for topic in course):
        return f"your progress in {item}"
    kind, colon, value = item.partition(": ")
    if colon or kind in ("name", "email", "level", "progress", "preferences"):
        return f"your {kind}" + f" ({value})" * bool(value)
    fact = told(item)
    return fact if fact.startswith('"') else f"that {fact}"


def welcome(memory: Memory) -> str:
    if not (memory.name or memory.completed or memory.notes):
        return "Hello! I don't know you yet: tell me your name, and how you like your answers."
    greeting = f"Welcome back, {memory.name}!" if memory.name else "Welcome back!"
    return f"{greeting} {standing(memory)}"


def standing(memory: Memory) -> str:
    """What is finished, how much that is, what is being learned and what comes next."""
    percent = "" if memory.percentage is None else f" ({memory.percentage:.0f}%)"
    said = f"You have finished {listed(memory.completed) or 'no topic that I know of'}{percent}."
    if memory.current:
        said += f" You are learning {memory.current}."
    return f"{said} {upcoming(memory)}".rstrip()


def upcoming(memory: Memory) -> str:
    left = [topic for topic in memory.course if topic not in memory.completed]
    if not left:
        return "That is the whole course!"
    topic = next((topic for topic in (memory.next, *left) if topic not in ("", memory.current)), "")
    return f"Next: {topic}." if topic else ""


def reviews(memory: Memory) -> str:
    """What to review today."""
    if memory.due is None:
        return "I cannot plan reviews here: the learning extra is missing."
    if not memory.due:
        return f"Nothing is due for review today. {upcoming(memory)}".rstrip()
    return f"Due for review today: {listed(memory.due)}. Tell me how it goes, hard or easy."


def answer_to(ask: Ask, memory: Memory) -> str:
    match ask.about:
        case "me":
            return portrait(memory)
        case "name":
            return f"You are {memory.name}." if memory.name else "I don't know your name yet."
        case "email" | "level" as kind:
            known = memory.email if kind == "email" else memory.level
            return f"Your {kind}: {known}." if known else f"I don't know your {kind} yet."
        case "completed" if ask.subject:
            done = ask.subject in memory.completed
            yes, no = (
                f"Yes, you have finished {ask.subject}.",
                f"No, {ask.subject} is not finished.",
            )
            return yes if done else no
        case "completed":
            return f"You have finished {listed(memory.completed) or 'no topic that I know of'}."
        case "next" if ask.subject in memory.course:
            later = memory.course[memory.course.index(ask.subject) + 1 :]
            return f"After {ask.subject} comes {later[0] if later else 'nothing: it is the last'}."
        case "next":
            more = f' Say "explain {memory.next}" for a lesson.' if memory.next else ""
            return upcoming(memory) + ("" if memory.brief else more)
        case "progress":
            return standing(memory)
        case "course":
            return f"The topics of your course: {listed(memory.course)}."
        case "review":
            return reviews(memory)
        case "preferences":
            likes = [f"{topic}: {value}" for topic, value in memory.preferences.items()]
            return f"Your preferences: {'; '.join(likes) or 'none that I know of'}."
        case "lesson":
            return lesson(ask.subject, memory)
    found = [told(note) for note in recollect(ask.subject, memory)]
    return f"You told me that {listed(found)}." if found else UNKNOWN


def portrait(memory: Memory) -> str:
    """All that is known, in a few sentences."""
    told_me = [f"your {kind} is {value}" for kind, value in memory.about.items()]
    told_me += [told(note) for note in memory.notes[:10]]
    more = len(memory.notes) - 10
    told_me += [f"{more} more things"] if more > 0 else []
    if not (told_me or memory.completed or memory.current):
        return "I know nothing about you yet."
    known = f"You told me that {listed(told_me)}. " if told_me else ""
    return known + (standing(memory) if memory.completed or memory.current else "").strip()


def listed(words: Sequence[str]) -> str:
    """Words as they are said in a row: "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


# --- lessons -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lesson:
    """One sentence, some more for who likes them, and code by language."""

    gist: str
    more: str
    code: dict[str, str]


LESSONS = {
    "variables": Lesson(
        "A variable is a name for a value, so that you can use the value again.",
        "You may give the name another value later. Choose names that say what the value means.",
        {
            "Python": "age = 36\nage = age + 1\nprint(age)  # 37",
            "JavaScript": "let age = 36;\nage = age + 1;\nconsole.log(age); // 37",
        },
    ),
    "functions": Lesson(
        "A function is a named piece of work that takes arguments and returns a result.",
        "Write the steps once and call them wherever you need them. A good function does one "
        "thing, and its name says which.",
        {
            "Python": 'def greet(name):\n    return "Hello, " + name\n\nprint(greet("Ada"))',
            "JavaScript": 'function greet(name) {\n  return "Hello, " + name;\n}\n\n'
            'console.log(greet("Ada"));',
        },
    ),
    "classes": Lesson(
        "A class describes a kind of object: the data each one holds and what it can do.",
        "From one class you make as many objects as you like, each with its own data. The "
        "functions inside a class are called methods.",
        {
            "Python": "class Cat:\n    def __init__(self, name):\n        self.name = name\n\n"
            '    def speak(self):\n        return self.name + " says meow"\n\n'
            'print(Cat("Turing").speak())',
            "JavaScript": "class Cat {\n  constructor(name) {\n    this.name = name;\n  }\n\n"
            '  speak() {\n    return this.name + " says meow";\n  }\n}\n\n'
            'console.log(new Cat("Turing").speak());',
        },
    ),
    "inheritance": Lesson(
        "Inheritance lets a class take over another class's data and methods, and change some.",
        "Use it where you can truly say that one is a kind of the other: a cat is an animal.",
        {
            "Python": 'class Animal:\n    def speak(self):\n        return "..."\n\n'
            'class Cat(Animal):\n    def speak(self):\n        return "meow"\n\n'
            "print(Cat().speak())",
            "JavaScript": 'class Animal {\n  speak() {\n    return "...";\n  }\n}\n\n'
            'class Cat extends Animal {\n  speak() {\n    return "meow";\n  }\n}\n\n'
            "console.log(new Cat().speak());",
        },
    ),
}


def lesson(topic: str, memory: Memory) -> str:
    """A short lesson with code in the preferred language, or an honest "I have none"."""
    found = LESSONS.get(topic.casefold())
    if not found:
        return f'I have no lesson on "{topic[:100]}", only on {listed(list(LESSONS))}.'
    likes = [memory.preferences.get(about, "") for about in ("examples", "language")]
    wanted = next((like for like in likes if like.casefold() in (*LANGUAGES, "no")), "Python")
    by_name = {name.casefold(): name for name in found.code}
    language = by_name.get(wanted.casefold(), "Python")
    text = found.gist if memory.brief else f"{found.gist} {found.more}"
    if wanted.casefold() not in (*by_name, "no"):
        text += f" I have no {wanted} examples, so this one is in Python."
    if wanted == "no":
        return text
    return f"{text}\n\n```{language.lower()}\n{found.code[language]}\n```"
