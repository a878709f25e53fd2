"""Writes docs/reference/openapi.json: every route, field, status and example of the HTTP surface.

    .venv/bin/python scripts/write_openapi.py

A test compares the file with what the application says; run this after a change that is meant.
"""

import json
from pathlib import Path
from typing import Any, cast

from ragtune.settings import Settings
from service.app import create_app
from service.parts import Lifecycle, Parts

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "openapi.json"


def document() -> dict[str, Any]:
    """The document of an application that has no models and is never asked."""
    nothing = cast(Any, None)
    settings = Settings.load({}, host="127.0.0.1")
    parts = Parts(settings, *[nothing] * 16, lifecycle=Lifecycle())
    return create_app(parts).openapi()


def page() -> str:
    """As it stands in the file."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.name}: {len(document()['paths'])} paths")
