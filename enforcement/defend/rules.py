"""One Cedar rule as Picket knows it: what it is called, how grave, what it reads.

Cedar is parsed by Cedar; this module walks the JSON form that Cedar gives of a
policy. It learns which paths of a call's parameters the rule reads, and refuses
at load what would only fail later, in the middle of a call: an attribute read
without `has`, or one that does not exist.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias, cast

import attrs
import cedarpy

from enforcement import limits
from enforcement.defend.facts import FACTS_VERSION, Path, Read, Root
from gossip.domains import Domain
from gossip.errors import UserError
from gossip.suite import digest

Node: TypeAlias = bool | int | str | list["Node"] | dict[str, "Node"] | None

ANNOTATIONS: Final = frozenset({"id", "severity", "category", "advice", "secret"})
DEFAULT_CATEGORY: Final = "policy-violation"
_LEAD = re.compile(r"(?:\s|//[^\n]*)*")
_PRINCIPAL = frozenset({"name", "node"})
_RESOURCE = frozenset({"name", "server"})
SENSES: Final = frozenset({"approved", "level", "listed", "tags", "trust"})
"""What a rule may read of a call besides its parameters: this node's own knowledge."""

_CONTAINS: Final = frozenset({"contains", "containsAll", "containsAny"})

Entity: TypeAlias = tuple[str, str]
"""An entity's type and id."""


@attrs.frozen(kw_only=True)
class Rule:
    """One `permit` or `forbid`.

    Attributes:
        id: Its ``@id``, or its file's name and its number in the file.
        severity: Its ``@severity``, 1 to 9; 0 without one.
        secret: Parameter names that no proof may open, from ``@secret``.
        digest: Over the rule, Cedar's version and the facts' version.
        reads: What it reads of the call's parameters.
        asks: For words of which it asks only whether these few are among them.
        senses: What else it reads of ``context``; see `SENSES`.
        source: The rule in Cedar's JSON form.
    """

    id: str
    file: str
    forbids: bool
    severity: int
    category: str
    advice: str
    secret: frozenset[str]
    digest: bytes = attrs.field(repr=bytes.hex)
    reads: frozenset[Read]
    senses: frozenset[str]
    asks: Mapping[Path, frozenset[str]] = attrs.field(repr=False)
    source: Mapping[str, Node] = attrs.field(repr=False)

    @property
    def hostile(self) -> bool:
        """Whether breaking it in a signed request convicts."""
        return self.forbids and self.severity >= limits.HOSTILE_SEVERITY_MIN

    def may_apply(
        self, action: str, resource: Entity, parents: Sequence[Entity]
    ) -> bool:
        """Whether its scope can match; conditions are Cedar's to judge."""
        return _scope_matches(self.source["action"], ("Action", action), ()) and (
            _scope_matches(self.source["resource"], resource, parents)
        )


def _scope_matches(scope: Node, entity: Entity, parents: Sequence[Entity]) -> bool:
    """Whether ``entity``, a member of ``parents``, can satisfy a scope."""
    scope = cast("dict[str, Node]", scope)
    if "in" in scope and not _names_one_of(
        cast("dict[str, Node]", scope["in"])["entity"], (entity, *parents)
    ):
        return False
    if scope["op"] == "is":
        return scope["entity_type"] == entity[0]
    if scope["op"] == "All":
        return True
    named = cast("list[Node]", scope.get("entities", [scope.get("entity")]))
    meant = (entity, *parents) if scope["op"] == "in" else (entity,)
    return any(_names_one_of(name, meant) for name in named)


def _names_one_of(named: Node, entities: Sequence[Entity]) -> bool:
    return any(named == {"type": kind, "id": name} for kind, name in entities)


def read_rules(file: str, text: str, cedar_version: str) -> list[Rule]:
    """Parse one file of policies.

    Raises:
        UserError: one sentence that names the file, the line or the rule.
    """
    try:
        parsed = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as wrong:
        line = _find_line(text)
        raise UserError(f"{file}: line {line}: not valid Cedar: {wrong}") from wrong
    if parsed["templates"] or parsed["templateLinks"]:
        raise UserError(f"{file}: templates (`?principal`) are not supported")
    sources = cast("dict[str, dict[str, Node]]", parsed["staticPolicies"])
    ordered = sorted(sources.items(), key=lambda item: int(item[0][len("policy") :]))
    stem = file.rpartition("/")[2].removesuffix(".cedar")
    return [
        _read_rule(file, f"{stem}.{number}", source, cedar_version)
        for number, (_, source) in enumerate(ordered, 1)
    ]


def _find_line(text: str) -> int:
    """The line on which the first broken statement starts; Cedar does not say."""
    line = 1
    for statement in _statements(text):
        try:
            cedarpy.policies_to_json_str(statement)
        except ValueError:
            lead = _LEAD.match(statement)
            return line + (lead.group().count("\n") if lead else 0)
        line += statement.count("\n")
    return line


