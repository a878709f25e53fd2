"""Fifty JSON schemas as people write them, and a question for each: what `benchmarks/structured_output.py` asks for.

Written by hand after what is asked of such an API: extraction, tool calls, forms, configurations, classification, and
what pydantic makes of a class. A third holds free strings without a length.

What a small model at temperature 1 does not end by itself is ended by the schema, as a careful author would: arrays
have `maxItems`, numbers a range and a `multipleOf`, patterns and most free keys a bound on their length. Recursion is
over a `$ref` that few answers follow, or over one definition a level: SmolLM2 rarely leaves a linked list.

Each schema means the same to llguidance and to an exact validator. So dates carry a pattern: llguidance's `date` has
29 February in every year, and a year 0000.
"""

from typing import Any, NamedTuple

Schema = dict[str, Any]


class Case(NamedTuple):
    """One schema with a question that its answer would fit."""

    name: str
    schema: Schema
    question: str


def closed(properties: Schema, required: list[str] | None = None, **more: Any) -> Schema:
    """An object with these properties and no others, all required unless said: what strict modes ask for."""
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False, **more}


def listed(items: Schema, most: int, least: int = 0) -> Schema:
    """An array of at most `most` items."""
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def text(longest: int, shortest: int = 1) -> Schema:
    """A string of bounded length."""
    return {"type": "string", "minLength": shortest, "maxLength": longest}


def matching(pattern: str) -> Schema:
    """A string that a regular expression finds something in."""
    return {"type": "string", "pattern": pattern}


def one_of(*values: str) -> Schema:
    """One of these strings."""
    return {"type": "string", "enum": list(values)}


def between(least: int, most: int) -> Schema:
    """An integer within bounds, both included."""
    return {"type": "integer", "minimum": least, "maximum": most}


def titled(title: str, schema: Schema) -> Schema:
    """With a title, which pydantic puts on everything."""
    return {**schema, "title": title}


STRING: Schema = {"type": "string"}
SENTENCE: Schema = {"type": "string", "maxLength": 160}
NULL: Schema = {"type": "null"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 1000000}
MONEY: Schema = {"type": "number", "minimum": 0, "maximum": 100000, "multipleOf": 0.01}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.01}
CURRENCY = one_of("EUR", "USD", "GBP", "JPY")
EMAIL: Schema = {"type": "string", "format": "email", "maxLength": 40}
UUID: Schema = {"type": "string", "format": "uuid"}
DATE: Schema = {"type": "string", "format": "date", "pattern": "^20[0-9]{2}-[0-9]{2}-(0[1-9]|1[0-9]|2[0-8])$"}
INSTANT: Schema = {
    "type": "string",
    "format": "date-time",
    "pattern": "^20[0-9]{2}-[0-9]{2}-(0[1-9]|1[0-9]|2[0-8])T[0-9]{2}:[0-9]{2}:[0-5][0-9]Z$",
}
TIME: Schema = {"type": "string", "format": "time", "pattern": ":00Z$"}
SLUG = "^[a-z][a-z0-9-]{1,23}$"

