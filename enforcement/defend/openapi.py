"""An OpenAPI 3 document read as MCP tools: one tool an operation, its schema enforced.

::

    operation ──▶ tool: name, description, inputSchema, outputSchema, x-tags,
                        security_policy        (what gates read of any tool)
    arguments ──▶ request: method, target, headers, body

A parameter is an argument of its name; members of a JSON body are arguments too, and a
body that is no object is the argument ``body``. Two that share a name get their place
behind it: ``id__path``. References stay references, so recursion is no problem.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, cast
from urllib.parse import urlencode

import attrs

from enforcement import limits
from enforcement.defend.httpwords import cookie, header, pairs, segment
from enforcement.defend.schema import find_target
from enforcement.mcp.strictjson import Json, write_json
from gossip.errors import PeerError

Members = dict[str, Json]

_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch")
_PLACES: Final = ("path", "query", "header", "cookie")
_FORBIDDEN: Final = frozenset(
    {"accept", "authorization", "content-type", "cookie", "host"}
)
_COMPONENT: Final = "#/components/schemas/"
_HOPS_MAX: Final = 16
_OPERATIONS_MAX: Final = limits.TOOLS_PER_SERVER_MAX
_JSON_TYPE: Final = re.compile(
    r"application/(?:[\w.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE
)
_PLAIN: Final = re.compile(r"[^A-Za-z0-9_-]+")
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@attrs.frozen
class HttpCall:
    """What an operation asks of the server.

    Attributes:
        target: Path and query, behind the server's base.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class _Field:
    """One argument and where it goes: ``place`` may be ``body``, too."""

    argument: str
    name: str
    place: str
    required: bool
    schema: Json
    explode: bool = True
    style: str = "form"


@attrs.frozen(kw_only=True)
class Operation:
    """One operation of the document, as a tool.

    Attributes:
        tool: Its declaration, as ``tools/list`` shows it.
        wraps: Its answer is no object and travels as ``{"result": …}``.
        schemes: Names of security schemes it accepts, the first set of them.
    """

    method: str
    path: str
    tool: Members = attrs.field(repr=False)
    wraps: bool
    schemes: tuple[str, ...]
    _fields: tuple[_Field, ...] = attrs.field(repr=False)
    _reserved: frozenset[str] = attrs.field(repr=False)
    """Names in the query that no member of an object may take."""

    @property
    def name(self) -> str:
        """The tool's name."""
        return str(self.tool["name"])

    def call(self, arguments: Members) -> HttpCall:
        """The request that ``arguments``, which fit the schema, ask for.

        Raises:
            PeerError: a value that cannot stand where it belongs.
        """
        path, query, headers = self.path, list[tuple[str, str]](), dict[str, str]()
        cookies: list[str] = []
        body: Members = {}
        whole: Json = None
        for field in self._fields:
            if field.argument not in arguments:
                continue
            value = arguments[field.argument]
            if value is None and field.place != "body":
                continue  # as good as left out
            if field.place == "path":
                path = path.replace("{" + field.name + "}", segment(value))
            elif field.place == "query":
                made = pairs(field.name, field.style, field.explode, value)
                if self._reserved & {name for name, _ in made if name != field.name}:
                    raise PeerError("a member is called like another parameter")
                query += made
            elif field.place == "header":
                headers[field.name] = header(value)
            elif field.place == "cookie":
                cookies.append(f"{field.name}={cookie(value)}")
            elif field.name:
                body[field.name] = value
            else:
                whole = value
        if cookies:
            headers["cookie"] = "; ".join(cookies)
        if "{" in path:
            raise PeerError("a parameter of the path is missing")
        sent: bytes | None = None
        if any(field.place == "body" for field in self._fields):
            given = any(not f.name for f in self._fields if f.place == "body")
            sent = write_json(whole if given else body)
        target = f"{path}?{urlencode(query)}" if query else path
        return HttpCall(self.method.upper(), target, headers, sent)


def read_api_untrusted(document: Json) -> list[Operation]:
    """Every operation of an OpenAPI 3 document.

    Raises:
        PeerError: not OpenAPI 3, or an operation that cannot be a tool.
    """
    if not isinstance(document, dict) or not str(document.get("openapi")).startswith(
        "3."
    ):
        raise PeerError("not an OpenAPI 3 document: `openapi` must begin with `3.`")
    reader = _Reader(document)
    operations: dict[str, Operation] = {}
    for path, method, item, operation in reader.operations():
        made = reader.operation(path, method, item, operation)
        if made.name in operations:
            raise PeerError(f"two operations are called `{made.name}`")
        operations[made.name] = made
        if len(operations) > _OPERATIONS_MAX:
            raise PeerError(f"a document has at most {_OPERATIONS_MAX} operations")
    if not operations:
        raise PeerError("the document has no operations")
    return [*operations.values()]


