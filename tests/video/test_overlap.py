"""Decoding, network and encoding at the same time."""

from __future__ import annotations

from typing import Any

import pytest

from srkd.video.overlap import overlapped


@pytest.mark.parametrize("where", ["read", "compute", "write"])
def test_the_first_error_ends_all_three_steps(where: str) -> None:
    complete = []

    def fail(step: str, number: int) -> int:
        if step == where and number == 5:
            raise ValueError(step)
        return number

    def write(items: Any) -> None:
        for number in items:
            fail("write", number)
        complete.append(1)

    with pytest.raises(ValueError, match=where):
        overlapped(lambda: (fail("read", n) for n in range(100)), lambda n: fail("compute", n), write)
    assert not complete