EXTRACTION: tuple[Case, ...] = (
    Case(
        "invoice",
        closed(
            {
                "number": matching("^INV-[0-9]{4,6}$"),
                "issued": DATE,
                "seller": closed({"name": text(40), "vat_id": matching("^[A-Z]{2}[0-9]{9}$")}),
                "lines": listed(closed({"item": text(40), "quantity": between(1, 999), "unit_price": MONEY}), 4, 1),
                "currency": CURRENCY,
                "total": MONEY,
            }
        ),
        "Extract the invoice: Nordlicht GmbH billed 3 desk lamps at 49.90 EUR and one shelf at 120 EUR on 3 May 2024.",
    ),
    Case(
        "contact",
        closed(
            {
                "name": {"anyOf": [STRING, NULL]},
                "email": {"anyOf": [EMAIL, NULL]},
                "phone": {"anyOf": [matching(r"^\+[1-9][0-9]{6,13}$"), NULL]},
                "company": {"anyOf": [SENTENCE, NULL]},
            }
        ),
        "Who wrote this? 'Best regards, Maria Lind, Polar Software, maria@polar.example'",
    ),
    Case(
        "person_nullable_types",
        closed(
            {
                "first_name": STRING,
                "middle_name": {"type": ["string", "null"]},
                "age": {"type": ["integer", "null"], "minimum": 0, "maximum": 130},
                "married": {"type": ["boolean", "null"]},
            }
        ),
        "Extract the person: John Q. Public, 42 years old.",
    ),
    Case(
        "entities",
        closed(
            {
                "entities": listed(
                    closed(
                        {
                            "text": STRING,
                            "label": one_of("PERSON", "PLACE", "ORGANISATION", "DATE", "MONEY"),
                            "start": between(0, 5000),
                            "end": between(0, 5000),
                        }
                    ),
                    5,
                )
            }
        ),
        "Find the named entities: 'In 1998 Larry Page founded Google in California.'",
    ),
    Case(
        "knowledge_triples",
        listed({"type": "array", "prefixItems": [text(30), text(20), text(30)], "items": False, "minItems": 3}, 5, 1),
        "Write facts about Marie Curie as triples of subject, relation and object.",
    ),
    Case(
        "medical_intake",
        closed(
            {
                "patient": closed({"age": between(0, 120), "sex": one_of("female", "male", "other", "unknown")}),
                "complaint": SENTENCE,
                "vitals": closed(
                    {
                        "temperature_c": {"type": "number", "minimum": 30, "maximum": 45, "multipleOf": 0.1},
                        "pulse": between(20, 250),
                        "blood_pressure": {
                            "type": "array",
                            "prefixItems": [between(50, 260), between(20, 180)],
                            "items": False,
                            "minItems": 2,
                        },
                    }
                ),
                "allergies": listed(text(24), 4),
                "smoker": FLAG,
            }
        ),
        "A woman of 37 has had a headache since yesterday; 38.2 C, pulse 92, 130 over 85, allergic to penicillin.",
    ),
    Case(
        "resume",
        closed(
            {
                "name": text(40),
                "headline": SENTENCE,
                "jobs": listed(
                    closed(
                        {"employer": text(40), "role": text(40), "from": between(1970, 2030)}
                        | {"to": {"anyOf": [between(1970, 2030), {"const": "present"}]}}
                    ),
                    3,
                    1,
                ),
                "skills": listed(text(20), 6),
            }
        ),
        "Write the short CV of a fictional data engineer with two jobs.",
    ),
    Case(
        "citation",
        closed(
            {
                "authors": listed(text(40), 4, 1),
                "title": STRING,
                "year": between(1450, 2100),
                "doi": {"anyOf": [matching(r"^10\.[0-9]{4,6}/[a-z0-9.]{3,20}$"), NULL]},
                "isbn": {"anyOf": [matching("^97[89]-[0-9]{10}$"), NULL]},
            },
            ["authors", "title", "year"],
        ),
        "Cite the book 'On the Origin of Species'.",
    ),
    Case(
        "meeting_minutes",
        closed(
            {
                "summary": STRING,
                "decisions": listed(SENTENCE, 3),
                "actions": listed(closed({"who": text(30), "what": SENTENCE, "due": {"anyOf": [DATE, NULL]}}), 3),
            }
        ),
        "Write the minutes of a short meeting about moving the office.",
    ),
)

CLASSIFICATION: tuple[Case, ...] = (
    Case(
        "sentiment",
        closed({"sentiment": one_of("positive", "neutral", "negative"), "confidence": SHARE}),
        "What is the sentiment of: 'The room was clean but the staff were rude.'",
    ),
    Case(
        "topics",
        closed({"topics": listed(one_of("sports", "politics", "science", "culture", "business"), 3, 1)}),
        "Which topics does this headline have: 'Football club sold to a technology billionaire'?",
    ),
    Case("label_alone", one_of("spam", "ham", "unsure"), "Is this spam: 'You have won 1000 dollars, click here'?"),
    Case(
        "moderation",
        closed(
            {
                "flagged": FLAG,
                "categories": closed({"violence": FLAG, "hate": FLAG, "self_harm": FLAG, "sexual": FLAG}),
                "reason": SENTENCE,
            }
        ),
        "Is this allowed in a forum for children: 'I will beat you in this game!'?",
    ),
    Case(
        "mixed_enum",
        closed({"answer": {"enum": ["yes", "no", 0, 1, None, True, False, 2.5, ["n/a"]]}, "sure": {"const": True}}),
        "Is a tomato a fruit?",
    ),
    Case(
        "translation",
        closed({"source_language": matching("^[a-z]{2}(-[A-Z]{2})?$"), "translation": STRING, "notes": SENTENCE}),
        "Translate 'Guten Morgen, wie geht es dir?' into English.",
    ),
    Case(
        "reasoned_answer",
        closed({"steps": listed(closed({"thought": SENTENCE, "result": SENTENCE}), 3, 1), "answer": STRING}),
        "A train goes 120 km in 90 minutes. How fast is it?",
    ),
    Case(
        "rating",
        closed(
            {
                "stars": {"type": "number", "minimum": 0.5, "maximum": 5, "multipleOf": 0.5},
                "percent": {"type": "integer", "minimum": 0, "maximum": 100, "multipleOf": 5},
                "comment": text(120, 10),
            }
        ),
        "Rate the film 'Metropolis' of 1927.",
    ),
)