@attrs.frozen
class _Reader:
    """Reads one document."""

    document: Members

    def operations(self) -> Iterator[tuple[str, str, Members, Members]]:
        for path, item in _members(self.document.get("paths")).items():
            if not path.startswith("/"):
                raise PeerError(f"the path `{path[:80]}` does not begin with `/`")
            shared = self._resolve(item)
            for method in _METHODS:
                operation = shared.get(method)
                if isinstance(operation, dict):
                    yield path, method, shared, operation

    def operation(
        self, path: str, method: str, item: Members, operation: Members
    ) -> Operation:
        given = operation.get("operationId")
        name = _PLAIN.sub("_", str(given or f"{method}_{path}")).strip("_")[:64]
        fields = _named(
            [*self._parameters(item, operation), *self._body(operation, name)]
        )
        wraps, answers = self._answers(operation)
        words = operation.get("description") or operation.get("summary") or ""
        tool: Members = {
            "name": name,
            "description": str(words)[:4_096],
            "inputSchema": self._closed(
                {
                    "type": "object",
                    "properties": {f.argument: f.schema for f in fields},
                    "required": [f.argument for f in fields if f.required],
                    "additionalProperties": False,
                }
            ),
        }
        if answers is not None:
            tool["outputSchema"] = answers
        if "x-tags" in operation or "x-tags" in item:
            tool["x-tags"] = operation.get("x-tags", item.get("x-tags"))
        policy = operation.get("x-security-policy", item.get("x-security-policy"))
        if policy is not None:
            tool["security_policy"] = policy
        return Operation(
            method=method,
            path=path,
            tool=tool,
            wraps=wraps,
            schemes=self._schemes(operation),
            fields=tuple(fields),
            reserved=frozenset(
                {f.name for f in fields if f.place == "query"}
                | {name for place, name in self._secrets(fold=False)}
            ),
        )

    def _parameters(self, item: Members, operation: Members) -> list[_Field]:
        found: dict[tuple[str, str], _Field] = {}
        for listed in (item.get("parameters"), operation.get("parameters")):
            for each in listed if isinstance(listed, list) else []:
                parameter = self._resolve(each)
                name, place = str(parameter.get("name")), str(parameter.get("in"))
                if place not in _PLACES:
                    if parameter.get("required"):
                        raise PeerError(f"the parameter `{name}` is in `{place}`")
                    continue
                if place == "header" and name.casefold() in _FORBIDDEN:
                    continue
                if place in ("header", "cookie") and not _TOKEN.fullmatch(name):
                    raise PeerError(f"the parameter `{name[:80]}` has no {place} name")
                if (place, name.casefold()) in self._secrets():
                    continue  # a credential's place is the operator's to fill
                schema = parameter.get("schema")
                if schema is None:
                    media = _members(parameter.get("content"))
                    schema = next(
                        (_members(m).get("schema") for m in media.values()), {}
                    )
                style = str(parameter.get("style", "form"))
                found[name, place] = _Field(
                    argument=name,
                    name=name,
                    place=place,
                    required=place == "path" or parameter.get("required") is True,
                    schema=_described(_schema(schema), parameter),
                    explode=parameter.get("explode", style == "form") is True,
                    style=style,
                )
        return [*found.values()]

    def _body(self, operation: Members, name: str) -> list[_Field]:
        if "requestBody" not in operation:
            return []
        body = self._resolve(operation["requestBody"])
        media = _members(body.get("content"))
        kind = next((k for k in media if _JSON_TYPE.fullmatch(k)), None)
        if kind is None:
            if body.get("required") is True:
                raise PeerError(f"`{name}` wants a body that is not JSON")
            return []
        schema = _members(media[kind]).get("schema", {})
        needed = body.get("required") is True
        target = self._resolve(schema)
        members = _members(target.get("properties"))
        if not members or any(k in target for k in ("allOf", "anyOf", "oneOf")):
            whole = _schema(schema)
            return [
                _Field(
                    argument="body",
                    name="",
                    place="body",
                    required=needed,
                    schema=whole,
                )
            ]
        required = target.get("required")
        listed = required if isinstance(required, list) and needed else []
        return [
            _Field(
                argument=member,
                name=member,
                place="body",
                required=member in listed,
                schema=_schema(value),
            )
            for member, value in members.items()
        ]

    def _answers(self, operation: Members) -> tuple[bool, Members | None]:
        """Whether the answer must be wrapped, and its schema, if it is JSON."""
        responses = _members(operation.get("responses"))
        for status in sorted(k for k in responses if k.startswith("2")):
            media = _members(self._resolve(responses[status]).get("content"))
            for kind, each in media.items():
                schema = _members(each).get("schema")
                if not _JSON_TYPE.fullmatch(kind) or not isinstance(schema, dict):
                    continue
                target = self._resolve(schema)
                if target.get("type") == "object" or "properties" in target:
                    made = _schema(schema)
                    outer: Members = {"type": "object", "allOf": [made]}
                    if "$ref" not in schema:
                        outer = cast("Members", made)
                    return False, self._closed(outer)
                inner = _schema(schema)
                wrapped: Members = {"type": "object", "properties": {"result": inner}}
                return True, self._closed(wrapped)
        return False, None

    def _schemes(self, operation: Members) -> tuple[str, ...]:
        wanted = operation.get("security", self.document.get("security"))
        first = wanted[0] if isinstance(wanted, list) and wanted else None
        return tuple(first) if isinstance(first, dict) else ()

    def _secrets(self, *, fold: bool = True) -> set[tuple[str, str]]:
        """Where keys of security schemes stand: place and name."""
        components = _members(self.document.get("components"))
        schemes = _members(components.get("securitySchemes"))
        listed = [self._resolve(scheme) for scheme in schemes.values()]
        named = [(str(s.get("in")), str(s.get("name"))) for s in listed]
        return {(place, n.casefold() if fold else n) for place, n in named}

    def _resolve(self, value: Json) -> Members:
        """Follow references to what they mean; an object, perhaps an empty one."""
        for _ in range(_HOPS_MAX):
            if not isinstance(value, dict):
                return {}
            if not isinstance(value.get("$ref"), str):
                return value
            value = find_target(self.document, value["$ref"])
        raise PeerError("references that lead to references without end")

    def _closed(self, schema: Members) -> Members:
        """The schema with every component it refers to, under ``$defs``."""
        components = _members(_members(self.document.get("components")).get("schemas"))
        defs: Members = {}
        waiting: list[Json] = [schema]
        while waiting:
            for name in _references(waiting.pop()):
                if name in defs:
                    continue
                if name not in components:
                    raise PeerError(f"the schema `{name}` is not in the document")
                defs[name] = _schema(components[name])
                waiting.append(defs[name])
        return {**schema, "$defs": defs} if defs else schema


