"""Statistics of scores. Everything is a pure function; what is drawn by chance is drawn by a seed.

Items of one document are not independent: whatever takes clusters reckons with that.
"""

from eval.statistics.compared import Compared, compared
from eval.statistics.family import holm, in_family
from eval.statistics.interval import Interval, interval, paired
from eval.statistics.resampling import RESAMPLES, resampled, resampled_difference
from eval.statistics.split import Split, averaged, split

__all__ = [
    "RESAMPLES",
    "Compared",
    "Interval",
    "Split",
    "averaged",
    "compared",
    "holm",
    "in_family",
    "interval",
    "paired",
    "resampled",
    "resampled_difference",
    "split",
]
