"""Reads pickles as plain data: it imports, calls and changes nothing that a pickle names.

Python's own unpickler is not safe here. Even with a list of allowed names, it sets attributes of the objects on that
list, and a few bytes can make it reserve gigabytes.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

# A checkpoint has about 40 for each tensor.
MOST_INSTRUCTIONS = 1_000_000
LONGEST_NAME = 200

NAMES = {value: name for name, value in vars(pickle).items() if name in pickle.__all__ and isinstance(value, bytes)}
CONSTANTS = {pickle.NONE: None, pickle.NEWTRUE: True, pickle.NEWFALSE: False, pickle.EMPTY_TUPLE: ()}
NUMBERS = {pickle.BININT: "<i", pickle.BININT1: "<B", pickle.BININT2: "<H", pickle.BINFLOAT: ">d"}
# A length of this format follows the instruction, and then as many bytes.
TEXTS = {
    pickle.BINUNICODE: "<I", pickle.SHORT_BINUNICODE: "<B", pickle.BINUNICODE8: "<Q",
    pickle.BINSTRING: "<I", pickle.SHORT_BINSTRING: "<B",  # of Python 2
}  # fmt: skip
BYTES = {pickle.BINBYTES: "<I", pickle.SHORT_BINBYTES: "<B", pickle.BINBYTES8: "<Q"}
PUTS = {pickle.BINPUT: "<B", pickle.LONG_BINPUT: "<I"}
GETS = {pickle.BINGET: "<B", pickle.LONG_BINGET: "<I"}
TUPLES = {pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3}
IGNORED = {pickle.PROTO: 1, pickle.FRAME: 8}  # and the number of bytes that follow


class PickleError(ValueError):
    """A pickle that cannot be read; the message follows the name of a file in a sentence."""


class ForeignObjectError(PickleError):
    """A pickle that asks for something that is not plain data."""


def shortened(name: str) -> str:
    """Returns a name from a file as one short line of ASCII, for messages."""
    return ascii(name)[1:-1][:LONGEST_NAME]


@dataclass(frozen=True)
class Opaque:
    """Harmless value of which only the kind is kept, for messages."""

    kind: str


class PlainUnpickler:
    """Reader for pickles of None, bool, int, float, str, bytes, tuple, list, dict and what `names` and `storage` add.

    Memory stays in proportion to the length of the pickle. Nesting may be of any depth, for there is no recursion.

    Args:
        data: bytes that hold the pickle.
        names: the global names that a pickle may ask for, and the value of each. The pickle chooses the arguments of
            functions among them, so they must expect anything.
        storage: function that returns the value of a persistent id, which may be anything that a pickle holds.
    """

    def __init__(self, data: memoryview, names: Mapping[str, object], storage: Callable[[object], object]):
        self.data, self.storage = data, storage
        self.names = {**names, "collections.OrderedDict": self._ordered_dict}
        self.position, self.instructions = 0, 0
        # An instruction takes at least one byte, but a value counts each time that it is used again.
        self.most_instructions = min(MOST_INSTRUCTIONS, 2 * len(data))
        self.stack: list = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.actions = self._actions()

    def load(self, start: int = 0) -> tuple[object, int]:
        """Reads the pickle at `start`; returns its value and the position of the first byte after it.

        Raises:
            PickleError: the pickle is torn, or has more than `MOST_INSTRUCTIONS`.
            ForeignObjectError: the pickle asks for a name that is not allowed.
        """
        self.position, self.stack, self.marks, self.memo = start, [], [], {}
        try:
            while (code := self._take(1)) != pickle.STOP:
                self._count(1)
                self._run(code)
            return self.stack.pop(), self.position
        except (IndexError, KeyError, struct.error, UnicodeDecodeError):
            raise PickleError("its pickle is torn") from None

    def _run(self, code: bytes) -> None:
        push = self.stack.append
        if code in CONSTANTS:
            push(CONSTANTS[code])
        elif code in NUMBERS:
            push(self._number(NUMBERS[code]))
        elif code in TEXTS:
            push(str(self._take(self._number(TEXTS[code])), "utf-8"))
        elif code in BYTES:
            push(self._take(self._number(BYTES[code])))
        elif code in PUTS:
            self.memo[self._number(PUTS[code])] = self.stack[-1]
        elif code in GETS:
            push(self.memo[self._number(GETS[code])])
        elif code in TUPLES:
            push(tuple(self._pop(TUPLES[code])))
        elif code in IGNORED:
            self._take(IGNORED[code])
        elif code in self.actions:
            self.actions[code]()
        else:
            raise PickleError(f"its pickle has {NAMES.get(code, 'a byte')} where torch has none ({code[0]:#04x})")

    def _actions(self) -> dict[bytes, Callable[[], object]]:
        push = lambda make: lambda: self.stack.append(make())  # noqa: E731
        return {
            pickle.MARK: lambda: self.marks.append(len(self.stack)),
            pickle.MEMOIZE: lambda: self.memo.update({len(self.memo): self.stack[-1]}),
            pickle.LONG1: push(lambda: int.from_bytes(self._take(self._number("<B")), "little", signed=True)),
            pickle.EMPTY_DICT: push(dict),
            pickle.EMPTY_LIST: push(list),
            pickle.EMPTY_SET: push(lambda: Opaque("set")),
            pickle.TUPLE: push(lambda: tuple(self._pop_to_mark())),
            pickle.LIST: push(self._pop_to_mark),
            pickle.DICT: push(lambda: self._extended({}, self._pop_to_mark())),
            pickle.FROZENSET: push(self._frozenset),
            pickle.SETITEM: lambda: self._set_items(self._pop(2)),
            pickle.SETITEMS: lambda: self._set_items(self._pop_to_mark()),
            pickle.APPEND: lambda: self._append(self._pop(1)),
            pickle.APPENDS: lambda: self._append(self._pop_to_mark()),
            pickle.ADDITEMS: lambda: self._add(self._pop_to_mark()),
            pickle.GLOBAL: push(lambda: self._named(self._line(), self._line())),
            pickle.STACK_GLOBAL: push(lambda: self._named(*self._pop(2))),
            pickle.INST: push(lambda: self._foreign(f"{self._line()}.{self._line()}")),
            pickle.REDUCE: push(lambda: self._called(*self._pop(2))),
            pickle.NEWOBJ: push(lambda: self._called(*self._pop(2))),
            pickle.BUILD: lambda: self._build(self._pop(1)),
            pickle.BINPERSID: push(lambda: self.storage(self._pop(1)[0])),
        }

    # Bytes.

    def _take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise PickleError("its pickle ends too early")
        taken = bytes(self.data[self.position : end])
        self.position = end
        return taken

    def _number(self, form: str) -> int | float:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _line(self) -> str:
        ahead = bytes(self.data[self.position : self.position + LONGEST_NAME])
        line, newline, _ = ahead.partition(b"\n")
        if not newline:
            raise PickleError("its pickle has a name that does not end")
        self.position += len(line) + 1
        return str(line, "utf-8")

    # The stack.

    def _count(self, instructions: int) -> None:
        self.instructions += instructions
        if self.instructions > self.most_instructions:
            raise PickleError(f"its pickle has more than {self.most_instructions:,} instructions")

    def _pop(self, count: int) -> list:
        if len(self.stack) < count:
            raise IndexError
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def _pop_to_mark(self) -> list:
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    # Containers.

    def _set_items(self, items: list) -> None:
        if not isinstance(self.stack[-1], Opaque):
            self._extended(self.stack[-1], items)

    def _extended(self, target: object, items: list) -> dict:
        if type(target) is not dict or len(items) % 2:
            raise PickleError("its pickle sets items of what is no dict")
        for key, value in zip(items[::2], items[1::2]):
            # Hashing a deep tuple ends the process, and large numbers can be chosen to share one hash.
            if not (isinstance(key, str) or (isinstance(key, int) and abs(key) < 2**60)):
                raise PickleError(f"its pickle has a dict with a key of type {type(key).__name__}")
            target[key] = value
        return target

    def _append(self, items: list) -> None:
        if type(self.stack[-1]) is not list:
            raise PickleError("its pickle appends to what is no list")
        self.stack[-1].extend(items)

    def _add(self, items: list) -> None:
        if not isinstance(self.stack[-1], Opaque):
            raise PickleError("its pickle adds to what is no set")

    def _frozenset(self) -> Opaque:
        self._pop_to_mark()
        return Opaque("frozenset")

    def _ordered_dict(self, pairs: Sequence = ()) -> dict:
        self._count(len(pairs))  # as in `_called`
        if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
            raise PickleError("its pickle makes an OrderedDict of what are no pairs")
        return self._extended({}, [value for pair in pairs for value in pair])

    # Names.

    def _named(self, module: str, name: str) -> object:
        full = f"{module}.{name}"
        return self.names[full] if full in self.names else self._foreign(full)

    def _foreign(self, name: str) -> NoReturn:
        raise ForeignObjectError(f"asks for {shortened(name)}")

    def _called(self, function: object, arguments: object) -> object:
        if not callable(function) or type(arguments) is not tuple:
            raise PickleError("its pickle calls what is no function")
        self._count(len(arguments))  # a pickle may use the same ones again and again
        try:
            return function(*arguments)
        except TypeError:
            raise PickleError("its pickle calls a function with other arguments than torch does") from None

    def _build(self, _: list) -> None:
        # Attributes besides the items, such as the version numbers of a state dict, do not matter here.
        if not isinstance(self.stack[-1], (dict, Opaque)):
            raise PickleError(f"its pickle sets attributes of a {type(self.stack[-1]).__name__}")