def _named(fields: list[_Field]) -> list[_Field]:
    """Arguments of one name get their place behind it."""
    taken: dict[str, int] = {}
    for field in fields:
        taken[field.argument] = taken.get(field.argument, 0) + 1
    return [
        attrs.evolve(f, argument=f"{f.argument}__{f.place}")
        if taken[f.argument] > 1 and f.place != "body"
        else f
        for f in fields
    ]


def _schema(value: Json) -> Json:
    """A schema of OpenAPI 3.0 or 3.1 as JSON Schema 2020-12."""
    if isinstance(value, list):
        return [_schema(item) for item in value]
    if not isinstance(value, dict):
        return value
    made: Members = {}
    for key, member in value.items():
        if key in ("properties", "patternProperties", "$defs"):
            made[key] = {k: _schema(v) for k, v in _members(member).items()}
        elif key in ("enum", "const", "default", "required", "x-tags"):
            made[key] = member
        elif key == "$ref" and isinstance(member, str):
            if not member.startswith(_COMPONENT):
                raise PeerError(f"a schema refers to `{member[:80]}`")
            made[key] = "#/$defs/" + member.removeprefix(_COMPONENT)
        elif key in ("example", "examples", "discriminator", "xml", "externalDocs"):
            continue
        elif key != "nullable":
            made[key] = _schema(member)
    for bound, limit in (
        ("exclusiveMinimum", "minimum"),
        ("exclusiveMaximum", "maximum"),
    ):
        if made.get(bound) is True and limit in made:
            made[bound] = made.pop(limit)
        elif isinstance(made.get(bound), bool):
            del made[bound]
    if value.get("nullable") is True:
        return {"anyOf": [made, {"type": "null"}]}
    return made


def _described(schema: Json, parameter: Members) -> Json:
    if not isinstance(schema, dict):
        return schema
    more: Members = {
        k: parameter[k] for k in ("description", "x-tags") if k in parameter
    }
    return {**more, **schema}


def _references(value: Json) -> Iterator[str]:
    waiting: list[Json] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            ref = item.get("$ref")
            if isinstance(ref, str):
                part = ref.removeprefix("#/$defs/").partition("/")[0]
                yield part.replace("~1", "/").replace("~0", "~")
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _members(value: Json) -> Members:
    return value if isinstance(value, dict) else {}


# --- requests -----------------------------------------------------------------
