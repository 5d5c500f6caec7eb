"""Checkpoints come at the start, in time, at the end, and before a process stops."""

import os
import signal

import pytest

from agent import auto_checkpoint
from agent.auto_checkpoint import AutoCheckpoint


class Target:
    """Counts how often it is saved; fails when told to."""

    def __init__(self):
        self.saves, self.full = 0, False

    def save(self, path):
        if self.full:
            raise OSError("no space left on device")
        self.saves += 1


@pytest.fixture
def target():
    return Target()


def test_there_is_a_checkpoint_before_the_first_step_and_after_the_last(target, tmp_path):
    with AutoCheckpoint(target, tmp_path) as keep:
        assert target.saves == 1
        keep()
        assert target.saves == 1
    assert target.saves == 2


def test_a_minute_later_there_is_another(target, tmp_path, monkeypatch):
    with AutoCheckpoint(target, tmp_path) as keep:
        monkeypatch.setattr(auto_checkpoint, "INTERVAL", -1.0)
        keep()
        assert target.saves == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_at_the_next_callback_and_then_interrupts(target, tmp_path, number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), AutoCheckpoint(target, tmp_path) as keep:
        os.kill(os.getpid(), number)
        assert target.saves == 1  # an update may be under way
        keep()
    assert target.saves == 2 and signal.getsignal(number) is before


def test_a_signal_after_the_last_callback_interrupts_after_the_last_save(target, tmp_path):
    with pytest.raises(KeyboardInterrupt), AutoCheckpoint(target, tmp_path):
        os.kill(os.getpid(), signal.SIGTERM)
    assert target.saves == 2


def test_after_an_error_nothing_is_saved(target, tmp_path):
    with pytest.raises(FloatingPointError), AutoCheckpoint(target, tmp_path):
        raise FloatingPointError
    assert target.saves == 1


def test_a_full_disk_is_a_warning_and_the_next_minute_tries_again(target, tmp_path, monkeypatch):
    with AutoCheckpoint(target, tmp_path) as keep:
        monkeypatch.setattr(auto_checkpoint, "INTERVAL", -1.0)
        target.full = True
        with pytest.warns(UserWarning, match="no space left on device.*training continues"):
            keep()
        target.full = False
        keep()
        assert target.saves == 2
