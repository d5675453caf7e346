"""Bearer tokens from a file: one a line, `name token`, `#` for remarks; read again when the file changes."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path

from pool.errors import SettingsError

LEAST_CHARACTERS = 24
"""A token has at least so many characters, so that nobody guesses it: `openssl rand -hex 32` gives 64."""


@dataclass(frozen=True)
class Token:
    """One line of the file."""

    name: str
    """Whose it is; may be logged."""
    sha256: bytes
    """Hash of the token itself, which is not kept."""


def read_tokens(path: Path) -> tuple[Token, ...]:
    """The tokens of a file.

    Raises:
        SettingsError: no such file, one that others may read, a line of another form, a token that is too short, or
            none at all. Tokens are not quoted.
    """
    subject = f"token file {path.name}"
    try:
        mode, lines = path.stat().st_mode, path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(subject, "must be a readable text file", type(error).__name__) from error
    if mode & 0o007:
        found = f"mode {mode & 0o777:o}"
        raise SettingsError(subject, "may not be open to all users of the machine", found, "chmod 600 it.")
    tokens = []
    for number, line in enumerate(lines, start=1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or len(words[1]) < LEAST_CHARACTERS:
            rule = f"a line is a name and a token of at least {LEAST_CHARACTERS} characters"
            raise SettingsError(subject, rule, f"another form in line {number}", "openssl rand -hex 32 makes a token.")
        tokens.append(Token(words[0], hashlib.sha256(words[1].encode()).digest()))
    if not tokens:
        raise SettingsError(subject, "needs at least one token", "none")
    return tuple(tokens)


def first_token(path: Path) -> str:
    """The token of a client: that of the file's first line.

    Raises:
        SettingsError: see `read_tokens`.
    """
    read_tokens(path)
    lines = (line.split("#")[0].split() for line in path.read_text(encoding="utf-8").splitlines())
    return next(words[1] for words in lines if words)


class TokenFile:
    """The tokens of a file, as it is at the moment.

    Args:
        path: the file; refused at once if it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp, self._tokens = self._stamp_now(), read_tokens(path)

    def owner_of(self, token: str) -> str | None:
        """Name of whoever has this token; None where nobody has.

        Every token is compared, in constant time: how long it takes says nothing.
        """
        self._refresh()
        given = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        owner = None
        for known in self._tokens:
            if hmac.compare_digest(known.sha256, given):
                owner = known.name
        return owner

    def _refresh(self) -> None:
        """Take up a changed file; one that cannot be used lets nobody in until it is mended."""
        if (stamp := self._stamp_now()) != self._stamp:
            self._stamp, self._tokens = stamp, ()
            self._tokens = read_tokens(self._path)

    def _stamp_now(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return (found.st_mtime_ns, found.st_size, found.st_ino)
