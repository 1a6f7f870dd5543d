"""Pickles, JSON and YAML that were made to do harm."""

import pickle
from itertools import pairwise

import numpy as np


def _calls(module: str, name: str, argument: str) -> dict[str, bytes]:
    """A call, in each way that a pickle can say it."""
    text = f"{len(argument)}".encode()
    pushed = b"X" + len(argument).to_bytes(4, "little") + argument.encode()
    named = f"{module}\n{name}\n".encode()
    short = b"".join(b"\x8c" + bytes([len(x)]) + x.encode() for x in (module, name))
    return {
        f"GLOBAL {name}": b"c" + named + pushed + b"\x85R.",
        f"STACK_GLOBAL {name}": b"\x80\x04" + short + b"\x93" + pushed + b"\x85R.",
        f"INST {name}": b"(" + pushed + b"i" + named + b".",
        f"OBJ {name}": b"(c" + named + pushed + b"o.",
        f"NEWOBJ {name}": b"\x80\x02c" + named + pushed + b"\x85\x81.",
        f"EXT {name}": b"\x80\x02\x82" + text[:1] + b".",
    }


def shared_lists(depth: int) -> list:
    """A list of two references to a list of two references …: small until it is an array."""
    value: list = [1.0, 1.0]
    for _ in range(depth):
        value = [value, value]
    return value


def deep_list(depth: int) -> bytes:
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


SHARED_TUPLES = b"K\x01" + b"2\x86" * 40
"""A pair of one pair twice, of one pair twice, … of a number: 2⁴⁰ numbers for who follows all."""
HOSTILE_PICKLES = {
    **_calls("os", "system", "true"),
    **_calls("builtins", "eval", "__import__('os').system('true')"),
    **_calls("builtins", "bytearray", "x"),
    **_calls("numpy", "zeros", "x"),
    **_calls("subprocess", "Popen", "true"),
    "numpy.zeros of 8 GB": b"\x80\x02cnumpy\nzeros\nJ\x00\x00\x00\x40\x85R.",
    "bytearray of 16 GB": b"\x80\x05\x96" + (1 << 34).to_bytes(8, "little") + b".",
    "bytes of 16 GB": b"\x80\x05\x8e" + (1 << 34).to_bytes(8, "little") + b".",
    "text of 16 GB": b"\x80\x05\x8d" + (1 << 34).to_bytes(8, "little") + b".",
    "frame of 16 GB": b"\x80\x05\x95" + (1 << 34).to_bytes(8, "little") + b".",
    "memo of 4 G": b"\x80\x02K\x01r\xff\xff\xff\xff.",
    "deep": deep_list(100_000),
    "deep, then an end": deep_list(900),
    "itself": b"\x80\x02]q\x00h\x00a.",
    "persistent": b"Px\n.",
    "attribute of a class": b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.__init__\x93.",
    "shared lists": pickle.dumps(shared_lists(29)),
    "shared lists in a label": pickle.dumps(
        {"handPose": shared_lists(29), "v_template": shared_lists(29)}
    ),
    "huge number": pickle.dumps(10**100_000),
    "huge number in a label": pickle.dumps({"handPose": [10**100_000], "camMat": 10**100_000}),
    "hash of shared tuples": b"\x80\x02}" + SHARED_TUPLES + b"K\x01s.",
    "hash of shared tuples, several": b"\x80\x02}(" + SHARED_TUPLES + b"K\x01u.",
    "hash of shared tuples, in a dictionary": b"(" + SHARED_TUPLES + b"I1\nd.",
    "hash of shared tuples, in a set": b"\x80\x04\x8f(" + SHARED_TUPLES + b"\x90.",
    "hash of shared tuples, in a frozen set": b"\x80\x04(" + SHARED_TUPLES + b"\x91.",
    "hash of shared tuples, called": b"\x80\x02cbuiltins\nset\n](" + SHARED_TUPLES + b"e\x85R.",
    "repr of shared tuples": b"cnumpy.core.multiarray\n_reconstruct\n"
    + SHARED_TUPLES
    + b"K\x00\x85C\x01b\x87R.",
    "repr of a shared dtype": b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n"
    + SHARED_TUPLES
    + b"\x85RC\x01b\x86R.",
    "repr of a shared encoding": b"c_codecs\nencode\nX\x01\x00\x00\x00x"
    + SHARED_TUPLES
    + b"\x86R.",
    "repr of a huge number": b"cnumpy.core.multiarray\n_reconstruct\n"
    + pickle.dumps(10**100_000, 2)[2:-1]
    + b"K\x00\x85C\x01b\x87R.",
    "one array often": pickle.dumps({"handJoints3D": [[np.zeros(1 << 17)] * 100] * 100}),
    "surrogates": pickle.dumps({"objName": "\ud800", "\ud800": 1}),
}

# ------------------------------------------------------------------------------------- text

DEEP_JSON = b"[" * 100_000 + b"]" * 100_000
HOSTILE_JSON = {
    "deep": DEEP_JSON,
    "deep object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep in an object": b'{"format": 1, "K": ' + b"[" * 900 + b"]" * 900 + b"}",
    "NaN": b'{"a": NaN}',
    "huge number": b'{"a": ' + b"9" * 100_000 + b"}",
    "twice the same": b'{"a": 1, "a": [], "format": 1, "format": 2}',
    "number beyond floats": b'{"a": 1e999999}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "lone surrogate": b'{"a": "\\ud800"}',
    "nothing": b"",
    "no text": b"\xff\xfe\xfa",
}


def _laughs(separator: str, first: str) -> bytes:
    names = "abcdefghij"
    lines = [first]
    for before, name in pairwise(names):
        lines.append(f"{name}: &{name} " + separator % ",".join([f"*{before}"] * 9))
    return "\n".join(lines).encode()


HOSTILE_YAML = {
    "deep lists": b"[" * 100_000,
    "deep mappings": b"{a: " * 100_000,
    "deep blocks": b"- " * 20_000,
    "a billion laughs": _laughs("[%s]", "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]"),
    "merged laughs": _laughs("{<<: [%s]}", "a: &a {k: 1}"),
    "laughs where a value belongs": _laughs("[%s]", "a: &a [1]").replace(b"j: &j", b"color: &j"),
    "itself": b"color: &a [*a]\nbetas: &b {c: *b}\n",
    "call": b"!!python/object/apply:os.system ['true']",
    "new": b"betas: !!python/object/new:os.system ['true']",
    "name": b"betas: !!python/name:os.system",
    "module": b"betas: !!python/module:antigravity",
    "tuple of a mapping": b"betas: !!python/tuple {a: 1}",
    "tuple of text": b"betas: !!python/tuple x",
    "list as a key": b"? [1, 2]\n: 1\n",
    "base 60": b"num_frames: " + b"1:" * 20_000 + b"1",
    "bits": b"num_frames: 0b" + b"1" * 100_000,
    "digits": b"color: 0x" + b"f" * 100_000 + b"\nbetas: 0x" + b"f" * 100_000,
    "binary": b"betas: !!binary x\n",
    "date": b"betas: 2020-99-99\n",
    "int of nothing": b"betas: !!int ''\n",
    "float of text": b"betas: !!float x\n",
    "omap": b"betas: !!omap [1]\n",
    "timestamp": b"betas: !!timestamp x\n",
    "bool": b"betas: !!bool x\n",
    "set": b"betas: !!set {a: 1}\n",
    "two documents": b"a: 1\n---\nb: 2\n",
    "zero": b"a: \x00",
}  # fmt: skip
