"""What is a word, and what is a time, in any script."""

from __future__ import annotations

from datetime import date

import pytest

from lc_memory.search.moments import asks_when, dates_in, days_from, tells_when
from lc_memory.search.texts import token
from lc_memory.search.words import codes_in, query_words, words


def test_case_accents_and_width_are_one() -> None:
    assert words("Crème BRÛLÉE ＡＢＣ") == words("creme brulee abc")


def test_english_endings_are_one() -> None:
    assert words("allergies") == words("allergy")
    assert words("running") == words("runs")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("東京都に住んでいます", "東京"),
        ("我对花生过敏", "花生"),
        ("ฉันแพ้ถั่วลิสง", "ถั่วลิสง"),
        ("Я люблю арахис", "арахис"),
        ("أحب القهوة", "القهوة"),
        ("मुझे मूंगफली पसंद है", "मूंगफली"),
        ("땅콩 알레르기가 있어요", "땅콩"),
    ],
)
def test_every_script_is_kept_and_found_by_a_part_as_people_write_it(text: str, part: str) -> None:
    assert query_words(part)
    assert set(query_words(part)) <= set(words(text))


def test_marks_of_a_script_are_part_of_its_words() -> None:
    assert words("か") != words("が")
    assert words("한국") == words("한국")


def test_a_question_is_what_it_is_about_or_all_of_it() -> None:
    assert query_words("What can't she eat?") == ["eat"]
    assert query_words("Who are you?") == ["who", "are", "you"]


def test_tokens_are_letters_and_digits_that_no_database_cuts_or_drops() -> None:
    for word in ("a", "the", "7", "東京", "x" * 500, "naïve", "or", "near"):
        made = token(word)
        assert made.isascii()
        assert made.isalnum()
        assert made.islower() or made.isdigit()
        assert 3 <= len(made) <= 60
    assert token("東京") != token("京都")


def test_questions_for_a_time_and_texts_that_tell_one() -> None:
    assert asks_when("When did she leave?")
    assert asks_when("How long have they been friends?")
    assert asks_when("Do you know when she left?")
    assert asks_when("Since when is that so?")
    assert asks_when("She left when?")
    assert asks_when("In the end, when's the party?")
    assert asks_when("When Ada is back?")
    assert not asks_when("What did she eat?")
    assert not asks_when("What did she eat when they met?")
    assert not asks_when("When they met, what did she eat?")
    assert tells_when("I went there last Friday")
    assert tells_when("two years ago")
    assert not tells_when("I like it here")


def test_dates_in_questions() -> None:
    assert dates_in("on 7 May 2023?") == [(date(2023, 5, 7), date(2023, 5, 7))]
    assert dates_in("on May 7, 2023?") == [(date(2023, 5, 7), date(2023, 5, 7))]
    assert dates_in("in 2024-02?") == [(date(2024, 2, 1), date(2024, 2, 29))]
    assert dates_in("in February 2023") == [(date(2023, 2, 1), date(2023, 2, 28))]
    assert dates_in("She may march there") == []
    assert dates_in("on 31 February 2023") == []


def test_a_date_without_a_year_is_of_the_nearest_one() -> None:
    (span,) = dates_in("on 30 December?")
    assert days_from(span, date(2024, 1, 2)) == 3
    (leap,) = dates_in("on 29 February?")
    assert days_from(leap, date(2023, 2, 28)) <= 1


@pytest.mark.parametrize(
    ("question", "codes"),
    [
        ("What is ERR-4711?", [("err", "4711")]),
        ("invoice 2024-0097, please", [("2024", "0097")]),
        ("Is A113 the same as room_12b/7?", [("a113",), ("room", "12b", "7")]),
        ("call 0301234567 and 0301234567", [("0301234567",)]),
        ("ticket #98765 of v1.2.3", [("98765",), ("v1", "2", "3")]),
        ("On 8 May 2023, 2023-05-08, 2023-05, 08.05.2023 or 5/8 at 10:30pm?", []),
        ("the 3rd 5K in the 1990s, 12 times, a 3-year-old, 100 km, 2.5 litres", []),
        ("What did e-mail mean to John-Paul?", []),
        ("", []),
    ],
)
def test_codes_in_questions(question: str, codes: list[tuple[str, ...]]) -> None:
    assert codes_in(question) == codes
