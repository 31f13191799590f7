import threading
import time
from types import SimpleNamespace

import pytest

from gsdff.viewer import fair_lock as module
from gsdff.viewer.fair_lock import FairLock


def start(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_who_waits_comes_before_who_just_had_it_and_those_who_wait_in_their_order():
    lock, order = FairLock(), []

    def take(name):
        with lock:
            order.append(name)

    with lock:
        threads = []
        for number in range(3):
            threads.append(start(lambda number=number: take(number)))
            wait_until(lambda number=number: len(lock._waiting) == number + 1)
    take("again")  # at once, as a training loop does
    for thread in threads:
        thread.join(20)
    assert order == [0, 1, 2, "again"]


def test_one_thread_at_a_time_is_in_it():
    lock, inside, most = FairLock(), [], []

    def work():
        for _ in range(200):
            with lock:
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [start(work) for _ in range(4)]
    for thread in threads:
        thread.join(20)
    assert len(most) == 800 and set(most) == {1}


@pytest.mark.parametrize("was_handed_on", [False, True])
def test_ctrl_c_while_waiting_leaves_it_to_the_others(was_handed_on, monkeypatch):
    lock = FairLock()
    lock.__enter__()

    def interrupted(event):
        if was_handed_on:  # between the turn's coming and its being noticed
            lock.__exit__()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(threading.Event, "wait", interrupted)
        lock.__enter__()
    if not was_handed_on:
        lock.__exit__()
    with lock:
        pass
    assert not lock._is_taken and not lock._waiting


def test_an_error_inside_hands_it_on():
    lock = FairLock()
    with pytest.raises(ZeroDivisionError), lock:
        _ = 1 / 0
    with lock:
        pass


def test_the_clock_stands_still_for_who_waits_only(monkeypatch):
    lock, passed, now, readers = FairLock(), [], [100.0], []

    def perf_counter():
        readers.append(threading.current_thread())
        return now[0]

    def wait():
        before = lock.clock()
        with lock:
            passed.append(lock.clock() - before)

    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=perf_counter))
    before = lock.clock()
    with lock:
        thread = start(wait)
        wait_until(lambda: readers.count(thread) == 2)  # the second time as it begins to wait
        now[0] += 7
    thread.join(20)
    assert passed == [0.0] and lock.clock() - before == 7
