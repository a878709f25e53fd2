"""The budget of adapter memory: who leaves for whom."""

from service.engine.residents import Residents


def filled(budget: int, **sizes: int) -> Residents:
    residents = Residents(budget)
    for key, size in sizes.items():
        residents.add(key, size)
    return residents


def test_nobody_leaves_while_there_is_room() -> None:
    assert filled(10, a=3, b=3).victims(4, ()) == []


def test_the_least_recently_used_leave_first_and_no_more_than_needed() -> None:
    residents = filled(9, a=3, b=3, c=3)
    residents.use("a")
    assert residents.victims(3, ()) == ["b"]
    assert residents.victims(4, ()) == ["b", "c"]


def test_the_spared_and_the_pinned_stay() -> None:
    residents = filled(9, a=3, b=3, c=3)
    residents.pinned.add("a")
    assert residents.victims(3, ["b"]) == ["c"]
    assert residents.victims(4, ["b"]) is None


def test_what_the_pinned_leave_free_is_known() -> None:
    residents = filled(9, a=3, b=3)
    residents.pinned |= {"a", "b"}
    assert (residents.free_beside_pinned(()), residents.free_beside_pinned(["a"])) == (3, 6)
    assert (residents.size("a"), residents.size("nobody")) == (3, 0)


def test_what_is_larger_than_the_budget_never_fits() -> None:
    assert filled(9, a=3).victims(10, ()) is None


def test_removing_frees_and_using_the_unknown_changes_nothing() -> None:
    residents = filled(9, a=3, b=3)
    residents.remove("a")
    residents.use("nobody")
    assert (residents.total, list(residents), "a" in residents) == (3, ["b"], False)
