"""Examples: labelled records for training and evaluation, and the formats of files they are read from."""

from ragtune.examples.csv_rows import Columns
from ragtune.examples.example import UNANSWERABLE, Example
from ragtune.examples.reading import FORMATS, ExampleFile, Format, read_example_file, read_examples

__all__ = [
    "FORMATS",
    "UNANSWERABLE",
    "Columns",
    "Example",
    "ExampleFile",
    "Format",
    "read_example_file",
    "read_examples",
]
