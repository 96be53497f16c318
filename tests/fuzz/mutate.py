"""Damage of files at random: bytes, texts of numbers and words, ONNX models, arrays in a zip."""

from __future__ import annotations

import io
import random
import re
import zipfile
from collections.abc import Callable

from onnx import ModelProto

#: What stands in place of a value of a text file.
_WORDS = (
    *("0", "-1", "1", "3", "65537", "1e308", "-1e-308", "1e400", ".nan", ".inf", "-.inf", "NaN"),
    *("99999999999999999999", "1" * 400, "0x10", "1_000", "null", "~", "true", "[]", "{}", "''"),
    *("[1, 2]", "{a: 1}", "../../x", "/dev/zero", "a b", "\u00e9\u4e2d", "x" * 5000, "<b>", "*x"),
    *('"', "&a", "!!python/object:os.system", "2026-01-01", "W", "C", "w9a1", "w4a8", "-", ":"),
)
_TOKEN = re.compile(r"[A-Za-z0-9_.+-]+")
_DIMS = (0, 1, 2, 3, 7, -1, 1 << 20, 1 << 40, (1 << 63) - 1)
_OPERATORS = ("Conv", "Gemm", "Add", "Concat", "Softmax", "Reshape", "Clip", "MaxPool", "Loop", "")


def mutate_bytes(content: bytes, dice: random.Random) -> bytes:
    """Flip, cut, repeat or insert bytes."""
    data = bytearray(content)
    for _ in range(dice.choice((1, 1, 2, 8))):
        place = dice.randrange(len(data) + 1)
        length = dice.choice((1, 2, 8, 100))
        match dice.randrange(4):
            case 0 if place < len(data):
                data[place] = dice.randrange(256)
            case 1:
                del data[place : place + length]
            case 2:
                data[place:place] = data[place : place + length]
            case _:
                data[place:place] = dice.randbytes(length)
    return bytes(data)


def mutate_text(content: bytes, dice: random.Random) -> bytes:
    """Replace words, or drop, repeat and move lines; sometimes bytes."""
    if dice.random() < 0.1:
        return mutate_bytes(content, dice)
    text = content.decode("utf-8", "replace")
    for _ in range(dice.choice((1, 1, 2, 4))):
        if dice.random() < 0.7:
            tokens = list(_TOKEN.finditer(text))
            if tokens:
                found = dice.choice(tokens)
                text = text[: found.start()] + dice.choice(_WORDS) + text[found.end() :]
            continue
        lines = text.split("\n")
        place, other = dice.randrange(len(lines)), dice.randrange(len(lines))
        match dice.randrange(3):
            case 0:
                del lines[place]
            case 1:
                lines.insert(other, lines[place])
            case _:
                lines[place] = " " * dice.randrange(9) + lines[place].lstrip()
        text = "\n".join(lines)
    return text.encode("utf-8", "surrogateescape")


def mutate_onnx(content: bytes, dice: random.Random) -> bytes:
    """Change nodes, attributes, shapes and types of a model; sometimes bytes."""
    if dice.random() < 0.25:
        return mutate_bytes(content, dice)
    model = ModelProto.FromString(content)
    for _ in range(dice.choice((1, 1, 2, 3))):
        dice.choice(_ONNX_CHANGES)(model, dice)
    return model.SerializeToString()


def _node(model: ModelProto, dice: random.Random) -> None:
    node = dice.choice(model.graph.node)
    names = [name for one in model.graph.node for name in (*one.input, *one.output)]
    names += [tensor.name for tensor in model.graph.initializer] + ["", "input"]
    match dice.randrange(5):
        case 0 if node.input:
            node.input[dice.randrange(len(node.input))] = dice.choice(names)
        case 1 if node.input:
            del node.input[dice.randrange(len(node.input)) :]
        case 2:
            node.op_type = dice.choice(_OPERATORS)
        case 3:
            node.output[0] = dice.choice(names)
        case _:
            node.input.append(dice.choice(names))


def _attribute(model: ModelProto, dice: random.Random) -> None:
    with_attributes = [node for node in model.graph.node if node.attribute]
    if not with_attributes:
        return
    attribute = dice.choice(dice.choice(with_attributes).attribute)
    if attribute.ints:
        attribute.ints[dice.randrange(len(attribute.ints))] = dice.choice(_DIMS)
    elif dice.random() < 0.5:
        attribute.i = dice.choice(_DIMS)
    else:
        attribute.type = dice.randrange(1, 12)


def _constant(model: ModelProto, dice: random.Random) -> None:
    tensor = dice.choice(model.graph.initializer)
    match dice.randrange(5):
        case 0:
            tensor.dims.append(dice.choice(_DIMS))
        case 1 if tensor.dims:
            tensor.dims[dice.randrange(len(tensor.dims))] = dice.choice(_DIMS)
        case 2:
            tensor.data_type = dice.randrange(27)
        case 3:
            tensor.raw_data = dice.randbytes(len(tensor.raw_data))  # any float, NaN and inf too
        case _:
            tensor.raw_data = tensor.raw_data[: dice.randrange(len(tensor.raw_data) + 1)]


def _interface(model: ModelProto, dice: random.Random) -> None:
    value = dice.choice([*model.graph.input, *model.graph.output])
    dims = value.type.tensor_type.shape.dim
    match dice.randrange(4):
        case 0 if dims:
            dims[dice.randrange(len(dims))].dim_value = dice.choice(_DIMS)
        case 1:
            value.type.tensor_type.elem_type = dice.randrange(27)
        case 2:
            value.name = dice.choice(("", "x", "nobody", "a\nb"))
        case _:
            dims.add(dim_value=dice.choice(_DIMS))


def _model(model: ModelProto, dice: random.Random) -> None:
    match dice.randrange(4):
        case 0:
            model.opset_import[0].version = dice.choice((0, 1, 6, 7, 13, 25, 99, -1))
        case 1:
            model.opset_import[0].domain = "x"
        case 2:
            del model.graph.node[dice.randrange(len(model.graph.node))]
        case _:
            nodes = list(model.graph.node)
            dice.shuffle(nodes)
            del model.graph.node[:]
            model.graph.node.extend(nodes)


_ONNX_CHANGES: tuple[Callable[[ModelProto, random.Random], None], ...] = (
    _node,
    _node,
    _attribute,
    _constant,
    _interface,
    _model,
)


def mutate_npz(content: bytes, dice: random.Random) -> bytes:
    """Damage the arrays inside, or the archive itself."""
    if dice.random() < 0.4:
        return mutate_bytes(content, dice)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = dice.choice(list(files))
    head, rest = files[name][:128], files[name][128:]
    match dice.randrange(4):
        case 0:
            files[name] = mutate_text(head, dice) + rest
        case 1:
            files[name] = mutate_bytes(files[name], dice)
        case 2:
            del files[name]
        case _:
            files[dice.choice(("images.npy", "part.npy", "x", "../y.npy"))] = files[name]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for key, value in files.items():
            archive.writestr(key, value)
    return out.getvalue()


def mutation_of(name: str) -> Callable[[bytes, random.Random], bytes]:
    """What damages a file of this name."""
    suffix = name.rsplit(".", 1)[-1]
    return {"onnx": mutate_onnx, "npz": mutate_npz, "bin": mutate_bytes}.get(suffix, mutate_text)