def _statements(text: str) -> Iterator[str]:
    """Cut at each `;` that stands neither in a string nor in a comment."""
    begin = at = 0
    while at < len(text):
        if text[at] == '"':
            at += 1
            while at < len(text) and text[at] != '"':
                at += 2 if text[at] == "\\" else 1
        elif text.startswith("//", at):
            at = text.find("\n", at) if "\n" in text[at:] else len(text)
        elif text[at] == ";":
            yield text[begin : at + 1]
            begin = at + 1
        at += 1
    if text[begin:].strip():
        yield text[begin:]


def _read_rule(
    file: str, default_id: str, source: dict[str, Node], cedar_version: str
) -> Rule:
    annotations = cast("dict[str, str | None]", source.get("annotations", {}))
    notes = {name: text or "" for name, text in annotations.items()}
    name = notes.get("id") or default_id
    where = f"{file}: rule `{name}`"
    if unknown := sorted(notes.keys() - ANNOTATIONS):
        known = ", ".join(f"@{n}" for n in sorted(ANNOTATIONS))
        raise UserError(f"{where}: unknown annotation `@{unknown[0]}`; known: {known}")
    severity = notes.get("severity", "0")
    forbids = source["effect"] == "forbid"
    if severity != "0" and (not forbids or severity not in list("123456789")):
        raise UserError(f"{where}: `@severity` is 1 to 9 and belongs on a forbid")
    if len(name) > 128 or not name.isprintable():
        raise UserError(f"{where}: an id is at most 128 printable characters")
    encoded = json.dumps(source, sort_keys=True, separators=(",", ":")).encode()
    walker = _walked(source, where)
    reads, senses = frozenset(walker.reads), frozenset(walker.senses)
    rule = Rule(
        id=name,
        file=file,
        forbids=forbids,
        severity=int(severity),
        category=notes.get("category") or DEFAULT_CATEGORY,
        advice=notes.get("advice", ""),
        secret=frozenset(s.strip() for s in notes.get("secret", "").split(",") if s),
        digest=digest(
            Domain.RULE, cedar_version.encode(), bytes([FACTS_VERSION]), encoded
        ),
        reads=reads,
        senses=senses,
        asks={
            path: frozenset(few)
            for path, few in walker.asks.items()
            if path not in walker.searched
        },
        source=source,
    )
    if rule.hostile and any(not read.path for read in rule.reads):
        raise UserError(
            f"{where}: a rule of severity {limits.HOSTILE_SEVERITY_MIN} or more convicts"
            " by proof, so it may read single parameters, never all of them"
        )
    if rule.hostile and senses:
        raise UserError(
            f"{where}: a rule of severity {limits.HOSTILE_SEVERITY_MIN} or more convicts"
            f" by proof, and `context.{min(senses)}` is in no proof"
        )
    return rule


def _walked(source: Mapping[str, Node], where: str) -> "_Walker":
    walker = _Walker(where)
    guards: frozenset[Path] = frozenset()
    for condition in cast("list[dict[str, Node]]", source["conditions"]):
        held = walker.walk(condition["body"], guards, limits.RULE_DEPTH_MAX)
        if condition["kind"] == "when":  # later clauses run only if this one held
            guards |= held
    return walker


