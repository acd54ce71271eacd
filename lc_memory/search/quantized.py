"""Has onnxruntime compute in the 8 bits that a model's weights are stored in."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto

#: What is looked at of ONNX's messages (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto);
#: the rest goes through as it is. Fields: their number, and a message or a type; many end in "*".
_MESSAGES: Final[dict[str, dict[str, tuple[int, str]]]] = {
    "Model": {"graph": (7, "Graph"), "opset_import": (8, "Opset*")},
    "Graph": {"node": (1, "Node*"), "initializer": (5, "Tensor*")},
    "Node": {
        "input": (1, "string*"),
        "output": (2, "string*"),
        "op_type": (4, "string"),
        "domain": (7, "string"),
    },
    "Tensor": {"dims": (1, "int64*"), "data_type": (2, "int32"), "name": (8, "string")},
    "Opset": {"domain": (1, "string"), "version": (2, "int64")},
}
_INT8: Final = 3
_OURS: Final = "lc_memory.onnx"
_DOMAIN: Final = "com.microsoft"


def in_integers(model: bytes) -> bytes:
    """The ONNX model with its products of matrices computed in integers.

    A model whose weights are 8-bit integers with a scale for each column may be published with
    steps that make floats of them (``Cast``, ``Mul``, ``MatMul``): four times the memory to go
    through for each text, and that is what takes the time. Those three become onnxruntime's
    ``DynamicQuantizeMatMul``. Other steps stay as they are.
    """
    parsed = _message("Model").FromString(model)
    nodes, tensors = parsed.graph.node, {held.name: held for held in parsed.graph.initializer}
    makers = {name: node for node in nodes for name in node.output}
    passed_by: set[str] = set()
    for node in nodes:
        if node.op_type != "MatMul":
            continue
        scaled = makers.get(node.input[1])
        if scaled is None or scaled.op_type != "Mul":
            continue
        cast = makers.get(scaled.input[0])
        if cast is None or cast.op_type != "Cast":
            continue
        weights, scale = tensors.get(cast.input[0]), tensors.get(scaled.input[1])
        if weights is None or scale is None or weights.data_type != _INT8:
            continue
        if len(weights.dims) != 2 or [*scale.dims] not in ([1, weights.dims[1]], weights.dims[1:]):
            continue
        node.op_type, node.domain = "DynamicQuantizeMatMul", _DOMAIN
        scale.dims[:] = weights.dims[1:]
        node.input[1:] = [weights.name, scale.name]
        passed_by |= {*scaled.output, *cast.output}
    for i in reversed(range(len(nodes))):  # a step comes after those that it needs
        if passed_by.issuperset(nodes[i].output) and not _used(nodes, nodes[i]):
            del nodes[i]
    if passed_by and all(held.domain != _DOMAIN for held in parsed.opset_import):
        parsed.opset_import.add(domain=_DOMAIN, version=1)
    changed: bytes = parsed.SerializeToString()
    return changed


def _used(nodes: Any, maker: Any) -> bool:
    return any(name in maker.output for node in nodes for name in node.input)


@cache
def _message(name: str) -> Any:
    """The class of a message."""
    file = descriptor_pb2.FileDescriptorProto(name="lc_memory/onnx.proto", package=_OURS)
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for field, (number, kind) in fields.items():
            plain = kind.removesuffix("*")
            many = kind.endswith("*")
            told = described.field.add(
                name=field,
                number=number,
                label=_Field.LABEL_REPEATED if many else _Field.LABEL_OPTIONAL,
            )
            if plain in _MESSAGES:
                told.type, told.type_name = _Field.TYPE_MESSAGE, f".{_OURS}.{plain}"
            else:
                told.type = getattr(_Field, f"TYPE_{plain.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_OURS}.{name}"))
