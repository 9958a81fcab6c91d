"""Entries of numbered lists, tables of results and menus are looked up."""

import pytest

from lav2.text.entries import entries, told

RACE = [["Lakeside Run 10 km"], ["Place", "Name", "Club", "Time"], ["1", "Freya Lind", "TSV Nord", "36.12"],
        ["2", "Amina Diallo", "Runaways", "36.48"], ["3", "Carla Reyes", "Park Pacers", "37.05"]]  # fmt: skip
MENU = [["PIZZERIA LUPO"], ["Margherita", "€8.50"], ["tomato, mozzarella, basil"], ["2", "Funghi", "€9.50"],
        ["tomato, mozzarella, mushrooms"], ["3", "Diavola (v)", "€10.50"], ["spicy salami, chilli"],
        ["Capricciosa", "€11.20"], ["ham, artichokes, olives"], ["Free delivery from €25"]]  # fmt: skip
SHOW = [["1st Luc Palmisano", "96 points"], ["2nd Tarak Garzoni", "91 points"], ["3rd Naomi Roy", "82 points"]]


@pytest.mark.parametrize(
    ("rows", "question", "answer"),
    [
        (RACE, "who came second?", "Amina Diallo"),
        (RACE, "Who won the race?", "Freya Lind"),
        (RACE, "who was last", "Carla Reyes"),
        (RACE, "where did Amina end up", "2"),
        (RACE, "What place did Carla Reyes get?", "3"),
        (SHOW, "who came third", "Naomi Roy"),
        (MENU, "What is number 4?", "Capricciosa"),  # its number was not read
        (MENU, "what's no. 1", "Margherita"),
        (MENU, "which pizza has artichokes on it", "Capricciosa"),
        (MENU, "Which one has chilli?", "Diavola"),
        (MENU, "which pizza has tomato on it?", ""),  # several
        (MENU, "Which pizza has anchovies?", ""),
        (MENU, "What is number 9?", ""),
        (RACE, "who came ninth?", ""),
        (RACE, "Who is Freya?", ""),
        ([*RACE, ["Winner by points", "Carla"]], "who won?", ""),
        (RACE[:4], "who came second?", ""),  # too few
        ([["2", "Tea", "3.00"], ["2", "Cake", "4.00"], ["1", "Bun", "2.00"]], "what is number 2?", ""),  # quantities
        ([], "who won?", ""),
    ],
)
def test_entries_are_looked_up_by_number_rank_and_part(rows, question, answer):
    assert told(rows, question) == answer


def test_numbers_that_were_not_read_are_those_between_their_neighbours():
    assert [(one.number, one.name) for one in entries(MENU)] == [
        (1, "Margherita"), (2, "Funghi"), (3, "Diavola (v)"), (4, "Capricciosa")]  # fmt: skip
