"""All metrics on one screen."""

from collections.abc import Callable, Sequence

from eval.metrics.abstention import abstains
from eval.metrics.citations import citation_precision, citation_recall, uncited
from eval.metrics.fields import field_f1, field_precision, field_recall, first_object, valid_json
from eval.metrics.grounding import groundedness
from eval.metrics.labels import label_accuracy, label_counts, label_in, macro_f1
from eval.metrics.likelihood import answer_nats, choice_accuracy, choice_accuracy_per_token
from eval.metrics.metric import Counts, Metric
from eval.metrics.numbers import last_number, numeric_match
from eval.metrics.retrieval import mrr, ndcg, recall
from eval.metrics.rouge import rouge_l
from eval.metrics.words import containment, exact_match, token_f1
from eval.observed import Observed


def _of_text(score: Callable[[str, Sequence[str]], float | None]) -> Callable[[Observed], float | None]:
    return lambda observed: score(observed.text, observed.example.answers)


def _of_words(score: Callable[[str, Sequence[str]], float | None]) -> Callable[[Observed], float | None]:
    """A citation is no part of what is said."""
    return lambda observed: score(uncited(observed), observed.example.answers)


def _abstention(observed: Observed) -> float:
    return float(abstains(observed))


def _similarity(observed: Observed) -> float | None:
    """Never below 0: a share. Opposite vectors are no more wrong than unrelated ones."""
    return None if observed.similarity is None else min(1.0, max(0.0, observed.similarity))


def _judged(observed: Observed) -> float | None:
    return observed.judged


def _has_number(observed: Observed) -> bool:
    return last_number(uncited(observed)) is not None


def _has_object(observed: Observed) -> bool:
    return first_object(observed.text) is not None


def _has_label(observed: Observed) -> bool:
    return label_in(observed.text, observed.labels) != ""


_ALL = (
    Metric("exact_match", "text", _of_words(exact_match), "is an accepted answer, but for case, articles, punctuation"),
    Metric("token_f1", "text", _of_words(token_f1), "shares its words with an accepted answer"),
    Metric("containment", "text", _of_words(containment), "has an accepted answer in it, word for word"),
    Metric("rouge_l", "text", _of_words(rouge_l), "has the words of an accepted answer in the same order"),
    Metric("numeric_match", "text", _of_words(numeric_match), "ends on the right number", reads=_has_number),
    Metric("label_accuracy", "labels", label_accuracy, "names the right label", reads=_has_label),
    Metric(
        "macro_f1",
        "labels",
        label_accuracy,
        "F1 of each label, averaged over labels",
        whole=Counts(label_counts, macro_f1),
        reads=_has_label,
    ),
    Metric("valid_json", "json", _of_text(valid_json), "has a JSON object in it", reads=_has_object),
    Metric(
        "field_precision", "json", _of_text(field_precision), "share of its fields that are right", reads=_has_object
    ),
    Metric("field_recall", "json", _of_text(field_recall), "share of the wanted fields it has", reads=_has_object),
    Metric("field_f1", "json", _of_text(field_f1), "precision and recall of its fields in one", reads=_has_object),
    Metric("embedding_similarity", "embedding", _similarity, "means about what an accepted answer means"),
    Metric("choice_accuracy", "choices", choice_accuracy, "finds the right choice the likeliest"),
    Metric("choice_accuracy_per_token", "choices", choice_accuracy_per_token, "finds it the likeliest per token"),
    Metric(
        "perplexity", "likelihood", answer_nats, "how surprised it is by the answer", unit="nats", lower_is_better=True
    ),
    Metric("abstention", "text", _abstention, "says that it has no answer"),
    Metric("citation_precision", "passages", citation_precision, "share of its citations that are right"),
    Metric("citation_recall", "passages", citation_recall, "share of the gold documents it was given that it cites"),
    Metric("groundedness", "passages", groundedness, "share of its words that stand in its passages"),
    Metric("recall", "ranking", recall, "share of the gold documents among all that were retrieved"),
    Metric("mrr", "ranking", mrr, "1 / the rank of the first gold document among all that were retrieved"),
    Metric("ndcg", "ranking", ndcg, "the first ten documents, against the best order of them"),
    Metric("judge", "judge", _judged, "what a language model thinks of it, beside the accepted answers"),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
