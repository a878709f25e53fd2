"""A report as one page for a browser, without requests to anywhere."""
