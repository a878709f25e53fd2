"""Files of examples: what reads in each format, and that whatever is wrong is named by its place."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ragtune.errors import RefusedArtifact
from ragtune.examples import FORMATS, Columns, Example, read_example_file, read_examples
from ragtune.prompt import Message

GOOD = '{"id": "k-1", "task": "knowledge", "query": "How long?", "answers": ["2 h"], "gold_documents": ["a.md"]}'
TALK = (
    '{"id": "t", "messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hello"}, '
    '{"role": "assistant", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i."}]}, '
    '{"role": "user", "content": "Bye"}, {"role": "assistant", "content": "Bye."}]}'
)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def refusal(path: Path, columns: Columns | None = None) -> str:
    """Why the file is refused, without its name."""
    with pytest.raises(RefusedArtifact) as caught:
        read_example_file(path, columns=columns or Columns())
    return caught.value.message.replace(str(path), path.name)


def squad(questions: object, **more: object) -> str:
    paragraph = {"context": "It was in May.", "qas": questions}
    return json.dumps({"version": "v2.0", "data": [{"title": "Ship", "paragraphs": [paragraph]}], **more}, indent=1)


def asked(**fields: object) -> dict[str, object]:
    return {"id": "q1", "question": " When? ", "answers": [{"text": "May", "answer_start": 10}], **fields}


def test_examples_read_in_order_and_blank_lines_do_not_count(tmp_path: Path) -> None:
    text = GOOD + '\n\n{"id": "k-2", "query": "Why?", "answers": ["a", "b"], "slice": "unanswerable"}\r\n'
    assert read_examples(write(tmp_path, "examples.jsonl", text)) == [
        Example(id="k-1", task="knowledge", query="How long?", answers=("2 h",), gold_documents=("a.md",)),
        Example(id="k-2", query="Why?", answers=("a", "b"), slice="unanswerable"),
    ]


def test_only_a_line_feed_ends_a_line_and_a_byte_order_mark_is_none_of_the_text(tmp_path: Path) -> None:
    text = '\ufeff{"id": "1", "query": "a\u2028b\x85c", "answers": ["x"]}'
    assert read_examples(write(tmp_path, "examples.jsonl", text))[0].query == "a\u2028b\x85c"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "Invalid JSON"),
        ("[]", "Input should be an object"),
        ('{"id": "x", "answers": ["a"]}', "query: Field required"),
        ('{"id": "x", "query": " ", "answers": ["a"]}', "query: is empty"),
        ('{"id": "x", "query": 7, "answers": ["a"]}', "query: Input should be a valid string"),
        ('{"id": "x", "query": "q", "answers": []}', "answers: Tuple should have at least 1 item"),
        ('{"id": "x", "query": "q", "answers": ["a", ""]}', "answers.1: is empty"),
        ('{"id": "x", "query": "q", "awnsers": ["a"]}', "awnsers: unknown field 'awnsers'; did you mean 'answers'"),
        ('{"id": "x", "query": "\\ud800", "answers": ["a"]}', "Invalid JSON"),
        ('{"id": "k-1", "query": "q", "answers": ["a"]}', "the id 'k-1' is that of line 1, too"),
        (
            '{"id": "x", "query": "q", "answers": ["a"], "history": [{"role": "user", "content": "q", "nme": ""}]}',
            "history.0.nme: ",
        ),
    ],
)
def test_a_bad_line_is_named_by_its_number_and_field(tmp_path: Path, line: str, reason: str) -> None:
    path = write(tmp_path, "examples.jsonl", f"{GOOD}\n\n{line}\n")
    assert refusal(path).startswith(f"examples.jsonl, line 3: {reason}")


def test_a_file_that_is_missing_empty_or_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    assert refusal(path) == "cannot read examples examples.jsonl: No such file or directory"
    path.write_bytes(f"{GOOD}\n".encode() + b"\xff\xfe")
    assert "line 2: byte 0xff is not UTF-8" in refusal(path)
    for nothing in ("", "\n \n"):
        assert refusal(write(tmp_path, "examples.jsonl", nothing)) == "examples.jsonl holds no examples"
    assert refusal(write(tmp_path, "a.csv", "query,answer\n\n")) == "a.csv holds no examples"
    assert refusal(write(tmp_path, "a.json", squad([]))) == "a.json holds no examples"


def test_the_format_is_found_by_ending_and_content_or_asked_for(tmp_path: Path) -> None:
    one_line = json.dumps(json.loads(squad([asked()])))
    for name, text, found in [
        ("a.jsonl", GOOD, "examples"),
        ("a.json", GOOD, "examples"),
        ("b.jsonl", TALK, "messages"),
        ("c.json", squad([asked()]), "squad"),
        ("d.json", one_line, "squad"),
        ("e.CSV", "query,answer\na,b", "csv"),
        ("f.tsv", "query\tanswer\na\tb", "csv"),
    ]:
        assert read_example_file(write(tmp_path, name, text)).format == found, name
    path = write(tmp_path, "g.txt", "query,answer\na,b")
    assert refusal(path) == "cannot tell the format of g.txt; say which it is: examples, messages, squad, csv, beir"
    assert read_example_file(path, "csv").examples[0].query == "a"


def test_every_turn_of_the_assistant_is_an_example_with_what_was_said_before(tmp_path: Path) -> None:
    text = (
        TALK + '\n{"task": "b", "messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]}'
    )
    first, second, third = read_examples(write(tmp_path, "talk.jsonl", text))
    assert (first.id, first.query, first.answers) == ("t", "Hello", ("Hi.",))
    assert first.history == (Message(role="system", content="Be brief."),)
    assert (second.id, second.query, second.answers) == ("t.2", "Bye", ("Bye.",))
    assert [message.content for message in second.history] == ["Be brief.", "Hello", "Hi."]
    assert (third.id, third.task, third.history) == ("talk.jsonl:2", "b", ())


USER = '{"role": "user", "content": "Hello"}'
REPLY = '{"role": "assistant", "content": "Hi."}'


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        (f"{USER}, {USER}", "messages: the last turn must be the assistant's"),
        (f"{REPLY}, {USER}, {REPLY}", "messages.0: an assistant's turn must follow one of the user"),
        (f"{USER}, {REPLY}, {REPLY}", "messages.2: an assistant's turn must follow one of the user"),
        (f'{USER}, {{"role": "tool", "content": "4"}}, {REPLY}', "messages.1.role: Input should be 'system'"),
        (
            f'{USER}, {{"role": "assistant", "content": null}}',
            "messages.1.content: a turn without text, such as a tool",
        ),
        (f'{USER}, {{"role": "assistant", "content": ""}}', "messages.1.content: is empty"),
        (f'{{"role": "user", "content": [{{"type": "image_url"}}]}}, {REPLY}', "messages.0.content: only parts like"),
        (f'{{"role": "user", "content": "a", "weight": 0}}, {REPLY}', "messages.0.weight: "),
        (REPLY, "messages: List should have at least 2 items"),
    ],
)
def test_a_conversation_that_cannot_be_learnt_is_named_by_its_line(tmp_path: Path, turns: str, reason: str) -> None:
    path = write(tmp_path, "talk.jsonl", f'{TALK}\n{{"messages": [{turns}]}}')
    assert refusal(path).startswith(f"talk.jsonl, line 2: {reason}")


def test_questions_of_squad_have_their_paragraph_as_context(tmp_path: Path) -> None:
    answers = [{"text": "May"}, {"text": "in May"}, {"text": "May"}]
    impossible = {"id": 2, "question": "Why?", "answers": [], "is_impossible": True, "plausible_answers": []}
    path = write(tmp_path, "squad.json", squad([asked(answers=answers), impossible]))
    when, why = read_example_file(path, unanswerable="No idea.").examples
    assert (when.query, when.answers, when.context) == ("When?", ("May", "in May"), "It was in May.")
    assert when.asked == "It was in May.\n\nWhen?"
    assert (why.id, why.answers, why.slice) == ("2", ("No idea.",), "unanswerable")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (squad([asked(), asked(id="2", answers=[])]), "article 1, paragraph 1, question 2: answers: there is none"),
        (
            squad([asked(answers=[{"text": ""}])]),
            "as SQuAD: article 1, paragraph 1, question 1, answer 1: text: is empty",
        ),
        (squad([asked(question=None)]), "as SQuAD: article 1, paragraph 1, question 1: question: Input should be"),
        (squad([asked(is_imposible=True)]), "as SQuAD: article 1, paragraph 1, question 1: is_imposible: Extra"),
        (
            squad([asked(), asked()]),
            "article 1, paragraph 1, question 2: the id 'q1' is that of article 1, paragraph 1",
        ),
        (squad([asked()], dat=[]), "as SQuAD: dat: unknown field 'dat'; did you mean 'data'?"),
        (squad([asked()])[:-5], "as SQuAD: Invalid JSON: EOF while parsing"),
    ],
)
def test_what_is_no_squad_is_named_by_article_paragraph_and_question(tmp_path: Path, text: str, reason: str) -> None:
    assert refusal(write(tmp_path, "squad.json", text)).startswith(f"squad.json, {reason}")


def test_a_csv_finds_its_columns_by_their_usual_names_and_tells_which(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", '\ufeffText,Category,note\n"Where,\r\nis it?", here ,x\n\nWhen?,"say ""now""",\n')
    file = read_example_file(path)
    assert [(example.id, example.query, example.answers[0]) for example in file.examples] == [
        ("a.csv:2", "Where,\r\nis it?", "here"),
        ("a.csv:5", "When?", 'say "now"'),
    ]
    assert file.told == "query from 'Text', answer from 'Category'; not used: 'note'"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_of_a_csv_is_found(tmp_path: Path, delimiter: str) -> None:
    rows = [['"question"', '"answer"', "id", "task"], ['"a, b; c"', "1", "x", "sums"]]
    path = write(tmp_path, "a.csv", "\n".join(delimiter.join(row) for row in rows))
    (example,) = read_examples(path)
    assert (example.query, example.answers, example.id, example.task) == ("a, b; c", ("1",), "x", "sums")


