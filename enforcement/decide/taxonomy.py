"""The taxonomy: every category of evidence, and what others call it.

Published as docs/reference/taxonomy.md, which is written from this table. Ids are
those of MITRE ATLAS, MITRE ATT&CK, the OWASP MCP Top 10 (2025) and SAFE-MCP. A
name, once published, is never given another meaning.
"""

from collections.abc import Iterator
from typing import Final

import attrs


@attrs.frozen
class Category:
    """One kind of misbehaviour.

    Attributes:
        severity: What is usual, 1 to 9; a rule's own annotation comes first.
        atlas, attack, owasp, safe: Ids in the other catalogues; may be empty.
    """

    name: str
    meaning: str
    severity: int
    atlas: tuple[str, ...] = ()
    attack: tuple[str, ...] = ()
    owasp: tuple[str, ...] = ()
    safe: tuple[str, ...] = ()


OTHER: Final = Category("other", "Anything that no category names.", 5)

CATEGORIES: Final = (
    # what nodes do to the cluster
    Category(
        "hostile-request",
        "A node signed a request that a hostile rule of its policy forbids.",
        8,
        ("AML.T0053",),
        ("T1078",),
        ("MCP02", "MCP07"),
        ("SAFE-T1302",),
    ),
    Category(
        "equivocation",
        "A node signed two things for one place in its feed.",
        9,
        attack=("T1565",),
        owasp=("MCP08",),
    ),
    Category(
        "two-faced-manifest",
        "A provider signed two manifests for one server, version and number.",
        9,
        ("AML.T0010",),
        ("T1195",),
        ("MCP03", "MCP04"),
        ("SAFE-T1201", "SAFE-T1205"),
    ),
    Category(
        "false-envelope",
        "A node brought a request whose envelope does not hold.",
        7,
        attack=("T1036", "T1557"),
        owasp=("MCP07",),
        safe=("SAFE-T1103",),
    ),
    Category(
        "unsigned-request",
        "A node brought a request without an envelope.",
        5,
        attack=("T1562",),
        owasp=("MCP07",),
        safe=("SAFE-T1103",),
    ),
    Category(
        "ungated-request",
        "A node let out what its own policy denies, by no hostile rule.",
        6,
        attack=("T1562",),
        owasp=("MCP02", "MCP07"),
    ),
    Category(
        "rewritten-history",
        "A node's audit trail is not the one whose head it signed.",
        9,
        attack=("T1070", "T1565"),
        owasp=("MCP08",),
    ),
    # what agents do
    Category(
        "policy-violation",
        "A request was denied by a rule that names no other category.",
        5,
        ("AML.T0053",),
        owasp=("MCP02",),
        safe=("SAFE-T1104",),
    ),
    Category(
        "privilege-escalation",
        "An agent reached for what only other roles may do.",
        8,
        ("AML.T0053",),
        ("T1068", "T1078"),
        ("MCP02",),
        ("SAFE-T1302", "SAFE-T1309"),
    ),
    Category(
        "role-mismatch",
        "An agent used a tool that is not for its role or task.",
        5,
        ("AML.T0053",),
        ("T1078",),
        ("MCP02", "MCP07"),
        ("SAFE-T1104",),
    ),
    Category(
        "rate-abuse",
        "More calls than the limits allow.",
        3,
        ("AML.T0029", "AML.T0034"),
        ("T1499",),
        safe=("SAFE-T1106", "SAFE-T2102"),
    ),
    Category(
        "data-destruction",
        "An attempt to delete or damage data.",
        8,
        ("AML.T0053",),
        ("T1485",),
        ("MCP02", "MCP05"),
        ("SAFE-T2101",),
    ),
    Category(
        "exfiltration",
        "Data on its way to where it must not go.",
        8,
        ("AML.T0057", "AML.T0086"),
        ("T1041", "T1567"),
        ("MCP10",),
        ("SAFE-T1801", "SAFE-T1911"),
    ),
    Category(
        "credential-access",
        "Secrets asked for, or found where they must not be.",
        8,
        ("AML.T0083",),
        ("T1552",),
        ("MCP01",),
        ("SAFE-T1502", "SAFE-T1503"),
    ),
    Category(
        "command-injection",
        "Parameters that would run as a command.",
        8,
        ("AML.T0053",),
        ("T1059",),
        ("MCP05",),
        ("SAFE-T1101",),
    ),
    Category(
        "path-traversal",
        "A path out of where it may lead.",
        7,
        attack=("T1083",),
        owasp=("MCP05",),
        safe=("SAFE-T1105",),
    ),
    Category(
        "enumeration",
        "Tools and servers tried one after the other.",
        4,
        attack=("T1046",),
        owasp=("MCP09",),
        safe=("SAFE-T1601", "SAFE-T1602"),
    ),
    Category(
        "odd-behaviour",
        "Unlike what this agent does otherwise.",
        4,
        attack=("T1078",),
        safe=("SAFE-T1701",),
    ),
    # what artefacts do
    Category(
        "prompt-injection",
        "Text that gives orders to whoever reads it.",
        7,
        ("AML.T0051",),
        owasp=("MCP06", "MCP10"),
        safe=("SAFE-T1102",),
    ),
    Category(
        "tool-poisoning",
        "A tool's description that gives orders, or hides them.",
        8,
        ("AML.T0051", "AML.T0010"),
        ("T1195",),
        ("MCP03",),
        ("SAFE-T1001", "SAFE-T1402", "SAFE-T1501"),
    ),
    Category(
        "rug-pull",
        "A tool that changed after it was trusted, for the worse.",
        7,
        ("AML.T0010",),
        ("T1195",),
        ("MCP03", "MCP04"),
        ("SAFE-T1201",),
    ),
    Category(
        "tool-shadowing",
        "A tool or server under another's name.",
        7,
        ("AML.T0010",),
        ("T1036",),
        ("MCP09",),
        ("SAFE-T1004", "SAFE-T1008", "SAFE-T1301"),
    ),
    Category(
        "poisoned-model",
        "A model or training data that was tampered with.",
        9,
        ("AML.T0018", "AML.T0020"),
        ("T1195",),
        ("MCP04",),
        ("SAFE-T2107",),
    ),
    Category(
        "poisoned-update",
        "An update that is not what its publisher made.",
        9,
        ("AML.T0010",),
        ("T1195",),
        ("MCP04",),
        ("SAFE-T1002", "SAFE-T1207"),
    ),
    # what people say
    Category("by-hand", "A person reported it, without naming a category.", 5),
    OTHER,
)

_BY_NAME: Final = {category.name: category for category in CATEGORIES}


def find_category(name: str) -> Category:
    """The category called ``name``; `OTHER` for a name from elsewhere."""
    return _BY_NAME.get(name, OTHER)


def write_table() -> Iterator[str]:
    """The rows of the published table, as Markdown."""
    yield "| category | meaning | usual | ATLAS | ATT&CK | OWASP MCP | SAFE-MCP |"
    yield "|---|---|---|---|---|---|---|"
    for c in CATEGORIES:
        ids = (", ".join(i) or "-" for i in (c.atlas, c.attack, c.owasp, c.safe))
        yield f"| `{c.name}` | {c.meaning} | {c.severity} | {' | '.join(ids)} |"
