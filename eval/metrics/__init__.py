"""Metrics: what each says of one answer, and what it takes. Plain Python: the same answer, the same score.

observed ──> score(observed, names) ──> Scored          METRICS: all of them, by name
"""

from eval.metrics.metric import Metric, Needs
from eval.metrics.scored import Scored, score
from eval.metrics.table import METRICS

__all__ = ["METRICS", "Metric", "Needs", "Scored", "score"]