@pytest.mark.parametrize(
    ("text", "columns", "reason"),
    [
        (
            "text,question,answer\na,b,c",
            {},
            "line 1: 'text' and 'question' could each be the query; name it as `query` of csv in the recipe or suite",
        ),
        ("quest,answer\na,b", {}, "line 1: no column looks like the query ... The columns are 'quest', 'answer'"),
        ("question\na", {}, "line 1: no column looks like the answer ... The columns are 'question'"),
        ("question,answer\na,b", {"query": "questoin"}, "line 1: unknown column 'questoin'; did you mean 'question'?"),
        ("question,answer\na,b", {"answer": "question"}, "line 1: column 'question' cannot be both query and answer"),
        ("answer,question,answer\na,b,c", {}, "line 1: 2 columns are called 'answer'"),
        ('question,answer\n"a\nb",c\n ,d', {}, "line 4: query (column 'question'): is empty"),
        ("question,answer\na, ", {}, "line 2: answer (column 'answer'): is empty"),
        ("question,answer\na,b\n\nc,d,e", {}, "line 4: 3 cells under 2 columns; put cells that hold"),
        ('question,answer\na,b\nc,"d\ne,f\n', {}, "line 3: no CSV: ... is a quote missing?"),
        ("question,answer,id\na,b,1\nc,d,1", {}, "line 3: the id '1' is that of line 2, too"),
    ],
)
def test_a_csv_that_cannot_be_read_is_named_by_its_line(
    tmp_path: Path, text: str, columns: dict[str, str], reason: str
) -> None:
    told = refusal(write(tmp_path, "a.csv", text), Columns(**columns))
    head, _, tail = reason.partition(" ... ")
    assert told.startswith(f"a.csv, {head}") and tail in told