TOOLS: tuple[Case, ...] = (
    Case(
        "tool_call",
        closed(
            {
                "name": {"const": "get_weather"},
                "arguments": closed({"city": STRING, "unit": one_of("celsius", "fahrenheit"), "days": between(1, 14)}),
            }
        ),
        "Call a tool to find out what the weather in Oslo will be this week.",
    ),
    Case(
        "tool_choice",
        {
            "anyOf": [
                closed({"tool": {"const": "search"}, "query": SENTENCE, "limit": between(1, 50)}),
                closed(
                    {
                        "tool": {"const": "open"},
                        "url": {"type": "string", "format": "uri", "pattern": "^https://", "maxLength": 60},
                    }
                ),
                closed({"tool": {"const": "answer"}, "text": SENTENCE}),
            ]
        },
        "Choose a tool: who won the chess world championship in 1972?",
    ),
    Case(
        "parallel_tool_calls",
        {
            "$defs": {
                "call": closed(
                    {"id": matching("^call_[a-zA-Z0-9]{8}$"), "function": one_of("add", "sub", "mul", "div")}
                    | {
                        "arguments": listed(
                            {"type": "number", "minimum": -1000, "maximum": 1000, "multipleOf": 0.5}, 2, 2
                        )
                    }
                )
            },
            **listed({"$ref": "#/$defs/call"}, 3, 1),
        },
        "Compute 3 + 4, 8 * 9 and 10 / 4 by tool calls.",
    ),
    Case(
        "json_rpc",
        closed(
            {
                "jsonrpc": {"const": "2.0"},
                "method": matching("^[a-z]{2,12}/[a-z]{2,12}$"),
                "params": {
                    "type": "object",
                    "patternProperties": {
                        "^[a-z_]{2,16}$": {"type": ["string", "integer", "boolean"], "maxLength": 20, "maximum": 99}
                    },
                    "additionalProperties": False,
                    "maxProperties": 3,
                },
                "id": {"anyOf": [COUNT, text(12), NULL]},
            }
        ),
        "Write a JSON-RPC request that lists the resources of a server.",
    ),
    Case(
        "payment_one_of",
        {
            "oneOf": [
                closed({"kind": {"const": "card"}, "number": matching("^[0-9]{16}$"), "cvc": matching("^[0-9]{3}$")}),
                closed({"kind": {"const": "iban"}, "iban": matching("^DE[0-9]{20}$"), "holder": text(40)}),
                closed({"kind": {"const": "invoice"}, "email": EMAIL, "days": {"enum": [14, 30, 60]}}),
            ]
        },
        "The customer Ada Berg wants to pay by invoice within 30 days. Give the payment details.",
    ),
    Case(
        "shapes_one_of",
        closed(
            {
                "shapes": listed(
                    {
                        "oneOf": [
                            closed(
                                {
                                    "type": {"const": "circle"},
                                    "radius": {"type": "integer", "exclusiveMinimum": 0, "maximum": 99},
                                }
                            ),
                            closed({"type": {"const": "rectangle"}, "width": MONEY, "height": MONEY}),
                            closed({"type": {"const": "polygon"}, "corners": listed(between(-99, 99), 8, 6)}),
                        ]
                    },
                    3,
                    1,
                )
            }
        ),
        "Draw a house from simple shapes.",
    ),
    Case(
        "scalar_one_of",
        closed({"key": matching(SLUG), "value": {"oneOf": [STRING, COUNT, FLAG, NULL, listed(text(10), 3)]}}),
        "Give the setting for the number of workers, which is 8.",
    ),
    Case(
        "sql_filter",
        {
            "$defs": {
                "field": one_of("name", "age", "city", "created"),
                "test": closed(
                    {"field": {"$ref": "#/$defs/field"}, "op": one_of("=", "!=", "<", ">=", "like")}
                    | {"value": {"anyOf": [STRING, COUNT, NULL]}}
                ),
                "group": closed(
                    {"all": listed({"anyOf": [{"$ref": "#/$defs/test"}, {"$ref": "#/$defs/negated"}]}, 3, 1)}
                ),
                "negated": closed({"not": {"$ref": "#/$defs/test"}}),
            },
            "anyOf": [{"$ref": "#/$defs/group"}, {"$ref": "#/$defs/test"}],
        },
        "Filter the users older than 30 who do not live in Rome.",
    ),
)

