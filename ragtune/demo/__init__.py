"""The demo: an invented company, three trained adapters, and a table of every mode, made by the commands alone."""
