"""The bake-off: documents, examples and a budget in; every technique trained alike, asked alike, and a verdict out."""
