"""Slips of the pen: what a rule names and nobody has is pointed out."""

from enforcement.defend.policy import Policy
from enforcement.defend.slips import find_slips

ROLES, SERVERS = {"retail", "admin"}, {"sql", "git"}


def slips(text: str) -> list[tuple[str, str]]:
    return find_slips(Policy.load({"a.cedar": text}), ROLES, SERVERS)


def test_a_policy_of_known_names_has_none() -> None:
    assert (
        slips(
            '@id("x") forbid(principal in Role::"retail", action in'
            ' [Action::"tools/call", Action::"reveal"], resource in Server::"sql")'
            ' unless { resource == Tool::"git/log" || principal in Role::"admin" };'
        )
        == []
    )


def test_misspelt_names_are_pointed_out_with_what_was_meant() -> None:
    found = slips(
        '@id("x") forbid(principal in Role::"retial", action == Action::"tool/call",'
        ' resource in Server::"sqll");'
    )
    assert [rule for rule, _ in found] == ["x"] * 3
    told = "\n".join(sentence for _, sentence in found)
    assert "method `tool/call`" in told
    assert "did you mean `tools/call`?" in told
    assert "role `retial`, which nobody here has; did you mean `retail`?" in told
    assert "server `sqll`" in told


def test_conditions_are_read_too_and_a_name_is_told_once() -> None:
    found = slips(
        'forbid(principal, action, resource) when { principal in Role::"boss" &&'
        ' resource == Tool::"mail/send" || resource == Tool::"mail/list" };'
    )
    assert found == [
        ("a.1", "names the role `boss`, which nobody here has"),
        ("a.1", "names the server `mail`, which nobody here has"),
    ]
