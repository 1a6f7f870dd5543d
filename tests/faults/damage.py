"""Hostile bytes, drawn by a seed, out of the bytes of whole files."""

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

import yaml

from deformer.files.sealed import SEAL


class Hostile(NamedTuple):
    """One input, and how it was made, so that a failure can be made again."""

    data: bytes
    how: str


Draw = Callable[[Random], Hostile]
"""Draws an input. With the same random numbers it is the same one, in any process: Hypothesis
draws numbers that it finds in the modules that happen to be loaded."""


def one_of(*draws: Draw) -> Draw:
    return lambda rng: rng.choice(draws)(rng)


def changed(draw: Draw, change: Callable[[bytes], bytes]) -> Draw:
    """What is drawn, inside something else."""

    def make(rng: Random) -> Hostile:
        data, how = draw(rng)
        return Hostile(change(data), how)

    return make


_EXTREME = (0, -1, 1, 127, -128, 2**15, 2**16 - 1, 2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**62)
NUMBERS = tuple(
    (number % 2 ** (8 * width)).to_bytes(width, order)
    for number in (*_EXTREME, 2**63 - 1, 2**63, 10**9)
    for width in (1, 2, 4, 8)
    for order in ("little", "big")
)
WORDS = (
    b"0", b"-1", b"NaN", b"-Infinity", b"1e999", b"1e-999", b"0.5", b"null", b"true", b'""', b"[]",
    b"{}", b"9223372036854775808", b"1" * 5000, b"1" * 400, b'"\\u0000"', b"'\\ud800'", b"\xff",
    b"../../../tmp/x", b"/etc/passwd", b"4294967296", b"[[[[[[[[]]]]]]]]",
)  # fmt: skip
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def _place(data: bytearray, at: int) -> int:
    """A position: anywhere, or (half of the time) among the first or last 64 bytes."""
    size, kind = len(data) + 1, at % 4
    near = (at >> 2) % min(size, 64)
    return {0: near, 1: size - 1 - near}.get(kind, (at >> 2) % size)


def _flip(data, at, more):
    if data:
        data[_place(data, at) % len(data)] ^= 1 << more % 8


def _cut(data, at, more):
    del data[_place(data, at) :]


def _insert(data, at, more):
    place = _place(data, at)
    data[place:place] = Random(more).randbytes(1 + more % 64)


def _block(data, at, more) -> slice:
    place = _place(data, at)
    return slice(place, place + (1 << more % 12))


def _delete(data, at, more):
    del data[_block(data, at, more)]


def _double(data, at, more):
    block = _block(data, at, more)
    data[block] = data[block] * (2 + (more >> 8) % 3)


def _zero(data, at, more):
    block = _block(data, at, more)
    data[block] = bytes(len(data[block]))


def _swap(data, at, more):
    one = data[_block(data, at, more)]
    del data[_block(data, at, more)]
    there = _place(data, more)
    data[there:there] = one


def _number(data, at, more):
    number, place = NUMBERS[more % len(NUMBERS)], _place(data, at)
    data[place : place + len(number)] = number


def _word(data, at, more):
    """In text: put another word in the place of a number."""
    found = [match.span() for match in _NUMBER.finditer(data[:100_000])]
    if found:
        first, last = found[at % len(found)]
        data[first:last] = WORDS[more % len(WORDS)]


EDITS = (_flip, _cut, _insert, _delete, _double, _zero, _swap, _number, _word)
_Step = tuple[Callable, int, int]


def _steps(rng: Random) -> list[_Step]:
    return [(rng.choice(EDITS), _any(rng), _any(rng)) for _ in range(rng.randint(1, 4))]


def _any(rng: Random) -> int:
    return rng.getrandbits(32)


def edited(data: bytes, steps: Sequence[_Step]) -> bytes:
    """The bytes after some edits, each a function of `EDITS` with two numbers that place it."""
    changed = bytearray(data)
    for edit, at, more in steps:
        edit(changed, at, more)
    return bytes(changed)


