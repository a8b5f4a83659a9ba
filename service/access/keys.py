"""API keys, in a file that holds their digests alone; a key itself is shown once, when it is made.

A key is 256 random bits, so that one SHA-256 is enough at rest: there is no dictionary to try.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_store.durable import whole
from service.errors import ConfigurationError

FORMAT: Literal[1] = 1
MARK = "apical"
"""What every key begins with, so that a scanner for secrets finds one that was left somewhere."""

SHAPE = re.compile(rf"{MARK}_([0-9a-f]{{12}})_[A-Za-z0-9_-]{{43}}")
NOBODY = hashlib.sha256(secrets.token_bytes(32)).digest()
"""Compared with where no key has the id, so that the answer takes as long."""

Role = Literal["reader", "line", "operator"]
ROLES: tuple[Role, ...] = ("reader", "line", "operator")
"""Each may also do what those before it may: read; predict, teach and label; change what is live.
"""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$")]


class Key(BaseModel):
    """What is known of a key. ``models`` and ``line`` bind it to these; left out, to none.

    ``digest`` is the SHA-256 of the key, in hexadecimal digits; times are ISO 8601 in UTC.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    name: Name
    role: Role
    models: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = ()
    line: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    created_at: datetime
    revoked_at: datetime | None = None

    def may(self, role: Role) -> bool:
        """Whether its role includes another."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def opens(self, model: str) -> bool:
        """Whether it is for this model too."""
        return not self.models or model in self.models


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    keys: tuple[Key, ...]


def id_of(presented: str) -> str | None:
    """The id in a key; None where it has not a key's form."""
    shape = SHAPE.fullmatch(presented)
    return shape[1] if shape else None


def is_it(presented: str, key: Key | None) -> bool:
    """Whether a key is the one presented, in a time that does not depend on what differs."""
    digest = hashlib.sha256(presented.encode("utf-8", "surrogatepass")).digest()
    known = NOBODY if key is None else bytes.fromhex(key.digest)
    return hmac.compare_digest(digest, known) and key is not None


def read(path: Path) -> tuple[Key, ...]:
    """All keys of a file, the revoked ones too. Raises ConfigurationError."""
    try:
        document = _Document.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: expected a file of keys, found none; `apical keys add` makes one"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path}: expected a file of keys: {error}") from error
    except ValidationError as error:
        fault = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise ConfigurationError(
            f"{path}: expected keys as `apical keys add` writes them, found at {where}: "
            f"{fault['msg']}"
        ) from None
    ids = [key.id for key in document.keys]
    if len(set(ids)) < len(ids):
        raise ConfigurationError(f"{path}: expected distinct ids, found {sorted(ids)}")
    return document.keys


def add(
    path: Path, name: str, role: Role, models: tuple[str, ...] = (), line: str | None = None
) -> tuple[Key, str]:
    """Make a key, and the file if there is none: what is known of it, and the key itself.

    Raises
    ------
    ConfigurationError
        The name is taken by a key that is not revoked, or is no name; the file cannot be read.
    """
    key_id = secrets.token_hex(6)
    secret = f"{MARK}_{key_id}_{secrets.token_urlsafe(32)}"
    try:
        key = Key(
            id=key_id,
            name=name,
            role=role,
            models=models,
            line=line,
            digest=hashlib.sha256(secret.encode()).hexdigest(),
            created_at=datetime.now(UTC),
        )
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(str(part) for part in fault["loc"])
        raise ConfigurationError(f"{field}: {fault['msg']}, found {fault['input']!r}") from None
    with _changing(path) as keys:
        if any(k.name == name and k.revoked_at is None for k in keys):
            raise ConfigurationError(
                f"{path}: expected a name that no key has, found {name!r}; revoke that one first, "
                "or give the new one another name while both are in use"
            )
        keys.append(key)
    return key, secret


def revoke(path: Path, name: str) -> Key:
    """From now on it opens nothing; it stays in the file, for the audit names it.

    Raises
    ------
    ConfigurationError
        No key that is in use has this name or id; the file cannot be read.
    """
    with _changing(path) as keys:
        for place, key in enumerate(keys):
            if name in (key.name, key.id) and key.revoked_at is None:
                keys[place] = key.model_copy(update={"revoked_at": datetime.now(UTC)})
                return keys[place]
        names = sorted(key.name for key in keys if key.revoked_at is None)
        raise ConfigurationError(f"{path}: expected one of the keys {names}, found {name!r}")


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[list[Key]]:
    """The keys, written whole where nothing goes wrong. One process at a time."""
    try:
        with _alone(path):
            keys = list(read(path)) if path.exists() else []
            yield keys
            _write(path, keys)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error}") from error


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    # On the directory, for the file itself is replaced.
    directory = os.open(path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _write(path: Path, keys: list[Key]) -> None:
    document = _Document(format=FORMAT, keys=tuple(keys))
    content = orjson.dumps(document.model_dump(mode="json"), option=orjson.OPT_INDENT_2)
    mode, owner = 0o600, None
    with contextlib.suppress(FileNotFoundError):
        found = path.stat()
        mode, owner = found.st_mode & 0o777, (found.st_uid, found.st_gid)
    with whole(path) as partial:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            if owner is not None:
                # Whoever may read it now shall go on to; another's file only root can give back.
                with contextlib.suppress(PermissionError):
                    os.fchown(descriptor, *owner)
            file.write(content + b"\n")
