"""The database of a study: opened, shared, and what is said where it can't be."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any

import optuna
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from edgekd.errors import ConfigError, UnavailableError, first_line

WAIT_S = 60  # for others that write to the same file
PASSWORD = re.compile(r"(://[^:/@]*):[^/]*@")


def address(storage: str | None, folder: Path, name: str) -> str:
    """The URL with what it takes from the environment, or that of the study's own file. Raises ConfigError."""
    if storage is None:
        return f"sqlite:///{(folder / f'{name}.db').as_posix()}"
    try:
        return Template(storage).substitute(os.environ)
    except KeyError as error:
        raise ConfigError(f"search.storage: {shown(storage)}: no {error.args[0]} in the environment; set it") from None
    except ValueError:
        raise ConfigError(f"search.storage: {shown(storage)}: a $ that is no name's is written $$") from None


def lock_path(url: str, folder: Path, name: str) -> Path:
    """
    Of whoever shares the study on this machine: beside a file of SQLite, wherever their folders are.

    One for all studies of a file, which one of them makes.
    """
    own = folder / f"{name}.lock"
    try:
        parts = make_url(url)
    except ArgumentError:  # said when it is opened
        return own
    if parts.get_backend_name() != "sqlite" or parts.database in (None, "", ":memory:") or parts.query:
        return own
    path = Path(str(parts.database))
    return path.with_name(f"{path.name}.lock") if path.parent.is_dir() else own


def shown(url: str) -> str:
    """Without its password."""
    return PASSWORD.sub(r"\1:***@", url)


@contextmanager
def opened(url: str, lock: FileLock) -> Iterator[RDBStorage]:
    """
    The database, quietly; closed when the block ends. Raises ConfigError and UnavailableError.

    Under the lock, for of two processes that make its tables at once one fails.
    """
    loudness = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with lock:
            storage = _connected(url)
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except (SQLAlchemyError, StorageInternalError) as error:
        raise UnavailableError(
            f"{_where(url)}: cannot be used: {first_line(error.__cause__ or error)}; see that it is there and may be "
            "written to, or leave search.storage out for a file beside the other results"
        ) from error
    finally:
        optuna.logging.set_verbosity(loudness)


def _connected(url: str) -> RDBStorage:
    try:
        _make_file(url)
        return RDBStorage(url, engine_kwargs=_engine(url))
    except NoSuchModuleError as error:
        raise ConfigError(f"{_where(url)}: {first_line(error)}; take sqlite, postgresql or mysql") from None
    except ArgumentError:
        raise ConfigError(f"{_where(url)}: no URL of a database, like sqlite:///study.db; correct it") from None
    except ImportError as error:
        driver = getattr(error.__cause__, "name", None) or "of this database"
        raise UnavailableError(f"{_where(url)}: the driver {driver} is not installed; pip install it") from None
    except RuntimeError as error:
        raise ConfigError(
            f"{_where(url)}: another version of Optuna made it: {first_line(error)} Or name another database"
        ) from None


def _make_file(url: str) -> None:
    """
    A file of SQLite gets its tables before it gets its name.

    Who is killed between a table and its index leaves one in which two studies may have one name, and neither can
    be loaded again.
    """
    parts = make_url(url)
    path = Path(parts.database or ":memory:")
    if parts.get_backend_name() != "sqlite" or ":" in path.name or parts.query or path.exists():
        return
    new = path.with_name(f"{path.name}.new")
    for left in path.parent.glob(f"{glob.escape(new.name)}*"):
        left.unlink()
    RDBStorage(f"sqlite:///{new.as_posix()}").engine.dispose()
    new.replace(path)


def _where(url: str) -> str:
    return f"search.storage: {shown(url)}"


def _engine(url: str) -> dict[str, Any]:
    if make_url(url).get_backend_name() != "sqlite":
        return {"pool_pre_ping": True}  # measuring a batch may outlast a server's patience with idle connections
    return {"connect_args": {"timeout": WAIT_S}, "pool_events": [(_write_ahead, "connect")]}


def _write_ahead(connection: Any, _: Any) -> None:
    """Seven times as many trials a second as with a journal: a commit then needs no fsync to outlive the process."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
