"""Degeneration: where a loop begins to count."""

from __future__ import annotations

from mbt_assets.scoring.degeneration import degenerate, looping, truncated

WINDOW = "w1 w2 w3 w4 w5 w6 w7 w8"


def test_six_times_the_same_eight_tokens_is_a_loop_and_five_is_none():
    apart = [f"{WINDOW} x{number}" for number in range(6)]
    assert looping("\n".join(apart))
    assert not looping(" ".join(apart[:5]))


def test_overlapping_windows_count():
    # 13 equal tokens hold 6 equal windows of 8, 12 hold 5.
    assert looping("no " * 13)
    assert not looping("no " * 12)


def test_short_and_plain_texts_do_not_loop():
    assert not looping("")
    assert not looping(" ".join(str(number) for number in range(1000)))


def test_degenerate_is_either_sign():
    assert truncated("length") and not truncated("stop") and not truncated(None)
    assert degenerate("fine", "length") and degenerate("no " * 13, "stop") and not degenerate("fine", "stop")
