"""Messages for people."""


def printable(text: str) -> str:
    """
    Text for a terminal: characters that would control it, or hide and turn what follows, are
    written as Python does, ``\\x1b``. Lines and tabs stay.
    """
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def one_line(error: BaseException) -> str:
    """The message of any exception on one line that can be printed."""
    return printable(" ".join(str(error).split())) or type(error).__name__
