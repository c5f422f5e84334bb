"""Messages for people."""


def one_line(error: BaseException) -> str:
    """The message of any exception on one line."""
    return " ".join(str(error).split()) or type(error).__name__
