"""Joining neighbours gives back the document's text, whatever was found and however it was cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from indexer.neighbours import joined
from indexer.record import Found
from ragtune.wire import Passage

TEXT = "One two.\n\nThree four.  Five six seven."


def piece(start: int, end: int, *, gap: str | None = None, score: float = 0.0, **more: object) -> Found:
    """The span of TEXT; it joins the one before if a gap is given."""
    fields = {"id": f"{start}-{end}", "document": "d", "text": TEXT[start:end], "start": start, "end": end}
    return Found.model_validate(fields | {"joins": gap is not None, "gap": gap or "", "score": score} | more)


def test_neighbours_become_the_text_as_it_stood_where_the_best_of_them_was() -> None:
    other = piece(0, 8, document="other", score=0.7)
    last, first = piece(23, 38, gap="  ", score=0.9, scores={"dense": 0.9}), piece(10, 21, gap="\n\n", score=0.4)
    found = joined([last, other, first])
    assert [passage.document for passage in found] == ["d", "other"]
    one = found[0]
    assert (one.text, one.start, one.end) == (TEXT[10:38], 10, 38)
    assert (one.id, one.joined, one.score, one.scores) == ("10-21", ("10-21", "23-38"), 0.9, {"dense": 0.9})
    assert found[1] == other and other.joined == ()


def test_overlapping_pieces_share_their_text_once() -> None:
    (one,) = joined([piece(9, 21, gap=""), piece(15, 30, gap=""), piece(0, 12), piece(16, 20, gap="")])
    assert (one.text, one.joined) == (TEXT[:30], ("0-12", "9-21", "15-30", "16-20"))


def test_what_does_not_touch_stays_apart() -> None:
    apart = (
        [piece(0, 8), piece(23, 38, gap="  ")],  # the one between was not found
        [piece(0, 8), piece(10, 21)],  # the next section
        [piece(0, 8), piece(10, 21, gap="\n\n", document="e")],
        [piece(0, 8), piece(10, 21, gap="\n\n", tenant="ada")],
        [piece(0, 8), piece(10, 21, gap="\n\n", revision=2)],
        [piece(0, 8), piece(10, 21, gap="\n\n", heading=("B",))],
        [piece(0, 8, text="| head |\n| row |"), piece(10, 21, gap="\n\n")],  # no span of the document
        [piece(0, 12), piece(9, 21, gap="", text="X" * 12)],
    )
    for passages in apart:
        assert joined(passages) == passages


def test_what_joining_takes_does_not_travel() -> None:
    assert set(piece(0, 8, gap="").model_dump()) == set(Passage.model_fields)


borders = st.lists(st.integers(0, 60), min_size=2, max_size=12, unique=True).map(sorted)


@given(
    text=st.text(alphabet="ab \n", min_size=61, max_size=61),
    borders=borders,
    overlap=st.integers(0, 9),
    data=st.data(),
)
def test_any_pieces_of_a_section_join_to_exact_spans(
    text: str, borders: list[int], overlap: int, data: st.DataObject
) -> None:
    pieces: list[Found] = []
    for a, b in pairwise(borders):
        start = max(pieces[-1].start, a - overlap) if pieces else a  # none begins before the one before it
        while not overlap and start < b - 1 and text[start].isspace():
            start += 1  # white space between two pieces belongs to neither
        before = pieces[-1].end if pieces else start
        fields = {"id": f"{start}", "document": "d", "text": text[start:b], "start": start, "end": b}
        pieces.append(Found.model_validate(fields | {"joins": bool(pieces), "gap": text[before:start]}))
    found = data.draw(st.permutations(pieces))[: data.draw(st.integers(0, len(pieces)))]
    result = joined(found)
    assert all(passage.text == text[passage.start : passage.end] for passage in result)
    covered = [{*range(p.start, p.end)} for p in result]
    assert set().union(*covered) >= set().union(*({*range(p.start, p.end)} for p in found))
    assert sum(max(1, len(p.joined)) for p in result) == len(found)
    if len(found) == len(pieces):
        assert len(result) == 1
