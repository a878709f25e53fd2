"""Multiple choice, perplexity and ranking of one item, by hand."""

import pytest

from eval.metrics.likelihood import answer_nats, choice_accuracy, choice_accuracy_per_token
from eval.metrics.retrieval import mrr, ndcg, recall
from eval.observed import Observed
from eval.ranking import ndcg as ndcg_of
from eval.runfile import Likelihood
from ragtune.examples import Example

CHOICES = Example(id="1", query="q", answers=("a long one",), choices=("short", "a long one"))


def test_a_long_choice_wins_per_token_where_it_loses_in_sum() -> None:
    seen = likelihoods(CHOICES, ("short", -2.0, 1), ("a long one", -3.0, 3))
    assert (choice_accuracy(seen), choice_accuracy_per_token(seen)) == (0, 1)


def test_of_equally_likely_choices_the_first_is_chosen() -> None:
    assert choice_accuracy(likelihoods(CHOICES, ("a long one", -2.0, 1), ("short", -2.0, 1))) == 0


def test_a_choice_without_a_likelihood_leaves_the_question_open() -> None:
    assert choice_accuracy(likelihoods(CHOICES, ("a long one", -2.0, 1))) is None
    assert choice_accuracy(likelihoods(CHOICES, ("a long one", -2.0, 1), ("short", -1.0, 0))) is None
    assert choice_accuracy(likelihoods(Example(id="1", query="q", answers=("x",)), ("x", -1.0, 1))) is None


def test_perplexity_is_of_the_first_answer_per_token() -> None:
    seen = likelihoods(CHOICES, ("short", -2.0, 1), ("a long one", -3.0, 4))
    assert answer_nats(seen) == pytest.approx(0.75)
    assert answer_nats(likelihoods(CHOICES, ("short", -2.0, 1))) is None


def test_documents_are_ranked_against_gold_or_graded_relevance() -> None:
    gold = Example(id="1", query="q", answers=("x",), gold_documents=("a", "b"))
    graded = gold.model_copy(update={"gains": {"a": 2, "c": 1, "d": 0}})
    found = ("c", "a", "x")
    assert [metric(Observed(gold, "", ranking=found)) for metric in (recall, mrr)] == [0.5, 0.5]
    assert [metric(Observed(graded, "", ranking=found)) for metric in (recall, mrr)] == [1, 1]
    assert ndcg(Observed(graded, "", ranking=found)) == ndcg_of(found, graded.gains, 10)


def test_without_a_search_or_relevant_documents_there_is_no_ranking_to_score() -> None:
    gold = Example(id="1", query="q", answers=("x",), gold_documents=("a",))
    for metric in (recall, mrr, ndcg):
        assert metric(Observed(gold, "")) is None
        assert metric(Observed(gold, "", ranking=())) == 0
        assert metric(Observed(Example(id="1", query="q", answers=("x",), gains={"a": 0}), "", ranking=("a",))) is None


def likelihoods(example: Example, *known: tuple[str, float, int]) -> Observed:
    told = tuple(Likelihood(text=text, logprob=logprob, tokens=tokens) for text, logprob, tokens in known)
    return Observed(example, "", likelihoods=told)