RECORDS: tuple[Case, ...] = (
    Case(
        "calendar_event",
        closed(
            {
                "title": STRING,
                "start": INSTANT,
                "end": INSTANT,
                "all_day": FLAG,
                "location": {"type": ["string", "null"]},
                "attendees": listed(EMAIL, 3),
                "repeats": one_of("never", "daily", "weekly", "monthly"),
            }
        ),
        "Plan a meeting with Sam (sam@example.com) next Tuesday at 10 about the budget.",
    ),
    Case(
        "support_ticket",
        closed(
            {
                "subject": text(60),
                "description": STRING,
                "priority": one_of("low", "normal", "high", "urgent"),
                "tags": listed(matching(SLUG), 4),
                "customer": closed({"id": UUID, "email": EMAIL}),
            }
        ),
        "Open a ticket: I cannot log in since the update and my boss is angry.",
    ),
    Case(
        "recipe",
        closed(
            {
                "title": STRING,
                "servings": between(1, 12),
                "ingredients": listed(
                    closed({"name": text(30), "amount": MONEY, "unit": one_of("g", "ml", "piece", "tbsp", "tsp")}), 5, 2
                ),
                "steps": listed(SENTENCE, 4, 1),
                "vegan": FLAG,
            }
        ),
        "Give me a recipe for a simple tomato soup.",
    ),
    Case(
        "github_issue",
        {
            "type": "object",
            "properties": {
                "title": STRING,
                "body": {"type": ["string", "null"], "maxLength": 300},
                "state": {"enum": ["open", "closed"]},
                "labels": listed(closed({"name": text(20), "color": matching("^[0-9a-f]{6}$")}), 3),
                "assignee": {"anyOf": [closed({"login": matching("^[a-z0-9]{1,20}$"), "id": COUNT}), NULL]},
                "comments": between(0, 500),
            },
            "required": ["title", "state", "labels", "assignee"],
            "additionalProperties": False,
        },
        "Report the bug: the export to CSV fails if a name holds a comma.",
    ),
    Case(
        "product",
        closed(
            {
                "sku": matching("^[A-Z]{3}-[0-9]{5}$"),
                "name": text(50),
                "description": SENTENCE,
                "price": closed({"amount": MONEY, "currency": CURRENCY}),
                "variants": listed(
                    closed({"colour": one_of("red", "green", "blue", "black"), "sizes": listed(one_of(*"SML"), 3, 1)}),
                    3,
                ),
                "dimensions_cm": {
                    "type": "array",
                    "items": {"type": "number", "exclusiveMinimum": 0, "maximum": 300, "multipleOf": 0.5},
                    "minItems": 3,
                    "maxItems": 3,
                },
            }
        ),
        "Describe a rain jacket for a web shop.",
    ),
    Case(
        "audit_entry",
        closed({"id": UUID, "at": INSTANT, "actor": UUID, "action": one_of("create", "update", "delete"), "ok": FLAG}),
        "Write an audit entry for a deleted file.",
    ),
    Case(
        "opening_hours",
        closed({day: {"anyOf": [closed({"opens": TIME, "closes": TIME}), NULL]} for day in ("mon", "tue", "sat")}),
        "When is the library open?",
    ),
    Case(
        "quiz",
        listed(closed({"question": SENTENCE, "options": listed(text(30), 4, 4), "correct": between(0, 3)}), 2, 1),
        "Make a quiz about the planets.",
    ),
)