@attrs.define
class _Walker:
    """Walks one rule's expressions; guards are the paths known to be there."""

    where: str
    reads: set[Read] = attrs.field(init=False, factory=set)
    senses: set[str] = attrs.field(init=False, factory=set)
    asks: dict[Path, set[str]] = attrs.field(init=False, factory=dict)
    searched: set[Path] = attrs.field(init=False, factory=set)
    """Words of which it asks anything else."""

    def walk(self, node: Node, guards: frozenset[Path], depth: int) -> frozenset[Path]:
        """Note what ``node`` reads; return the paths that exist if it is true."""
        if depth == 0:
            raise UserError(
                f"{self.where}: nested too deeply; split the rule, or ask"
                " a set: `[...].contains(...)`"
            )
        assert isinstance(node, dict), "an expression is an object of one operator"
        if len(node) != 1:
            raise UserError(f"{self.where}: an expression this version cannot read")
        ((operator, body),) = node.items()
        if operator == "&&":
            left = self._side(body, "left", guards, depth)
            return left | self._side(body, "right", guards | left, depth)
        if operator == "||":
            left = self._side(body, "left", guards, depth)
            return left & self._side(body, "right", guards, depth)
        if operator == "if-then-else":
            held = self._side(body, "if", guards, depth)
            then = self._side(body, "then", guards | held, depth)
            return (held | then) & self._side(body, "else", guards, depth)
        if operator == "has":
            return self._has(cast("dict[str, Node]", body), guards, depth)
        if operator in (".", "Var"):
            self._attribute(node, guards, depth)
        elif operator in _CONTAINS:
            self._contains(operator, cast("dict[str, Node]", body), guards, depth)
        elif operator not in ("Value", "Slot"):
            self._below(operator, body, guards, depth)
        return frozenset()

    def _side(
        self, body: Node, side: str, guards: frozenset[Path], depth: int
    ) -> frozenset[Path]:
        return self.walk(cast("dict[str, Node]", body)[side], guards, depth - 1)

    def _below(
        self, operator: str, body: Node, guards: frozenset[Path], depth: int
    ) -> None:
        """Every operator without rules of its own: walk its operands."""
        if isinstance(body, list):
            operands = body
        else:
            members = cast("dict[str, Node]", body)
            record = operator == "Record"
            names = members if record else ("left", "right", "arg", "in")
            operands = [members[name] for name in names if name in members]
        for operand in operands:
            self.walk(operand, guards, depth - 1)

    def _has(
        self, body: dict[str, Node], guards: frozenset[Path], depth: int
    ) -> frozenset[Path]:
        variable, path = _chain(body["left"])
        if variable != "context":
            self.walk(body["left"], guards, depth - 1)
            return frozenset()
        whole = (*path, str(body["attr"]))
        if self._is_sense(whole):
            return frozenset()
        root, below = self._root(whole)
        if not below:
            return frozenset()
        self._need(root, below[:-1], guards)
        self.reads.add(Read(root, below, whole=False))
        return frozenset({below})

    def _contains(
        self, operator: str, body: dict[str, Node], guards: frozenset[Path], depth: int
    ) -> None:
        variable, path = _chain(body["left"])
        few = _texts(body["right"])
        if variable != "context" or path[:1] != ("words",) or few is None:
            self._below(operator, body, guards, depth)
            return
        root, below = self._root(path)
        self._need(root, below, guards)
        self.reads.add(Read(root, below, whole=True))
        self.asks.setdefault(below, set()).update(few)

    def _attribute(self, node: Node, guards: frozenset[Path], depth: int) -> None:
        variable, path = _chain(node)
        if variable == "context" and self._is_sense(path):
            return
        if variable == "context":
            root, below = self._root(path)
            self._need(root, below, guards)
            self.reads.add(Read(root, below, whole=True))
            if root == "words":
                self.searched.add(below)
        elif variable in ("principal", "resource", "action"):
            known = {"principal": _PRINCIPAL, "resource": _RESOURCE}
            if path and path[0] not in known.get(variable, frozenset()):
                raise UserError(
                    f"{self.where}: `{variable}.{path[0]}` does not exist; there are"
                    " principal.name, principal.node, resource.name, resource.server"
                )
        else:  # an attribute of something computed
            body = cast("dict[str, dict[str, Node]]", node)["."]
            self.walk(body["left"], guards, depth - 1)

    def _is_sense(self, path: Path) -> bool:
        """Note what a rule reads besides parameters: it is always there."""
        if len(path) != 1 or path[0] not in SENSES:
            return False
        self.senses.add(path[0])
        return True

    def _root(self, path: Path) -> tuple[Root, Path]:
        if path and path[0] == "params":
            return "params", path[1:]
        if path and path[0] == "words":
            return "words", path[1:]
        raise UserError(
            f"{self.where}: `{'.'.join(('context', *path))}` does not exist; a rule"
            " reads `context.params`, `context.words`, and `context.` approved, level,"
            " listed, tags or trust"
        )

    def _need(self, root: Root, path: Path, guards: frozenset[Path]) -> None:
        for end in range(1, len(path) + 1):
            if path[:end] not in guards:
                parent = ".".join(("context", root, *path[: end - 1]))
                raise UserError(
                    f"{self.where}: reads `{parent}.{path[end - 1]}`, which a call may"
                    f" lack; write `{parent} has {path[end - 1]} && ...` before it"
                )


def _texts(node: Node) -> frozenset[str] | None:
    """The texts of a literal, or of a set of them; None if it is anything else."""
    if not isinstance(node, dict):
        return None
    listed = node.get("Set", [node])
    found = [n.get("Value") for n in cast("list[dict[str, Node]]", listed)]
    texts = frozenset(text for text in found if isinstance(text, str))
    return texts if len(texts) == len(set(map(repr, found))) else None


def _chain(node: Node) -> tuple[str, Path]:
    """``context.params.a`` as ("context", ("params", "a")); else ("", ())."""
    path: list[str] = []
    while isinstance(node, dict) and "." in node:
        body = cast("dict[str, Node]", node["."])
        path.append(str(body["attr"]))
        node = body["left"]
    if isinstance(node, dict) and "Var" in node:
        return str(node["Var"]), tuple(reversed(path))
    return "", ()
