"""Bytes under a prefix of an S3-compatible bucket, by conditional puts and no lock service."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotFoundError,
    NotModifiedError,
    PreconditionError,
)
from obstore.store import S3Store

from model_store.backends.backend import MANIFEST, SMALL_BYTES
from model_store.backends.lease import CLAIM, Lease
from model_store.errors import (
    AboveLimit,
    Conflict,
    KeyExists,
    KeyMissing,
    StoreUnavailable,
)


class S3Backend:
    """The :class:`~model_store.backends.backend.Backend` protocol on a bucket.

    The bucket must honour ``If-None-Match: *`` and ``If-Match`` on PUT and list what was just
    written, as S3 does since 2024. Credentials, region and endpoint come from the usual
    ``AWS_*`` variables; plain HTTP is allowed when ``AWS_ENDPOINT_URL`` asks for it.

    Parameters
    ----------
    url
        ``s3://bucket/prefix``.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        http = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        self._store = S3Store.from_url(
            self._url,
            client_options={"allow_http": http, "timeout": timedelta(seconds=30)},
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=20)},
        )

    def get(self, key: str, limit: int = SMALL_BYTES) -> bytes:
        return self.get_tagged(key, limit)[0]

    def get_tagged(self, key: str, limit: int = SMALL_BYTES) -> tuple[bytes, str]:
        found = self.get_changed(key, None, limit)
        assert found is not None  # an unconditional read is never "not modified"
        return found

    def get_changed(
        self, key: str, tag: str | None, limit: int = SMALL_BYTES
    ) -> tuple[bytes, str] | None:
        with self._failing(key):
            try:
                found = self._store.get(
                    key, options={"if_none_match": tag} if tag is not None else {}
                )
            except NotModifiedError:
                return None
            size, e_tag = found.meta["size"], found.meta["e_tag"]
            if size > limit:
                raise AboveLimit(f"{self._name(key)}: expected at most {limit} bytes, found {size}")
            if e_tag is None:
                raise StoreUnavailable(f"{self._name(key)}: expected an ETag, found none")
            return bytes(found.bytes()), e_tag

    def create(self, key: str, data: bytes) -> None:
        try:
            with self._failing(key):
                self._store.put(key, data, mode="create", use_multipart=False)
        except KeyExists:
            if not self._is(key, data):
                raise

    def replace(self, key: str, data: bytes, tag: str) -> None:
        try:
            with self._failing(key):
                self._store.put(key, data, mode={"e_tag": tag}, use_multipart=False)
        except KeyMissing as cause:
            raise Conflict(f"{self._name(key)}: expected tag {tag}, found no object") from cause
        except Conflict:
            if not self._is(key, data):
                raise

    def publish(
        self,
        prefix: str,
        files: Mapping[str, bytes],
        before_commit: Callable[[], None] = lambda: None,
    ) -> None:
        """Files first, the manifest last: readers see the manifest's object or nothing.

        What is abandoned stays behind as unfinished; the next holder of the claim voids it.
        """
        for name, data in files.items():
            if name != MANIFEST:
                self.create(f"{prefix}/{name}", data)
        # Only now, with a file of it listed: a newcomer that takes the claim after this check
        # finds the publication and voids it, so that the manifest below is refused.
        before_commit()
        self.create(f"{prefix}/{MANIFEST}", files[MANIFEST])

    def published(self, prefix: str) -> list[str]:
        return sorted(name for name, size in self._manifests(prefix).items() if size)

    def unfinished(self, prefix: str) -> list[str]:
        manifests = self._manifests(prefix)
        # A voided one with nothing but its empty manifest left is done with.
        names = {
            key.removeprefix(prefix + "/").split("/")[0]
            for key, size in self._sizes(prefix).items()
            if size or not key.endswith("/" + MANIFEST)
        }
        return sorted(name for name in names if not manifests.get(name))

    def void(self, path: str) -> bool:
        """An empty manifest takes the place that the real one would be put into."""
        key = f"{path}/{MANIFEST}"
        try:
            self.create(key, b"")
        except KeyExists:
            return self.size(key) == 0
        return True

    def children(self, prefix: str) -> list[str]:
        with self._failing(prefix):
            found = self._store.list_with_delimiter(prefix or None)
        paths = [*found["common_prefixes"], *(meta["path"] for meta in found["objects"])]
        return sorted({path.rsplit("/", 1)[-1] for path in paths})

    def top(self) -> list[str]:
        return [name for name in self.children("") if name != CLAIM]

    def list(self, prefix: str) -> list[str]:
        return sorted(self._sizes(prefix))

    def size(self, key: str) -> int:
        with self._failing(key):
            return int(self._store.head(key)["size"])

    def delete(self, key: str) -> None:
        self.size(key)  # S3 itself does not tell a missing key
        with self._failing(key):
            self._store.delete(key)

    def remove(self, prefix: str) -> None:
        keys = self.list(prefix)
        with self._failing(prefix):
            # Without its manifest a snapshot does not exist, whatever is left of it.
            for key in sorted(keys, key=lambda key: not key.endswith("/" + MANIFEST)):
                self._store.delete(key)

    def move(self, source: str, target: str) -> None:
        keys = self.list(source)
        if not keys:
            raise KeyMissing(f"{self._name(source)}: nothing there")
        if self.list(target):
            raise KeyExists(f"{self._name(target)}: exists already")
        with self._failing(source):
            for key in keys:
                obstore.copy(self._store, key, target + key.removeprefix(source))
        self.remove(source)

    def claim(self, take_over: bool) -> Lease:
        return Lease(self, self._name(CLAIM), take_over)

    def tidy(self) -> None:
        """Every put is whole or not there, so nothing temporary is ever left."""

    def close(self) -> None:
        """Connections close when they idle."""

    def _is(self, key: str, data: bytes) -> bool:
        """Whether a refused put had in truth succeeded, its answer lost and the put retried.

        Callers put a random token into whatever two writers could otherwise write alike.
        """
        try:
            return self.get(key, max(len(data), 1)) == data
        except (KeyMissing, AboveLimit):
            return False

    def _sizes(self, prefix: str) -> dict[str, int]:
        with self._failing(prefix):
            return {
                meta["path"]: meta["size"]
                for page in self._store.list(prefix or None)
                for meta in page
            }

    def _manifests(self, prefix: str) -> dict[str, int]:
        """Size of the manifest for each name under the prefix that has one."""
        found = {}
        for key, size in self._sizes(prefix).items():
            name, _, rest = key.removeprefix(prefix + "/").partition("/")
            if rest == MANIFEST:
                found[name] = size
        return found

    def _name(self, key: str) -> str:
        return f"{self._url}/{key}"

    @contextmanager
    def _failing(self, key: str) -> Iterator[None]:
        """obstore's errors in the words of this package."""
        try:
            yield
        except (NotFoundError, FileNotFoundError) as cause:
            raise KeyMissing(f"{self._name(key)}: no such object") from cause
        except AlreadyExistsError as cause:
            raise KeyExists(f"{self._name(key)}: exists already") from cause
        except PreconditionError as cause:
            raise Conflict(f"{self._name(key)}: changed meanwhile") from cause
        except (BaseError, OSError) as cause:
            raise StoreUnavailable(f"{self._name(key)}: {cause}") from cause