def damaged(wholes: dict[str, bytes]) -> Draw:
    """Whole files by name → one of them with bits flipped, blocks cut, inserted, doubled, moved or
    zeroed, numbers replaced by extreme ones, or with the end of another; seldom any bytes."""
    names = sorted(wholes)

    def damage(rng: Random) -> Hostile:
        if not rng.randrange(8):
            noise = rng.randbytes(rng.randrange(257))
            return Hostile(noise, f"noise: {noise!r}")
        which, steps = rng.choice(names), _steps(rng)
        data, how = edited(wholes[which], steps), [f"{e.__name__}({a}, {m})" for e, a, m in steps]
        if not rng.randrange(4):
            other, at = rng.choice(names), _any(rng)
            end = wholes[other][at % (len(wholes[other]) + 1) :]
            data = data[: _place(bytearray(data), at)] + end
            how.append(f"splice({other!r}, {at})")
        return Hostile(data, f"{which!r}: {', '.join(how)}")

    return damage


def rebuilt(parts: dict[str, bytes], build: Callable[[dict[str, bytes]], bytes]) -> Draw:
    """As `damaged`, of one part of a container, which `build` then closes with right checksums:
    damage that a checksum does not stop. parts: bytes by name."""
    names = sorted(parts)

    def close(rng: Random) -> Hostile:
        which, steps = rng.choice(names), _steps(rng)
        data = build(parts | {which: edited(parts[which], steps)})
        return Hostile(data, f"part {which!r}: {[(e.__name__, a, m) for e, a, m in steps]}")

    return close


# ------------------------------------------------------------------------------- JSON and YAML

_DEEP: object = 1
for _ in range(50):
    _DEEP = [_DEEP]
VALUES = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.5, 1e308, float("nan"),
    float("inf"), -float("inf"), "", "x", "\x00", "\ud800", "../../../tmp/x", "/etc/passwd", "1",
    "a" * 70_000, [], {}, [1], [None], {"a": 1}, {"": {}}, [[]], [float("nan")] * 3, _DEEP,
    list(range(1000)),
)  # fmt: skip


def spots(value: object, path: tuple = ()) -> list[tuple]:
    """The paths to every value inside a JSON value; the empty path is the whole."""
    items = (
        value.items() if isinstance(value, dict)
        else enumerate(value) if isinstance(value, list) else ()
    )  # fmt: skip
    return [path, *(p for key, inner in items for p in spots(inner, (*path, key)))]


def replaced(value: object, path: tuple, new: Callable[[dict | list, object], None]) -> object:
    """A copy of a JSON value in which `new(container, key)` changed the value at a path."""
    if not path:
        box = [value]
        new(box, 0)
        return box[0] if box else None
    copy = value.copy()
    if len(path) == 1:
        new(copy, path[0])
    else:
        copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def _change(how: int):
    def put(container, key):
        if how < len(VALUES):
            container[key] = VALUES[how]
        elif how == len(VALUES):
            del container[key]
        elif isinstance(container, dict):
            container[f"{key}x"] = container[key]
        else:
            container.append(container[key])

    return put


def json_values(value: object, write: Callable[[object], bytes]) -> Draw:
    """JSON values, each with one to three values of wrong type, extreme, lacking or added, as
    `write` writes them."""

    def make(rng: Random) -> Hostile:
        made, how = value, []
        for _ in range(rng.randint(1, 3)):
            path, kind = rng.choice(spots(made)), rng.randrange(len(VALUES) + 2)
            made = replaced(made, path, _change(kind))
            how.append(f"{path} by {repr(VALUES[kind])[:40] if kind < len(VALUES) else kind}")
        return Hostile(write(made), f"JSON: {'; '.join(how)}")

    return make


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def of_json(content: object) -> Draw:
    """Damaged text, and values of wrong kinds in whole JSON, without its own sum: with one, all
    damage would be found by that."""
    if isinstance(content, dict):
        content = {name: value for name, value in content.items() if name != SEAL}
    return one_of(damaged({"x": as_json(content)}), json_values(content, as_json))


def of_yaml(content: dict) -> Draw:
    def write(value: object) -> bytes:
        return yaml.safe_dump(value).encode("utf-8", "replace")

    return one_of(damaged({"x": write(content)}), json_values(content, write))