def collection(folder: Path, judgements: str, name: str = "test.tsv") -> Path:
    (folder / "qrels").mkdir()
    write(folder, "queries.jsonl", '{"_id": "1", "text": "Why?"}\n{"_id": "2", "text": "When?", "split": "x"}')
    write(folder / "qrels", name, judgements)
    return folder


def test_a_beir_folder_is_read_with_the_documents_judged_relevant_and_no_answers(tmp_path: Path) -> None:
    lines = "query-id\tcorpus-id\tscore\n2\td7\t2\n1\td1\t0\n2\td9\t1\n"
    file = read_example_file(collection(tmp_path, lines), unanswered=True)
    (when,) = file.examples  # the other has no document that is relevant
    assert (when.id, when.query, when.answers) == ("2", "When?", ())
    assert (when.gold_documents, when.gains) == (("d7", "d9"), {"d7": 2, "d9": 1})
    assert (file.format, file.told) == ("beir", "judgements from test.tsv")
    assert read_example_file(tmp_path / "qrels" / "test.tsv", "beir", unanswered=True).examples == file.examples


@pytest.mark.parametrize(
    ("judgements", "name", "says"),
    [
        ("2\td7\t1", "dev.tsv", None),
        ("2\td7\tyes", "test.tsv", r"line 1: a judgement is a query-id, a corpus-id and a whole number, with tabs"),
        ("2 d7 1", "test.tsv", "line 1: a judgement is"),
        ("3\td7\t1", "test.tsv", "judges query '3', which is not in"),
        ("2\td7\t0", "test.tsv", "holds no document that answers a query"),
        ("2\td7\t1", "test.txt", "none in qrels/"),
    ],
)
def test_a_beir_folder_that_does_not_fit_is_refused(
    tmp_path: Path, judgements: str, name: str, says: str | None
) -> None:
    folder = collection(tmp_path, judgements, name)
    if says is None:
        assert read_example_file(folder, unanswered=True).examples
        return
    with pytest.raises(RefusedArtifact, match=says):
        read_example_file(folder, unanswered=True)


def test_examples_without_answers_are_refused_where_answers_are_needed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"id": "1", "query": "Why?", "answers": [], "gold_documents": ["a.md"]}')
    with pytest.raises(RefusedArtifact, match="example '1' has no answer; such are for measuring retrieval alone"):
        read_examples(path)
    assert read_example_file(path, unanswered=True).examples[0].gold_documents == ("a.md",)


PIECES = st.sampled_from(
    [*'{}[]":,;\t\n\r\0" ', '"messages"', '"data"', "query,answer\n", "a,b\n", "7", "null", GOOD, TALK]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.binary(max_size=40), st.lists(PIECES, max_size=12).map(lambda pieces: "".join(pieces).encode())))
@example(b"[" * 100_000)
@example(b"query,answer\n" + b"a" * 200_000 + b",b")
@example(b'{"data": [{"paragraphs": [{"context": "\\ud800", "qas": []}]}]}')
def test_whatever_bytes_a_file_holds_it_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("a.csv", "a.jsonl", "a.json", "a.txt"):
        (tmp_path / name).write_bytes(content)
        for asked in ("auto", *FORMATS):
            with suppress(RefusedArtifact):
                assert read_example_file(tmp_path / name, asked).examples
