"""Calls are made behind their owner's back: in order, few at a time, and with their errors told."""

from threading import Event

import pytest

from gsdff.files.writer import Writer


def test_calls_are_made_in_order_and_all_of_them_before_the_end():
    made = []
    with Writer() as writer:
        for number in range(20):
            writer.write(made.append, number)
    assert made == list(range(20))


def test_the_owner_goes_on_and_waits_only_when_one_more_is_handed_over():
    may_go, made = Event(), []

    def slow(number):
        may_go.wait()
        made.append(number)

    with Writer() as writer:
        writer.write(slow, 1)  # returns, though the call cannot end
        writer.check()
        assert made == []
        may_go.set()
        writer.write(slow, 2)
        assert made[0] == 1
        writer.wait()
        assert made == [1, 2]


def test_an_error_is_raised_by_the_next_call_by_a_check_and_at_the_end():
    def fail(text):
        raise OSError(text)

    with Writer() as writer:
        writer.write(fail, "first")
        with pytest.raises(OSError, match="first"):
            writer.write(print)
        writer.write(fail, "second")
        with pytest.raises(OSError, match="second"):
            writer.wait()
        writer.write(fail, "third")
        writer._thread.submit(int).result()  # the failing call is done before
        with pytest.raises(OSError, match="third"):
            writer.check()
    with pytest.raises(OSError, match="last"), Writer() as writer:
        writer.write(fail, "last")


def test_after_another_error_what_was_handed_over_is_still_written():
    made = []
    with pytest.raises(KeyboardInterrupt), Writer(2) as writer:
        writer.write(made.append, 1)
        writer.write(made.append, 2)
        raise KeyboardInterrupt
    assert made == [1, 2]
