"""
Reads pickles as data: it never looks up what a pickle names.

A pickle is a program. Here it gets functions of ours for the few names that data need. It can call
nothing else, and it can change nothing but the containers that it made itself.

The interpreter is the one that the standard library has in Python: it can be told which opcodes
there are, and its memory cannot be corrupted.
"""

import pickle
from collections import Counter, OrderedDict
from types import FunctionType
from typing import IO, Any, Callable, Dict, Iterable, List, Tuple

import numpy as np


class CodeError(ValueError):
    """
    The file holds more than data. The message is the end of a sentence that begins with its name.
    """

    def __init__(self, name: str):
        # The name is the file's own text: it may hold line feeds and commands for the terminal.
        shown = name[:100].encode("unicode_escape").decode()
        super().__init__(
            f"hold a Python object ({shown}), and loading such objects can run any code; if you "
            "trust the file, allow that with --trust-weights, or save the model's state_dict alone"
        )


MAX_OPCODES = 1_000_000  # checkpoints have thousands


class Budget:
    """
    Limits what reading a file may cost.

    One byte of a pickle can make a set of 216 bytes, and two bytes another copy of the largest
    array. Without a limit a small file fills the memory, or takes for ever.

    Args:
        size: the file's size, in bytes.
    """

    def __init__(self, size: int):
        self.opcodes = MAX_OPCODES
        # The unit is bytes or items. Some protocols copy bytes twice: from text, and to an array.
        self.copied = 4 * size + 2**20

    def spend(self, arguments: Tuple) -> None:
        """Raises ValueError where ``arguments`` of a call are more than what is left."""
        sized = (str, bytes, bytearray, list, tuple, dict)
        self.copied -= sum(len(argument) for argument in arguments if isinstance(argument, sized))
        if self.copied < 0:
            raise ValueError("a pickle that unpacks to many times its size")


class DataUnpickler(pickle._Unpickler):
    """
    Reads a pickle without looking up what it names.

    Args:
        file: a file that can be searched; it is read from where it is.
        names: (module, name) in the pickle -> a function, which it may call, or a value.
        states: type -> function of a value of this type and of the state that a pickle gives it.
        budget: shared by the pickles of a file.
    """

    # The base class has these, without type hints.
    stack: List[Any]
    memo: Dict[int, Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], List[Any]]
    readline: Callable[[], bytes]
    load_binbytes8: Callable[[], None]

    def __init__(
        self,
        file: IO[bytes],
        names: Dict[Tuple[str, str], Any],
        states: Dict[type, Callable],
        budget: Budget,
    ):
        # Latin-1 is the encoding of byte strings of Python 2 in Detectron's model zoos.
        super().__init__(file, encoding="latin1")
        self.names, self.states, self.budget = names, states, budget

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.names:
            raise CodeError(f"{module}.{name}")
        return self.names[module, name]

    def load_inst(self) -> None:
        raise CodeError(".".join(self.readline()[:-1].decode("utf-8", "replace") for _ in range(2)))

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not FunctionType or type(arguments) is not tuple:
            raise pickle.UnpicklingError("a call of what is no function")
        self.budget.spend(arguments)
        self.append(function(*arguments))

    def load_build(self) -> None:
        state, value = self.stack.pop(), self.stack[-1]
        if type(value) not in self.states:
            raise pickle.UnpicklingError("a state of what has none")
        self.budget.spend(state if type(state) is tuple else (state,))
        self.states[type(value)](value, state)

    def load_put(self) -> None:
        self.memo[check_key(int(self.readline()[:-1]))] = self.stack[-1]

    def load_bytearray8(self) -> None:
        """Not of the length that the pickle claims, as that may be any."""
        self.load_binbytes8()
        self.append(bytearray(self.stack.pop()))

    def load_append(self) -> None:
        self._extend([self.stack.pop()])

    def load_appends(self) -> None:
        self._extend(self.pop_mark())

    def _extend(self, items: List) -> None:
        if type(self.stack[-1]) is not list:
            raise pickle.UnpicklingError("items of what is no list")
        self.stack[-1].extend(items)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def load_setitems(self) -> None:
        self._update(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._update(items)

    def _update(self, items: List) -> None:
        if type(self.stack[-1]) not in (dict, OrderedDict, Counter) or len(items) % 2:
            raise pickle.UnpicklingError("keys and values of what is no dict")
        for key, value in zip(check_keys(items[::2]), items[1::2]):
            self.stack[-1][key] = value

    def load_additems(self) -> None:
        items = self.pop_mark()
        if type(self.stack[-1]) is not set:
            raise pickle.UnpicklingError("elements of what is no set")
        self.stack[-1].update(check_keys(items))

    def load_frozenset(self) -> None:
        items = self.pop_mark()  # this changes what `append` is
        self.append(frozenset(check_keys(items)))


def check_key(key: Any) -> Any:
    """
    A key of a dict or an element of a set.

    Hashing a tuple in a tuple in a tuple ... overflows the stack. Of integers beyond 2^61 any
    number have one hash, so that a dict of them takes for ever.

    Raises:
        ValueError: it is neither text, bytes, None nor a number of usual size.
    """
    usual = isinstance(key, (str, bytes, float, np.integer, type(None))) or type(key) in (int, bool)
    if not usual or type(key) is int and abs(key) >= 2**60:
        raise ValueError(f"a {type(key).__name__} as a key")
    return key


def check_keys(keys: Iterable) -> List:
    return [check_key(key) for key in keys]


def _counted(act: Callable[[Any], None]) -> Callable[[Any], None]:
    def counted(unpickler: Any) -> None:
        unpickler.budget.opcodes -= 1
        if unpickler.budget.opcodes < 0:
            raise ValueError("a pickle of more than a million opcodes")
        act(unpickler)

    return counted


# OBJ, NEWOBJ and NEWOBJ_EX are left out: they make objects of classes. So is EXT, which asks a
# registry of this process.
_OPCODES = """
PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1
LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE
BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 GET BINGET LONG_BINGET PUT BINPUT
LONG_BINPUT MEMOIZE EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS
EMPTY_DICT DICT SETITEM SETITEMS EMPTY_SET ADDITEMS FROZENSET GLOBAL STACK_GLOBAL INST REDUCE
BUILD BINPERSID
""".split()


def _dispatch() -> Dict[int, Callable[[Any], None]]:
    codes = [getattr(pickle, name)[0] for name in _OPCODES]
    stock = pickle._Unpickler.dispatch
    return {code: _counted(getattr(DataUnpickler, stock[code].__name__)) for code in codes}


DataUnpickler.dispatch = _dispatch()
