"""What is stored by others revives nothing; what is encrypted tells nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.types import ERROR, _DeltaSnapshot

from lc_memory import Clear, CorruptStore, Memory, Put, Query
from lc_memory.langchain.checkpoint_serde import Codec, strict_serializer
from tests.checkpoints import Thread, grown, stored

KEY = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Memory]:
    with Memory(f"sqlite:///{tmp_path}/quick.db") as opened:
        yield opened


class Planted:
    made = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        Planted.made += 1


@pytest.mark.parametrize("code", range(6))
def test_a_class_named_in_stored_bytes_is_not_made(quick: Memory, code: int) -> None:
    named = (__name__, "Planted", ["x"] if code in (0, 1) else {"x": 1}, "mro")
    evil = ormsgpack.packb({"a": ormsgpack.Ext(code, ormsgpack.packb(named))})
    found = Codec(strict_serializer()).load(("msgpack", evil))
    assert Planted.made == 0
    assert not isinstance(found["a"], Planted)


@pytest.mark.parametrize("kind", ["json", "pickle", "unheard-of"])
def test_kinds_that_are_never_written_are_refused(kind: str) -> None:
    evil = b'{"lc": 1, "type": "secret", "id": ["HOME"]}'
    with pytest.raises(CorruptStore, match=kind):
        Codec(strict_serializer()).load((kind, evil))


def test_a_message_of_a_foreign_class_is_refused() -> None:
    evil = ormsgpack.packb((f"{__name__}.Planted", {}, {}))
    with pytest.raises(CorruptStore, match="Planted"):
        Codec(strict_serializer()).load(("message", evil))


@pytest.fixture
def hidden(tmp_path: Path) -> Any:
    with Memory(f"sqlite:///{tmp_path}/hidden.db") as opened:
        saver = opened.checkpointer(EncryptedSerializer.from_pycryptodome_aes(key=KEY))
        thread = Thread(saver)
        secrets = [HumanMessage("secret-text " * 5, id=f"{i}") for i in range(200)]
        for number in range(1, 3):
            config = thread.put(
                {"about": "secret-about", "run_id": "secret-run"},
                messages=secrets[: 100 * number],
                flag="secret-flag",
                number=123456789,
            )
            saver.put_writes(config, [("c", "secret-write"), (ERROR, "secret-error")], "task")
        yield opened, saver, thread


def test_an_encrypting_serializer_leaves_nothing_in_clear(hidden: Any, tmp_path: Path) -> None:
    memory, saver, thread = hidden
    assert len(thread.latest().checkpoint["channel_values"]["messages"]) == 200
    assert thread.latest().metadata["about"] == "secret-about"
    texts = [str(record.value) for record in memory.backend.records()]
    held = b"".join(path.read_bytes() for path in tmp_path.glob("hidden.db*"))
    assert held
    for secret in ("secret", "123456789", "HumanMessage", "content"):
        assert secret.encode() not in held
        assert not any(secret in text for text in texts)
    saver.delete_for_runs(["secret-run"])
    assert thread.ids() == []


def test_lists_are_shared_under_encryption_too(hidden: Any) -> None:
    memory, saver, thread = hidden
    messages = thread.latest().checkpoint["channel_values"]["messages"]
    again = Thread(memory.checkpointer(saver.serde))  # another process
    again.here, again.versions, again.step = thread.here, thread.versions, thread.step
    before = sum(stored(memory).values())
    again.put(messages=[*messages, HumanMessage("one more", id="more")])
    assert sum(stored(memory).values()) - before < 8000


def test_another_key_raises(hidden: Any) -> None:
    memory, _, thread = hidden
    wrong = memory.checkpointer(EncryptedSerializer.from_pycryptodome_aes(key=b"w" * 32))
    for saver in (wrong, memory.checkpointer()):
        with pytest.raises(CorruptStore):
            saver.get_tuple(thread.config)
        with pytest.raises(CorruptStore):
            list(saver.list(None))


@pytest.mark.parametrize("kind", ["states", "writes", "parts"])
def test_what_is_not_encrypted_is_not_accepted(hidden: Any, kind: str) -> None:
    memory, saver, thread = hidden
    thread.latest()
    record = next(iter(memory.backend.records(Query(("checkpoints", kind), order="-@key"))))
    for name in ("state", "writes", "part"):
        if name in record.value:
            memory.backend.put(record.namespace, record.key, record.value | {name: b"\0\x93\1"})
    with pytest.raises(CorruptStore, match="not encrypted"):
        list(memory.checkpointer(saver.serde).list(None))


@pytest.mark.parametrize("kind", ["states", "parts"])
def test_ciphertexts_cannot_be_swapped(hidden: Any, kind: str) -> None:
    memory, saver, _ = hidden
    one, two, *_ = memory.backend.records(Query(("checkpoints", kind)))
    memory.backend.write(
        [Put(one.namespace, one.key, two.value), Put(two.namespace, two.key, one.value)]
    )
    with pytest.raises(CorruptStore, match="another place"):
        list(memory.checkpointer(saver.serde).list(None))


def test_damage_is_told(quick: Memory) -> None:
    saver = quick.checkpointer()
    thread, _ = grown(saver)
    for record in list(quick.backend.records(Query(("checkpoints", "parts")))):
        quick.backend.delete(record.namespace, record.key)
    with pytest.raises(CorruptStore, match="damaged"):
        Thread(quick.checkpointer()).latest()
    after = [HumanMessage("z" * 5000, id="z")]
    thread.put(messages=after)  # what comes after is whole
    assert Thread(quick.checkpointer()).latest().checkpoint["channel_values"]["messages"] == after


def test_damage_to_a_snapshot_is_told(quick: Memory) -> None:
    thread = Thread(quick.checkpointer())
    thread.put(log=_DeltaSnapshot(["x" * 5000]))
    thread.versions["log"] = 9
    thread.put(a=1)
    quick.backend.write([Clear(("checkpoints", "parts"))])
    with pytest.raises(CorruptStore, match="damaged"):
        quick.checkpointer().get_delta_channel_history(config=thread.here, channels=["log"])


def test_bytes_for_an_extension_of_msgpack_come_back_as_such(quick: Memory) -> None:
    """They are not revived: whoever stores them may not be who wrote them."""
    thread = Thread(quick.checkpointer())
    ext = ormsgpack.Ext(0, ormsgpack.packb(["uuid", "UUID", "0" * 32]))
    thread.put({"ext": ext})
    found = thread.latest().metadata["ext"]  # type: ignore[typeddict-item]
    assert ormsgpack.packb(found) == ormsgpack.packb(ext)


def test_a_value_that_cannot_be_written_changes_nothing(quick: Memory) -> None:
    saver = quick.checkpointer()
    thread, _ = grown(saver, turns=3)
    before = stored(quick)
    with pytest.raises(TypeError):
        thread.put(bad=object())
    assert stored(quick) == before
