"""What hostile .pth files try. Prints the table of docs/weights.md:

python tests/hostile_torch_files.py
"""

from __future__ import annotations

import pickle
import struct
import tempfile
import warnings
import zipfile
from pathlib import Path

from torch_bytes import (
    LEGACY_START,
    MARK,
    START,
    STOP,
    call,
    legacy,
    named,
    plain,
    state_dict,
    storage,
    tensor,
    tuple_of,
    zipped,
)

from keras_mrcnn.weights import torch_files
from keras_mrcnn.weights.native import WeightsError

NAME = "model.pth"
SYSTEM, COMMAND = named("os", "system"), plain("touch hacked")
TOO_MANY = 1_000_001


def with_two_names():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python's own writer of archives minds
        return zipped(state_dict(tensor()), **{"data.pkl": state_dict(tensor())})


def with_shared_bytes():
    """Two members of the directory are the same bytes of the file."""
    content = zipped(state_dict(tensor()), {"0": bytes(2000), "1": b""})
    first, second = (content.rindex(f"archive/data/{key}".encode()) - 46 for key in (0, 1))
    shared = content[second : second + 16] + content[first + 16 : first + 28] + content[second + 28 : second + 42]
    return content[:second] + shared + content[first + 42 : first + 46] + content[second + 46 :]


def with_deep_tuples(depth):
    return START + plain(1) + b"\x85" * depth + STOP


def called_again_and_again():
    """A list of 1,000 pairs that 1,000 dicts are made of: few bytes, a million items."""
    pairs = plain([(str(index), index) for index in range(1000)]) + b"r" + struct.pack("<I", 1_000_000)
    again = named("collections", "OrderedDict") + b"j" + struct.pack("<I", 1_000_000) + b"\x85R"
    return START + MARK + pairs + again * 1000 + b"l" + STOP


def two_formats():
    return tensor(), tensor((2,), of=storage(count=2, kind="DoubleStorage"))


