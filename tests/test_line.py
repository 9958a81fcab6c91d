"""Who is answered, who waits and at which position, who is refused; leaving makes room at once."""

import threading
from contextlib import ExitStack

import pytest

from lav2.line import Busy, Line

NEVER = threading.Event()


def test_the_first_are_answered_the_next_know_their_position_and_the_last_is_refused():
    line = Line(at_once=2, waiting=2)
    with ExitStack() as room:
        places = [room.enter_context(line.place()) for _ in range(4)]
        assert [list(line.positions(place, NEVER)) for place in places[:2]] == [[], []]
        assert [next(line.positions(place, NEVER)) for place in places[2:]] == [1, 2]
        with pytest.raises(Busy, match="2 questions wait already, yours would have position 3") as told, line.place():
            pytest.fail("there is no place")
        assert told.value.next_step and told.value.position == 3
    with line.place() as place:
        assert list(line.positions(place, NEVER)) == []


def test_positions_are_in_order_of_arrival_and_move_up_when_somebody_leaves():
    line = Line(at_once=1, waiting=3)
    with ExitStack() as served, ExitStack() as impatient, ExitStack() as others:
        served.enter_context(line.place())
        impatient.enter_context(line.place())
        second, third = (others.enter_context(line.place()) for _ in range(2))
        told = [line.positions(place, NEVER) for place in (second, third)]
        assert [next(one) for one in told] == [2, 3]
        impatient.close()  # one who waited is gone
        assert [next(one) for one in told] == [1, 2]
        served.close()
        assert next(told[0], "served") == "served"
        assert next(told[1]) == 1


def test_one_who_waits_is_let_go_when_cancelled():
    line, cancel = Line(at_once=1, waiting=1), threading.Event()
    with line.place():
        with line.place() as place:
            told = line.positions(place, cancel)
            assert next(told) == 1
            threading.Timer(0.1, cancel.set).start()
            assert list(told) == []
        with line.place():
            pass  # the slot is free again


def test_many_threads_are_served_two_at_a_time_and_all_of_them():
    line, lock, now, most, served = Line(at_once=2, waiting=20), threading.Lock(), [0], [0], []

    def ask(number):
        with line.place() as place:
            for _ in line.positions(place, NEVER):
                pass
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            served.append(number)
            with lock:
                now[0] -= 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(served) == list(range(20)) and most[0] <= 2
