"""Who is answered, who waits and at which position, who is refused; leaving makes room at once."""

import threading
from contextlib import ExitStack

import pytest

from lav2.assistant.admission import AdmissionQueue, Busy

NEVER = threading.Event()


def test_the_first_are_answered_the_next_know_their_position_and_the_last_is_refused():
    line = AdmissionQueue(at_once=2, waiting=2)
    with ExitStack() as room:
        places = [room.enter_context(line.slot()) for _ in range(4)]
        assert [list(line.positions(place, NEVER)) for place in places[:2]] == [[], []]
        assert [next(line.positions(place, NEVER)) for place in places[2:]] == [1, 2]
        with pytest.raises(Busy, match="2 questions wait already, yours would have position 3") as raised, line.slot():
            pytest.fail("there is no place")
        assert raised.value.next_step and raised.value.position == 3
    with line.slot() as place:
        assert list(line.positions(place, NEVER)) == []


def test_positions_are_in_order_of_arrival_and_move_up_when_somebody_leaves():
    line = AdmissionQueue(at_once=1, waiting=3)
    with ExitStack() as served, ExitStack() as impatient, ExitStack() as others:
        served.enter_context(line.slot())
        impatient.enter_context(line.slot())
        second, third = (others.enter_context(line.slot()) for _ in range(2))
        positions = [line.positions(place, NEVER) for place in (second, third)]
        assert [next(one) for one in positions] == [2, 3]
        impatient.close()  # one who waited is gone
        assert [next(one) for one in positions] == [1, 2]
        served.close()
        assert next(positions[0], "served") == "served"
        assert next(positions[1]) == 1


def test_one_who_waits_is_let_go_when_cancelled():
    line, cancel = AdmissionQueue(at_once=1, waiting=1), threading.Event()
    with line.slot():
        with line.slot() as place:
            positions = line.positions(place, cancel)
            assert next(positions) == 1
            threading.Timer(0.1, cancel.set).start()
            assert list(positions) == []
        with line.slot():
            pass  # the slot is free again


def test_many_threads_are_served_two_at_a_time_and_all_of_them():
    line, lock, now, most, served = AdmissionQueue(at_once=2, waiting=20), threading.Lock(), [0], [0], []

    def ask(number):
        with line.slot() as place:
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
        thread.join(60)
    assert sorted(served) == list(range(20)) and most[0] <= 2


def served(line, place):
    return next(line.positions(place, NEVER), "served") == "served"


def test_clients_take_turns_so_that_one_who_asks_a_lot_delays_nobody_else():
    line = AdmissionQueue(at_once=2, waiting=18)
    with ExitStack() as room:
        eager = [ExitStack() for _ in range(10)]
        asked = [room.enter_context(one).enter_context(line.slot("eager")) for one in eager]
        second, third = (room.enter_context(line.slot(name)) for name in ("second", "third"))
        assert next(line.positions(second, NEVER)) == 1 and next(line.positions(third, NEVER)) == 2
        assert next(line.positions(asked[2], NEVER)) == 3
        eager[0].close()  # one of the first answers has ended
        assert served(line, second)
        eager[1].close()
        assert served(line, third)
        assert [next(line.positions(place, NEVER)) for place in asked[2:5]] == [1, 2, 3]  # in their own order


def test_clients_take_turns_also_where_one_question_is_answered_at_a_time():
    line = AdmissionQueue(at_once=1, waiting=9)
    with ExitStack() as room:
        first = room.enter_context(ExitStack())
        first.enter_context(line.slot("eager"))
        eager = [room.enter_context(line.slot("eager")) for _ in range(3)]
        other = [room.enter_context(line.slot("other")) for _ in range(2)]
        assert [next(line.positions(place, NEVER)) for place in other] == [1, 3]
        assert [next(line.positions(place, NEVER)) for place in eager] == [2, 4, 5]
        first.close()
        assert served(line, other[0]) and next(line.positions(eager[0], NEVER)) == 1


def test_one_client_has_half_of_the_line_at_most_and_is_told_so():
    line = AdmissionQueue(at_once=2, waiting=2)
    with ExitStack() as room:
        for _ in range(2):
            room.enter_context(line.slot("eager"))
        with pytest.raises(Busy, match="2 of your questions wait already") as raised, line.slot("eager"):
            pytest.fail("there is no place")
        assert raised.value.next_step
        others = [room.enter_context(line.slot(name)) for name in ("second", "third")]
        assert len(others) == 2


def test_many_clients_are_all_served_and_all_places_come_back():
    line, served = AdmissionQueue(at_once=2, waiting=40), []

    def ask(number):
        with line.slot(f"client {number % 3}") as place:
            for _ in line.positions(place, NEVER):
                pass
            served.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(served) == list(range(30)) and line._slots == []