MAPS_AND_NUMBERS: tuple[Case, ...] = (
    Case(
        "api_config",
        closed(
            {
                "host": {
                    "type": "string",
                    "format": "hostname",
                    "maxLength": 30,
                    "pattern": r"^[a-z0-9]+(\.[a-z0-9]+)+$",
                },
                "port": between(1, 65535),
                "tls": FLAG,
                "headers": {"type": "object", "additionalProperties": text(30), "maxProperties": 3},
                "retry": closed(
                    {
                        "attempts": between(0, 10),
                        "backoff_s": {"type": "number", "exclusiveMinimum": 0, "maximum": 60, "multipleOf": 0.1},
                    }
                ),
            },
            ["host", "port", "retry"],
        ),
        "Configure a client for api.example.com over TLS with three attempts.",
    ),
    Case(
        "environment",
        {
            "type": "object",
            "patternProperties": {"^[A-Z][A-Z0-9_]{1,15}$": text(30)},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 4,
        },
        "Which environment variables does a small web server need?",
    ),
    Case(
        "word_counts",
        closed({"counts": {"patternProperties": {"^[a-z]{1,12}$": between(0, 999)}, **closed({}), "maxProperties": 5}}),
        "Count the words in: the cat and the dog and the bird.",
    ),
    Case(
        "ci_pipeline",
        {
            "$defs": {
                "step": {
                    "anyOf": [
                        closed({"run": SENTENCE}),
                        closed({"uses": matching("^[a-z]{2,12}/[a-z]{2,12}@v[0-9]{1,2}$")}),
                    ]
                }
            },
            **closed(
                {
                    "on": listed(one_of("push", "pull_request", "schedule"), 2, 1),
                    "jobs": {
                        "type": "object",
                        "patternProperties": {
                            "^[a-z]{2,12}$": closed(
                                {"image": matching(r"^[a-z]{2,12}:[0-9]{1,2}\.[0-9]{1,2}$")}
                                | {"steps": listed({"$ref": "#/$defs/step"}, 3, 1)}
                            )
                        },
                        "additionalProperties": False,
                        "maxProperties": 2,
                    },
                }
            ),
        },
        "Write a pipeline that tests a Python project on every push.",
    ),
    Case(
        "state_machine",
        {
            "$defs": {"state": one_of("idle", "running", "paused", "done")},
            **closed(
                {
                    "start": {"$ref": "#/$defs/state"},
                    "transitions": {
                        "type": "object",
                        "additionalProperties": listed({"$ref": "#/$defs/state"}, 3, 1),
                        "maxProperties": 3,
                    },
                    "final": listed({"$ref": "#/$defs/state"}, 2),
                }
            ),
        },
        "Design the states of a download.",
    ),
    Case(
        "network_interface",
        closed(
            {
                "mac": matching("^([0-9a-f]{2}:){5}[0-9a-f]{2}$"),
                "ipv4": listed({"type": "string", "format": "ipv4"}, 2, 1),
                "ipv6": {"anyOf": [{"type": "string", "format": "ipv6"}, NULL]},
                "mtu": between(576, 9000),
                "vlan": {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 4095},
            }
        ),
        "Describe the network interface of a home router.",
    ),
    Case(
        "geo_polygon",
        closed(
            {
                "type": {"const": "Polygon"},
                "coordinates": listed(
                    listed(
                        {
                            "type": "array",
                            "prefixItems": [
                                {"type": "number", "minimum": -180, "maximum": 180, "multipleOf": 0.0001},
                                {"type": "number", "minimum": -90, "maximum": 90, "multipleOf": 0.0001},
                            ],
                            "items": False,
                            "minItems": 2,
                        },
                        5,
                        4,
                    ),
                    1,
                    1,
                ),
            }
        ),
        "Give the outline of Iceland as a GeoJSON polygon.",
    ),
    Case("matrix", listed(listed(between(-9, 9), 3, 3), 3, 3), "Give a 3 by 3 matrix with determinant 1."),
    Case(
        "sensor_readings",
        closed(
            {
                "sensor": matching("^[a-z]{2,12}-[0-9]{2}$"),
                "offset": {"type": "number", "minimum": -0.5, "maximum": 0.5, "multipleOf": 0.001},
                "celsius": listed(
                    {"type": "number", "exclusiveMinimum": -273.15, "maximum": 1000, "multipleOf": 0.05}, 6, 2
                ),
                "quarter_volts": {"type": "number", "minimum": 0, "maximum": 12, "multipleOf": 0.25},
                "duty": {"type": "integer", "minimum": -64, "maximum": 64, "multipleOf": 16},
            }
        ),
        "Give the readings of a temperature sensor in a fridge.",
    ),
    Case(
        "palette",
        closed({"name": SENTENCE, "colours": listed(matching("^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"), 5, 3)}),
        "Make a colour palette for a seaside hotel.",
    ),
)

