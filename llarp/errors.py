"""The one class of error that a user can mend."""


class UserError(Exception):
    """Bad input, told in one line: what is wrong, where, and what to do about it.

    The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, what: str, where: object = None, do: str | None = None) -> None:
        """Args:
        what: what is wrong, without a full stop.
        where: file, key or line that is to blame.
        do: what the user can do about it.
        """
        self.what, self.where, self.do = what, where, do
        line = what if where is None else f"{where}: {what}"
        super().__init__(" ".join((line if do is None else f"{line} — {do}").split()))
