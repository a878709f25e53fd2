"""API keys: made once, stored as a hash, refused once revoked; and the commands for them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from ragtune.audit_cli import audit
from ragtune.errors import InvalidRequest, UnknownName
from ragtune.key_cli import key
from ragtune.keys import LOCAL, SCOPES, Caller, Keys
from ragtune.store import Database


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(Database(tmp_path / "ragtune.db"))


@pytest.fixture
def runner(tmp_path: Path) -> CliRunner:
    return CliRunner(env={"RAGTUNE_HOME": str(tmp_path), "NO_COLOR": "1"})


def test_who_holds_a_key_is_known_by_its_name_scopes_tenant_and_id(keys: Keys) -> None:
    made, text = keys.create("app", ["train", "query", "query"], "acme")
    assert keys.check(text) == Caller("app", frozenset({"query", "train"}), "acme", made.id)
    assert keys.known() == [made]
    assert (made.scopes, made.tenant, made.revoked) == (("query", "train"), "acme", None)


def test_every_key_is_another_one_of_256_random_bits(keys: Keys) -> None:
    texts = [keys.create(f"app-{number}", ["query"])[1] for number in range(5)]
    secrets = {text.rpartition("-")[2] for text in texts}
    assert {len(bytes.fromhex(secret)) for secret in secrets} == {32}
    assert len(secrets) == len({text.split("-")[1] for text in texts}) == 5


def test_the_store_does_not_hold_the_secret(keys: Keys, tmp_path: Path) -> None:
    made, text = keys.create("app", ["query"])
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert made.id.encode() in stored
    assert text.rpartition("-")[2].encode() not in stored


def test_whatever_is_not_a_key_in_use_belongs_to_nobody(keys: Keys) -> None:
    made, text = keys.create("app", ["admin"])
    _, other = keys.create("other", ["query"])
    prefix, identity, secret = text.split("-")
    for wrong in (
        "",
        "-",
        "--",
        secret,
        identity,
        f"{identity}-{secret}",
        f"sk-{identity}-{secret}",
        f"{prefix}-{identity}-",
        f"{prefix}-{identity}-{secret[:-1]}",
        f"{prefix}-{identity}-{secret}0",
        f"{prefix}-{identity.lower()}-{secret}",
        f"{prefix}-{made.name}-{secret}",
        f"{prefix}-{identity}-{other.rpartition('-')[2]}",
        f"{prefix}-%-{secret}",
        f"{prefix}-{identity}-\x00\xff\ud800",
    ):
        assert keys.check(wrong) is None, wrong
    assert keys.check(text) is not None


def test_a_revoked_key_is_refused_and_still_counts_as_made(keys: Keys) -> None:
    assert not keys.ever()
    made, text = keys.create("app", ["query"])
    assert keys.ever() and keys.usable()
    assert keys.revoke("app").id == made.id
    assert keys.check(text) is None
    assert keys.ever() and not keys.usable()
    (known,) = keys.known()
    assert known.revoked is not None


def test_a_key_is_revoked_by_name_or_id_and_only_once(keys: Keys) -> None:
    first, _ = keys.create("app", ["query"])
    keys.revoke(first.id)
    second, text = keys.create("app", ["query"])  # the name is free again
    for gone in (first.id, "ap"):
        with pytest.raises(UnknownName, match="unknown key"):
            keys.revoke(gone)
    assert keys.check(text) == Caller("app", frozenset({"query"}), "", second.id)
    assert keys.revoke("app").id == second.id


def test_another_process_sees_what_was_made_and_revoked(keys: Keys, tmp_path: Path) -> None:
    elsewhere = Keys(Database(tmp_path / "ragtune.db"))
    _, text = keys.create("app", ["query"])
    assert elsewhere.check(text) is not None
    elsewhere.revoke("app")
    assert keys.check(text) is None


@pytest.mark.parametrize(
    ("name", "scopes", "tenant", "message"),
    [
        ("App", ["query"], "", "key 'App' is not a legal name"),
        ("app", ["query"], "Acme Inc", "tenant 'Acme Inc' is not a legal name"),
        ("app", [], "", "needs a scope: query, index:write"),
        ("app", ["query", "write"], "", "no scope 'write', only query, index:write"),
        ("local", ["query"], "", "take another name"),
        ("cli", ["query"], "", "take another name"),
        ("taken", ["query"], "", "'taken' is in use"),
    ],
)
def test_a_key_that_cannot_be_is_refused_with_the_reason(
    keys: Keys, name: str, scopes: list[str], tenant: str, message: str
) -> None:
    keys.create("taken", ["query"])
    with pytest.raises(InvalidRequest, match=message):
        keys.create(name, scopes, tenant)
    assert len(keys.known()) == 1


def test_admin_may_do_everything_and_nobody_else_more_than_told() -> None:
    assert all(LOCAL.may(scope) for scope in SCOPES)
    assert [scope for scope in SCOPES if Caller("app", frozenset({"query"})).may(scope)] == ["query"]


def test_the_command_prints_the_key_alone_on_stdout_and_that_it_is_shown_once_beside_it(
    runner: CliRunner, keys: Keys
) -> None:
    result = runner.invoke(key, ["create", "app", "--scope", "query", "--scope", "eval", "--tenant", "acme"])
    caller = keys.check(result.stdout.strip())
    assert caller is not None and (caller.scopes, caller.tenant) == ({"query", "eval"}, "acme")
    assert "not shown again" in result.stderr and result.stdout.strip() not in result.stderr


def test_a_script_reads_the_key_from_json_and_the_list_without_it(runner: CliRunner, keys: Keys) -> None:
    made = json.loads(runner.invoke(key, ["create", "app", "--scope", "query", "--json"]).stdout)
    assert keys.check(made.pop("key")) is not None
    assert json.loads(runner.invoke(key, ["list", "--json"]).stdout) == [made]
    assert made["id"] in runner.invoke(key, ["list"]).stdout


def test_a_key_that_cannot_be_written_down_is_not_made_and_not_shown(
    runner: CliRunner, keys: Keys, tmp_path: Path
) -> None:
    with Database(tmp_path / "ragtune.db").write() as connection:
        connection.execute(text("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no'); END"))
    result = runner.invoke(key, ["create", "app", "--scope", "query"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert not keys.ever()


def test_revoking_by_command_counts_at_once(runner: CliRunner, keys: Keys) -> None:
    text = runner.invoke(key, ["create", "app", "--scope", "query"]).stdout.strip()
    result = runner.invoke(key, ["revoke", "app"])
    assert (result.exit_code, keys.check(text)) == (0, None)


def test_an_unknown_scope_is_misuse(runner: CliRunner, keys: Keys) -> None:
    result = runner.invoke(key, ["create", "app", "--scope", "queries"])
    assert result.exit_code == 2 and "index:write" in result.stderr
    assert runner.invoke(key, ["create", "app"]).exit_code == 2
    assert not keys.ever()


def test_a_home_without_keys_says_how_to_make_one(runner: CliRunner) -> None:
    assert "ragtune key create NAME" in runner.invoke(key, ["list"]).stderr


def test_what_was_done_to_keys_is_in_the_audit_log_without_the_secret(runner: CliRunner) -> None:
    assert "nothing was changed yet" in runner.invoke(audit).stderr
    text = runner.invoke(key, ["create", "app", "--scope", "query", "--tenant", "acme"]).stdout.strip()
    runner.invoke(key, ["revoke", "app"])
    found = runner.invoke(audit, ["--json"]).stdout
    identity, secret = text.split("-")[1:]
    assert [(entry["who"], entry["method"], entry["path"]) for entry in json.loads(found)] == [
        ("cli", "CLI", f"key revoke {identity} app"),
        ("cli", "CLI", f"key create {identity} app query tenant=acme"),
    ]
    assert secret not in found
    assert len(json.loads(runner.invoke(audit, ["--json", "--limit", "1"]).stdout)) == 1
    assert "key revoke" in runner.invoke(audit).stdout
