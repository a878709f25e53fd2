"""The words every part of ragtune shares: settings, errors, mode, prompt rendering, wire types, store and
the command root. Imports nothing else of ours, and no torch."""
