"""What the model finds likely: multiple choice by log-probability, and the perplexity of the answer.

Nothing is generated: the log-probabilities are those of given texts after the question. The choice by their sum is
what lm-evaluation-harness calls `acc`; the one by the mean over tokens does not count against long
choices (Brown et al. 2020, section 2.4).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from eval.observed import Observed

if TYPE_CHECKING:  # a run file holds a suite, and a suite names metrics
    from eval.runfile import Likelihood


def choice_accuracy(observed: Observed) -> float | None:
    """1 if the likeliest choice is an accepted answer; the first one of equals counts."""
    return _choice(observed, lambda likelihood: likelihood.logprob)


def choice_accuracy_per_token(observed: Observed) -> float | None:
    """1 if the choice that is likeliest per token is an accepted answer; the first one of equals counts."""
    return _choice(observed, lambda likelihood: likelihood.logprob / likelihood.tokens)


def answer_nats(observed: Observed) -> float | None:
    """The negative log-probability per token of the first answer, in nats; None where it was not had.

    The perplexity of several items is exp of the mean: each item weighs the same, however long its answer.
    """
    found = [one for one in observed.likelihoods if one.text == observed.example.answers[0] and one.tokens]
    return -found[0].logprob / found[0].tokens if found else None


def _choice(observed: Observed, figure: Callable[["Likelihood"], float]) -> float | None:
    """None without choices, or where the likelihood of one of them is missing: the others alone decide nothing."""
    known = {one.text: one for one in observed.likelihoods if one.tokens}
    choices = observed.example.choices
    if not choices or any(choice not in known for choice in choices):
        return None
    return float(max(choices, key=lambda choice: figure(known[choice])) in observed.example.answers)