COMPOSED: tuple[Case, ...] = (
    Case(
        "employee_all_of",
        {
            "allOf": [
                {"type": "object", "properties": {"name": STRING, "born": DATE}, "required": ["name", "born"]},
                {
                    "properties": {"role": one_of("engineer", "designer", "manager"), "level": between(1, 9)},
                    "required": ["role"],
                },
                {"properties": {"level": {"minimum": 3}}},
            ],
            "properties": {"name": True, "born": True, "role": True, "level": True},
            "additionalProperties": False,
        },
        "Invent an employee of a software company.",
    ),
    Case(
        "vehicle_all_of_ref",
        {
            "$defs": {
                "vehicle": {
                    "type": "object",
                    "properties": {"maker": text(30), "year": between(1886, 2030)},
                    "required": ["maker", "year"],
                }
            },
            "allOf": [{"$ref": "#/$defs/vehicle"}],
            "properties": {"maker": True, "year": {"minimum": 1990}, "doors": {"enum": [2, 3, 4, 5]}},
            "required": ["doors"],
            "additionalProperties": False,
        },
        "Describe a small family car.",
    ),
    Case(
        "comment_thread",
        {
            "$defs": {
                "leaf": closed({"author": text(20), "text": SENTENCE}),
                "reply": closed({"author": text(20), "text": SENTENCE, "replies": listed({"$ref": "#/$defs/leaf"}, 2)}),
            },
            **closed({"author": text(20), "text": SENTENCE, "replies": listed({"$ref": "#/$defs/reply"}, 2)}),
        },
        "Write a short discussion about remote work with replies.",
    ),
    Case(
        "setting_value",
        {
            "$defs": {
                "value": {
                    "anyOf": [text(20), between(0, 9999), FLAG, NULL, listed({"$ref": "#/$defs/value"}, 2)],
                }
            },
            **closed({"name": text(20), "value": {"$ref": "#/$defs/value"}}),
        },
        "Give the setting for the number of workers, which is 8.",
    ),
    Case(
        "pydantic_user",
        {
            "$defs": {"Role": titled("Role", one_of("admin", "editor", "viewer"))},
            "properties": {
                "id": titled("Id", {"type": "integer", "exclusiveMinimum": 0, "maximum": 999999}),
                "name": titled("Name", STRING),
                "role": {"$ref": "#/$defs/Role", "default": "viewer"},
                "nickname": titled("Nickname", {"anyOf": [{"maxLength": 16, "type": "string"}, NULL], "default": None}),
                "score": titled(
                    "Score", {"default": 0.5, "minimum": 0, "maximum": 1, "multipleOf": 0.05, "type": "number"}
                ),
            },
            "required": ["id", "name"],
            "title": "User",
            "type": "object",
            "additionalProperties": False,
        },
        "Create a user account for Grace Hopper, who is an admin.",
    ),
    Case(
        "pydantic_order",
        {
            "$defs": {
                "Item": {
                    "properties": {
                        "product": titled("Product", STRING),
                        "quantity": titled("Quantity", {"default": 1, "minimum": 1, "maximum": 99, "type": "integer"}),
                        "gift": titled("Gift", {"default": False, "type": "boolean"}),
                    },
                    "required": ["product"],
                    "title": "Item",
                    "type": "object",
                    "additionalProperties": False,
                },
                "Status": {"enum": ["new", "paid", "shipped"], "title": "Status", "type": "string"},
            },
            "properties": {
                "items": {"items": {"$ref": "#/$defs/Item"}, "maxItems": 3, "title": "Items", "type": "array"},
                "status": {"$ref": "#/$defs/Status"},
                "deliver_to": titled("Deliver To", {"anyOf": [{"maxLength": 80, "type": "string"}, NULL]}),
            },
            "required": ["items", "status", "deliver_to"],
            "title": "Order",
            "type": "object",
            "additionalProperties": False,
        },
        "Order two pizzas and a salad to 5 Elm Street.",
    ),
    Case(
        "character_with_more",
        {
            "type": "object",
            "properties": {"name": STRING, "class": one_of("wizard", "knight", "thief"), "strength": between(1, 20)},
            "required": ["name", "class", "strength"],
            "patternProperties": {"^[a-z_]{2,12}$": {"anyOf": [text(30), between(0, 99), listed(text(12), 3)]}},
            "additionalProperties": False,
            "maxProperties": 6,
        },
        "Invent a character for a fantasy game.",
    ),
)

CASES: tuple[Case, ...] = EXTRACTION + CLASSIFICATION + TOOLS + RECORDS + MAPS_AND_NUMBERS + COMPOSED
