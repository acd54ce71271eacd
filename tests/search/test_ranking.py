"""The ranking, without a store."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import numpy as np

from lc_memory.search.ranking import (
    Passage,
    Ranked,
    Rules,
    names_in,
    rank,
    rarity,
    why,
    without_names,
)
from lc_memory.search.words import words

MAY = datetime(2023, 5, 8, tzinfo=UTC)


def ranked(question: str, passages: list[Passage], **given: object) -> list[Ranked]:
    counts = Counter(word for p in passages for word in set(words(p.text)))
    return list(rank(question, passages, rarity(len(passages), counts), **given))  # type: ignore[arg-type]


def test_the_text_with_the_rarer_words_comes_first() -> None:
    texts = ["I eat bread", "I eat peanuts", "I eat soup", "We walked"]
    found = ranked("eat peanuts", [Passage(i, text) for i, text in enumerate(texts)])
    assert found[0].passage.id == 1
    assert found[-1].passage.id == 3
    assert found[-1].score == 0


def test_a_score_is_the_sum_of_its_parts() -> None:
    passages = [
        Passage(i, text, "Ada", MAY, "s", i)
        for i, text in enumerate(["Yesterday I ran", "Did you?", "I ran again on Monday"])
    ]
    for found in ranked("When did Ada run on 8 May 2023?", passages):
        assert found.parts
        assert abs(found.score - sum(found.parts.values())) < 1e-9


def test_what_is_like_in_meaning_is_found_without_a_common_word() -> None:
    passages = [Passage("nuts", "I cannot have nuts"), Passage("rain", "It rains")]
    vectors = np.array([[1.0, 0.1], [0.0, 1.0]])
    found = ranked("allergies", passages, vector=np.array([1.0, 0.0]), vectors=vectors)
    assert [f.passage.id for f in found] == ["nuts", "rain"]
    assert "meaning" in found[0].parts


def test_a_text_without_a_vector_is_still_found_by_its_words() -> None:
    passages = [Passage(1, "peanuts"), Passage(2, "walnuts")]
    vectors = np.array([[0.0, 0.0], [0.1, 1.0]])
    found = ranked("peanuts", passages, vector=np.array([1.0, 0.0]), vectors=vectors)
    assert found[0].passage.id == 1


def test_an_answer_gains_from_the_question_before_it() -> None:
    passages = [
        Passage("ask", "What about peanuts?", session="s", place=0),
        Passage("answer", "They make me ill.", session="s", place=1),
        Passage("other", "They make me happy.", session="t", place=9),
    ]
    found = {f.passage.id: f for f in ranked("peanuts", passages)}
    assert found["answer"].score > found["other"].score
    assert "nearby" in found["answer"].parts


def test_the_named_speaker_comes_first_unless_the_rule_is_off() -> None:
    passages = [Passage("bob", "I love tea", "Bob"), Passage("ada", "I love tea", "Ada")]
    assert ranked("What does Ada love?", passages)[0].passage.id == "ada"
    off = ranked("What does Ada love?", passages, rules=Rules(speaker=0))
    assert all("speaker" not in found.parts for found in off)


def test_without_named_speakers_no_rule_speaks_of_them() -> None:
    passages = [Passage(1, "I love tea"), Passage(2, "Ada loves tea")]
    assert all("speaker" not in found.parts for found in ranked("What does Ada love?", passages))
    assert names_in(passages) == {}
    assert without_names("What does Ada love?", {}) == "What does Ada love?"


#: A talk of a user and an assistant. Each question comes with what answers it, and is one that
#: the rule of the speaker would lead astray if "user" or "assistant" were a person's name.
LOG = [
    ("user", "My father was an assistant nurse in Leeds"),
    ("assistant", "That is hard work; a nurse helps many people"),
    ("user", "I broke the user account of my sister yesterday"),
    ("assistant", "Her user account is open again, the password is new"),
    ("user", "I want to learn how bread is baked"),
    ("assistant", "Start with flour, water, salt and yeast"),
    ("user", "I work as a model for a painter, twice a week"),
    ("assistant", "How does sitting for so long feel?"),
]
ASKED = {
    "Who was an assistant nurse?": 0,
    "Which user account is open again?": 3,
    "Which assistant was in Leeds?": 0,
    "Who sits as a model for a painter?": 6,
}


def test_the_parts_of_user_and_assistant_are_no_names() -> None:
    """Such a log is ranked as if nobody had a name, in every question."""
    named = [Passage(i, text, who, MAY, "s", i) for i, (who, text) in enumerate(LOG)]
    unnamed = [Passage(i, text, "", MAY, "s", i) for i, (_, text) in enumerate(LOG)]
    for question, answer in ASKED.items():
        found = ranked(question, named)
        assert found[0].passage.id == answer
        assert all("speaker" not in hit.parts for hit in found)
        assert without_names(question, names_in(named)) == question
        assert ranked(question, unnamed)[0].passage.id == answer


def test_names_are_taken_out_of_a_question_but_never_all_of_it() -> None:
    names = names_in([Passage(1, "", "Ada Lovelace")])
    assert without_names("What is Ada's job?", names) == "What is job?"
    assert without_names("Ada", names) == "Ada"
    assert without_names("Adagio for strings", names) == "Adagio for strings"


def test_a_date_in_the_question_draws_what_is_of_that_time() -> None:
    passages = [
        Passage("june", "We had tea", at=datetime(2023, 6, 20, tzinfo=UTC)),
        Passage("may", "We had tea", at=MAY),
    ]
    assert ranked("tea in May 2023", passages)[0].passage.id == "may"


def test_why_says_what_was_found() -> None:
    (found,) = ranked("When did Ada eat peanuts?", [Passage(1, "Yesterday I ate peanuts", "Ada")])
    said = why(found, "When did Ada eat peanuts?")
    assert "peanuts" in said
    assert "said by Ada" in said
    assert "tells when" in said


def test_nothing_to_rank_is_nothing() -> None:
    assert ranked("anything", []) == []
    assert ranked("", [Passage(1, "")])[0].score == 0
