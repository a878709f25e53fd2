"""Rate and time left, from samples a child could check."""

from ragtune.pace import Pace, seconds_left


def test_one_sample_says_nothing() -> None:
    assert Pace().at(5.0, 10) is None


def test_the_rate_is_what_was_done_since_the_first_sample() -> None:
    pace = Pace()
    pace.at(0.0, 0)
    assert [pace.at(second, 20 * second) for second in (1, 2, 5)] == [20.0, 20.0, 20.0]


def test_only_the_last_ten_seconds_count() -> None:
    pace = Pace()
    for second in range(61):
        pace.at(float(second), 100 * second)
    for second in range(61, 75):
        rate = pace.at(float(second), 6000 + second - 60)
    assert rate == 1.0


def test_after_a_long_silence_the_last_sample_is_still_there_to_compare_with() -> None:
    pace = Pace()
    pace.at(0.0, 0)
    pace.at(100.0, 50)
    assert pace.at(200.0, 100) == 0.5


def test_two_samples_at_the_same_moment_and_one_that_goes_back_have_no_rate() -> None:
    pace = Pace()
    pace.at(1.0, 7)
    assert pace.at(1.0, 9) is None
    assert pace.at(2.0, 3) is None


def test_the_rest_takes_as_long_as_the_rate_says_if_both_are_known() -> None:
    assert seconds_left(30, 100, 35.0) == 2.0
    assert seconds_left(100, 100, 35.0) == 0.0
    assert seconds_left(120, 100, 35.0) == 0.0
    assert [seconds_left(1, None, 3.0), seconds_left(1, 2, None), seconds_left(1, 2, 0.0)] == [None, None, None]