# What the file tries: (what is in it, what its refusal says).
CODE = {
    "calls `os.system` (GLOBAL, REDUCE)": (zipped(state_dict(call(SYSTEM, COMMAND))), "asks for os.system"),
    "calls it from within an optimizer's state": (
        zipped(state_dict(model=state_dict(tensor())[2:-1], optimizer=call(SYSTEM, COMMAND))),
        "asks for os.system",
    ),
    "names a function by two texts (STACK_GLOBAL)": (
        zipped(state_dict(call(plain("builtins") + plain("exec") + b"\x93", plain("0")))),
        "asks for builtins.exec",
    ),
    "makes an object of a class (INST)": (
        zipped(state_dict(MARK + COMMAND + b"isubprocess\nPopen\n")),
        "asks for subprocess.Popen",
    ),
    "makes an object of a class (NEWOBJ)": (
        zipped(state_dict(named("subprocess", "Popen") + tuple_of(COMMAND) + b"\x81")),
        "asks for subprocess.Popen",
    ),
    "makes an object of a class (OBJ)": (zipped(state_dict(MARK + named("torch", "Size") + b"o")), "has OBJ"),
    "makes an object of a registered class (EXT1)": (zipped(state_dict(b"\x82\x01")), "has EXT1"),
    "calls a function of torch that runs code": (
        zipped(state_dict(call(named("torch.hub", "load"), plain("user/repository")))),
        "asks for torch.hub.load",
    ),
    "reaches for what an allowed function has": (
        zipped(state_dict(plain("torch") + plain("_utils._rebuild_parameter.__globals__") + b"\x93")),
        "asks for torch._utils._rebuild_parameter.__globals__",
    ),
    "changes an allowed function (BUILD)": (
        zipped(state_dict(named("torch", "Size") + plain({"__name__": "x"}) + b"b")),
        "sets attributes of a function",
    ),
    "calls a value": (zipped(state_dict(call(plain("text")))), "calls what is no function"),
    "calls an allowed function with other arguments": (
        zipped(state_dict(call(named("torch._utils", "_rebuild_tensor_v2"), plain(1)))),
        "with other arguments",
    ),
    "is a pickle of Python, not torch's": (START + call(SYSTEM, COMMAND) + STOP, "asks for os.system"),
    "calls `os.system` in the format before torch 1.6": (
        legacy(state_dict(call(SYSTEM, COMMAND))),
        "asks for os.system",
    ),
    "calls it in a later pickle of that format": (
        LEGACY_START + state_dict(tensor()) + START + call(SYSTEM, COMMAND) + STOP,
        "asks for os.system",
    ),
}
SIZES = {
    "a storage has fewer bytes than its pickle says": (zipped(state_dict(tensor()), {"0": b"1234"}), "has 4 bytes"),
    "a view is larger than its storage": (zipped(state_dict(tensor((5,)))), "w0 reaches beyond"),
    "a view begins behind its storage": (zipped(state_dict(tensor(offset=1))), "w0 reaches beyond"),
    "a view strides out of its storage": (zipped(state_dict(tensor((2, 2), (3, 1)))), "w0 reaches beyond"),
    "a negative offset": (zipped(state_dict(tensor(offset=-1))), "no count"),
    "a negative stride": (zipped(state_dict(tensor(strides=(-1,)))), "no count"),
    "a negative size": (zipped(state_dict(tensor((-4,)))), "no count"),
    "a size that is no integer": (zipped(state_dict(tensor((4.0,)))), "no count"),
    "10^18 numbers, all the same one (stride 0)": (
        zipped(state_dict(tensor((10**9, 10**9), (0, 0)))),
        "more numbers than the file has bytes",
    ),
    "one storage under 200 names": (
        zipped(state_dict(*[tensor((1000,), of=storage(count=1000))] * 200), {"0": bytes(4000)}),
        "more numbers than the file has bytes",
    ),
    "an empty tensor of giant sides": (zipped(state_dict(tensor((0, 2**60, 2**60), (1, 1, 1)))), "too long"),
    "a size beyond 64 bits": (zipped(state_dict(tensor((2**80,)))), "no count"),
    "a tensor of 40 dimensions": (zipped(state_dict(tensor((1,) * 40, (1,) * 40))), "40 sizes"),
    "fewer strides than sizes": (zipped(state_dict(tensor((2, 2), (1,)))), "2 sizes and 1 strides"),
    "one storage in two formats": (zipped(state_dict(*two_formats())), "two formats or sizes"),
}
ARCHIVES = {
    "a compressed member (zip bomb)": (
        zipped(state_dict(tensor(of=storage(count=10**6))), {"0": bytes(4_000_000)}, zipfile.ZIP_DEFLATED),
        "larger than the whole file",
    ),
    "a compressed pickle": (zipped(state_dict(tensor()), None, zipfile.ZIP_DEFLATED), "compressed"),
    "two members of one name": (with_two_names(), "two members of one name"),
    "two members of the same bytes": (with_shared_bytes(), "larger than the whole file"),
    "a storage that is missing": (zipped(state_dict(tensor()), {}), "lacks the member archive/data/0"),
    "a storage outside the archive": (
        zipped(state_dict(tensor(of=storage("../../../../etc/passwd")))),
        "lacks the member archive/data/../../../../etc/passwd",
    ),
    "no pickle": (zipped(b"").replace(b"data.pkl", b"code.pkl"), "0 members data.pkl"),
    "a byte order that there is none of": (zipped(state_dict(tensor()), byteorder=b"middle"), "neither little nor big"),
    "an archive that is cut off": (zipped(state_dict(tensor()))[:-30], "zip directory is torn"),
    "an old file that is cut off": (legacy(state_dict(tensor()))[:-1], "cut off"),
    "an old file with other storages": (legacy(state_dict(tensor()), {"1": (4, bytes(16))}), "other storages"),
}
PICKLES = {
    "tuples in tuples, 100,000 deep": (zipped(with_deep_tuples(100_000)), "holds a tuple, not a state dict"),
    "such a tuple as the key of a dict": (
        zipped(START + b"}" + with_deep_tuples(100_000)[2:-1] + b"Ns" + STOP),
        "a key of type tuple",
    ),
    "large numbers as keys, which may share a hash": (
        zipped(START + b"}" + plain(2**61 - 1) + b"Ns" + STOP),
        "a key of type int",
    ),
    "the number of a memo entry that would take 64 GB": (
        zipped(START + b"Nr\xff\xff\xff\xffj\xfe\xff\xff\xff" + STOP),
        "its pickle is torn",
    ),
    "a text of 4 GB": (zipped(START + b"X\xff\xff\xff\xff" + STOP), "ends too early"),
    "a million instructions": (zipped(START + b"N" * TOO_MANY + STOP), "more than 1,000,000 instructions"),
    "dicts of the same long list, again and again": (
        zipped(called_again_and_again()),
        "more than 105,768 instructions",
    ),
    "a storage asked for by a text": (zipped(state_dict(plain("storage") + b"Q")), "in a way that torch does not"),
    "a storage asked for by another format than torch's": (
        zipped(state_dict(plain(("storage", "FloatStorage", "0", "cpu", 4)) + b"Q")),
        "in a way that torch does not",
    ),
    "a storage of -1 numbers": (zipped(state_dict(tensor(of=storage(count=-1)))), "in a way that torch does not"),
    "a weight whose name is a number": (
        zipped(START + b"}" + plain(3) + tensor() + b"s" + STOP),
        "holds 3 as the name",
    ),
    "a name with line breaks and colours": (
        zipped(state_dict(**{"a\n\x1b[31mb": plain(1)})),
        "a\\n\\x1b[31mb is an int",
    ),
    "a stack that is empty": (zipped(START + b"R" + STOP), "its pickle is torn"),
}
CASES = {**CODE, **SIZES, **ARCHIVES, **PICKLES}


def message_of(content: bytes, folder: Path) -> str:
    """What is said of a file of this content, which must be refused."""
    path = folder / NAME
    path.write_bytes(content)
    try:
        torch_files.read_state_dict(path)
    except WeightsError as error:
        return str(error).replace(str(path), NAME)
    raise AssertionError(f"a hostile file was read: {pickle.dumps(content[:80])!r}")


def table(folder: Path) -> str:
    """The table in docs/weights.md."""
    rows = (f"| {trick} | {message_of(content, folder)} |" for trick, (content, _) in CASES.items())
    return "\n".join(["| what the file tries | what is said |", "|---|---|", *rows])


if __name__ == "__main__":
    print(table(Path(tempfile.mkdtemp())))
