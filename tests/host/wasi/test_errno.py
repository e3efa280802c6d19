from __future__ import annotations

import errno

import pytest

from wasmpool_host._wasi.errno import Errno, errno_of


def test_all_numbers_of_the_contract_are_there() -> None:
    """From 0 to 76, without a gap."""
    assert [int(number) for number in Errno] == list(range(77))


@pytest.mark.parametrize(
    ("system", "guest"),
    [
        (errno.ENOENT, Errno.NOENT),
        (errno.E2BIG, Errno.TOOBIG),
        (errno.EAGAIN, Errno.AGAIN),
        (errno.EOPNOTSUPP, Errno.NOTSUP),
        (errno.ENOTEMPTY, Errno.NOTEMPTY),
        (errno.EDEADLK, Errno.DEADLK),
        (errno.ENOTBLK, Errno.IO),
        (None, Errno.IO),
    ],
)
def test_the_systems_numbers_are_translated(system: int | None, guest: Errno) -> None:
    """By name; errors that the contract does not have are I/O errors."""
    error = OSError()
    error.errno = system
    assert errno_of(error) == guest
