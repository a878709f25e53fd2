"""`python -m ragtune` is the command `ragtune`; guarded, as spawned processes import this module again."""

from ragtune.cli import main

if __name__ == "__main__":
    main()
