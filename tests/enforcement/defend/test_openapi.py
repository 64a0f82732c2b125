"""An OpenAPI document as tools: what is enforced, and what never reaches a URL."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement.defend.openapi import Operation, read_api_untrusted
from enforcement.defend.schema import read_schema_untrusted
from enforcement.detect.pins import Level, read_manifest_untrusted
from enforcement.mcp.strictjson import Json
from gossip.errors import PeerError


def document(path: str = "/pets/{id}", **operation: Json) -> Json:
    return {
        "openapi": "3.1.0",
        "paths": {path: {"post": {"operationId": "op", **operation}}},
        "components": {
            "schemas": {
                "Pet": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string", "example": "x"},
                        "chip": {"type": "string", "x-tags": ["pci"]},
                        "young": {
                            "type": "array",
                            "items": {"$ref": "#/components/schemas/Pet"},
                        },
                    },
                    "required": ["name"],
                }
            }
        },
    }


def only(source: Json) -> Operation:
    (operation,) = read_api_untrusted(source)
    return operation


def parameter(name: str, place: str, **more: Json) -> Json:
    return {"name": name, "in": place, "schema": {"type": "string"}, **more}


ID = parameter("id", "path", required=True)


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("7", "/pets/7"),
        ("a/b", "/pets/a%2Fb"),
        ("..a", "/pets/..a"),
        ("x?admin=1#f", "/pets/x%3Fadmin%3D1%23f"),
        ("{id}", "/pets/%7Bid%7D"),
        ("\r\nHost: evil", "/pets/%0D%0AHost%3A%20evil"),
        ("é", "/pets/%C3%A9"),
    ],
)
def test_a_path_parameter_is_one_segment_whatever_it_holds(
    value: str, target: str
) -> None:
    assert only(document(parameters=[ID])).call({"id": value}).target == target


@pytest.mark.parametrize(
    "value",
    ["", ".", "..", "../admin", "a/../b", "a\\..\\b", "%2e%2E", "%252e", [".."]],
)
def test_a_path_parameter_cannot_climb_however_often_it_is_decoded(
    value: Json,
) -> None:
    with pytest.raises(PeerError):
        only(document(parameters=[ID])).call({"id": value})


def test_query_parameters_are_written_in_their_style() -> None:
    listed: list[Json] = [
        ID,
        parameter("tag", "query"),
        parameter("pipe", "query", style="pipeDelimited"),
        parameter("flat", "query", explode=False),
        parameter("deep", "query", style="deepObject"),
    ]
    call = only(document(parameters=listed)).call(
        {
            "id": "1",
            "tag": ["a&b", "c"],
            "pipe": ["x", "y"],
            "flat": [1, True],
            "deep": {"k": "v=1"},
        }
    )
    assert call.target == (
        "/pets/1?tag=a%26b&tag=c&pipe=x%7Cy&flat=1%2Ctrue&deep%5Bk%5D=v%3D1"
    )


def test_headers_take_no_line_ends_and_never_the_credentials_place() -> None:
    listed: list[Json] = [
        ID,
        parameter("X-Trace", "header"),
        parameter("Authorization", "header"),
    ]
    operation = only(document(parameters=listed))
    schema = operation.tool["inputSchema"]
    assert isinstance(schema, dict)
    assert "Authorization" not in str(schema)
    assert operation.call({"id": "1", "X-Trace": "t"}).headers == {"X-Trace": "t"}
    with pytest.raises(PeerError):
        operation.call({"id": "1", "X-Trace": "t\r\nX-Admin: 1"})


def test_cookies_are_written_together_and_hold_nothing_else() -> None:
    listed: list[Json] = [ID, parameter("sid", "cookie"), parameter("n", "cookie")]
    operation = only(document(parameters=listed))
    asked = operation.call({"id": "1", "sid": "abc", "n": 7})
    assert asked.headers == {"cookie": "sid=abc; n=7"}
    assert operation.call({"id": "1", "sid": None}).headers == {}
    for bad in ("a; admin=1", "a,b", 'a"', "a b", "a\r\nX: 1", "é"):
        with pytest.raises(PeerError):
            operation.call({"id": "1", "sid": bad})


def test_nothing_an_agent_gives_stands_in_a_credentials_place() -> None:
    listed: list[Json] = [
        ID,
        parameter("x-api-KEY", "header"),
        parameter("key", "query"),
        parameter("sid", "cookie"),
        parameter("more", "query", schema={"type": "object"}),
        parameter("admin", "query"),
    ]
    schemes: Json = {
        name: {"type": "apiKey", "in": place, "name": key}
        for name, place, key in (
            ("a", "header", "X-Api-Key"),
            ("b", "query", "key"),
            ("c", "cookie", "sid"),
        )
    }
    source = document(parameters=listed)
    assert isinstance(source, dict)
    held = source.get("components")
    components = {
        **(held if isinstance(held, dict) else {}),
        "securitySchemes": schemes,
    }
    operation = only({**source, "components": components})
    schema = operation.tool["inputSchema"]
    assert isinstance(schema, dict)
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert {*properties} == {"id", "more", "admin"}
    assert operation.call({"id": "1", "more": {"x": 1}}).target == "/pets/1?x=1"
    for taken in ("key", "admin"):
        with pytest.raises(PeerError):
            operation.call({"id": "1", "more": {taken: 1}})


def body(schema: Json, required: bool = True) -> Json:
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def test_the_members_of_a_body_are_arguments_and_recursion_is_kept() -> None:
    pet: Json = {"$ref": "#/components/schemas/Pet"}
    operation = only(document(parameters=[ID], requestBody=body(pet)))
    schema = read_schema_untrusted(operation.tool["inputSchema"])
    good: dict[str, Json] = {"id": "1", "name": "a", "young": [{"name": "b"}]}
    assert schema.find_fault(good) is None
    assert schema.find_fault({"id": "1"}) is not None
    assert schema.find_fault({**good, "young": [{"nome": "b"}]}) is not None
    assert schema.find_fault({**good, "stranger": 1}) is not None
    assert operation.call(good).body == b'{"name":"a","young":[{"name":"b"}]}'


def test_one_name_in_two_places_is_two_arguments() -> None:
    schema: Json = {"type": "object", "properties": {"id": {"type": "integer"}}}
    operation = only(document(parameters=[ID], requestBody=body(schema)))
    call = operation.call({"id__path": "p", "id": 3})
    assert (call.target, call.body) == ("/pets/p", b'{"id":3}')


def test_a_body_that_is_no_object_is_the_argument_body() -> None:
    schema: Json = {"type": "array", "items": {"type": "integer"}}
    operation = only(document(parameters=[ID], requestBody=body(schema)))
    assert operation.call({"id": "1", "body": [1, 2]}).body == b"[1,2]"


def test_tags_and_security_policy_reach_the_gate() -> None:
    pet: Json = {"$ref": "#/components/schemas/Pet"}
    responses: Json = {"200": {"content": {"application/json": {"schema": pet}}}}
    more: dict[str, Json] = {"x-tags": ["phi"], "x-security-policy": "none"}
    source = document("/pets", responses=responses, **more)
    manifest = read_manifest_untrusted("api", only(source).tool)
    assert manifest.level is Level.NONE
    assert manifest.tags.all == {"phi", "pci"}
    assert manifest.tags.answers == {"phi", "pci"}
    assert not manifest.fault


def test_a_nullable_or_exclusive_bound_of_3_0_means_what_it_did() -> None:
    schema: Json = {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 1, "exclusiveMinimum": True},
            "s": {"type": "string", "nullable": True},
        },
    }
    operation = only(document("/x", requestBody=body(schema)))
    made = read_schema_untrusted(operation.tool["inputSchema"])
    assert made.find_fault({"n": 2, "s": None}) is None
    assert made.find_fault({"n": 1}) is not None
    assert made.find_fault({"s": 1}) is not None


BROKEN: list[Json] = [
    None,
    {"swagger": "2.0"},
    {"openapi": "3.0.0"},
    {"openapi": "3.0.0", "paths": {"no-slash": {"get": {}}}},
    document(requestBody=body({"$ref": "http://evil.invalid/x"})),
    document(requestBody=body({"$ref": "#/components/schemas/None"})),
    document(parameters=[{"$ref": "#/paths/~1pets~1{id}/post/parameters/0"}]),
    document(parameters=[parameter("c", "matrix", required=True)]),
]


@pytest.mark.parametrize("source", BROKEN)
def test_a_document_that_cannot_be_served_is_refused(source: Json) -> None:
    with pytest.raises(PeerError):
        read_api_untrusted(source)


values: st.SearchStrategy[Json] = st.recursive(
    st.sampled_from(["x", "#/a", 1, None, True, [], {}]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["$ref", "schema", "in", "name", "content", "type", "properties", "200"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(values, values, values)
def test_any_document_is_read_or_a_peer_error(
    one: Json, two: Json, three: Json
) -> None:
    source = document(parameters=[one], requestBody=two, responses=three)
    try:
        for operation in read_api_untrusted(source):
            operation.call({"id": "x", "body": two, "x": three})
    except PeerError:
        pass
