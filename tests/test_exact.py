"""Right calls are counted as right, wrong ones are not, and the reason says why."""

import pytest

import bench_bfcl
from arguments import named_calls
from exact import reason

WEATHER = {
    "type": "object",
    "required": ["city"],
    "properties": {
        "city": {"type": "string"},
        "unit": {"type": "string"},
        "days": {"type": "integer"},
        "limit": {"type": "number"},
        "hours": {"type": "array", "items": {"type": "number"}},
        "alarm": {"type": "boolean"},
    },
}
SCHEMAS = {"get_weather": WEATHER}


def call(name="get_weather", **arguments) -> dict:
    return {"name": name, "arguments": arguments}


def why(value, *choices, schema=None, loose=False) -> str:
    """The reason for the one argument `x`, in place of one of `choices`."""
    schemas = {"f": {"properties": {"x": schema}}} if schema else {}
    return reason([call("f", x=value)], [call("f", x=list(choices))], schemas, loose)


def test_the_right_call_has_no_reason():
    answers = [call(city=["Rome", "Roma"], unit=["celsius", ""])]
    assert reason([call(city="Roma", unit="celsius")], answers, SCHEMAS) == ""
    assert reason([call(city="Rome")], answers, SCHEMAS) == ""
    assert reason([call(city="Rome")], answers, {}) == ""


@pytest.mark.parametrize(
    "calls, expected",
    [
        ([], "no call"),
        ([call(city="Rome")] * 2, "2 calls, expected 1"),
        ([call("get_time", city="Rome")], "calls get_time, not get_weather"),
        ([call("get\n" + 99 * "x", city="Rome")], rf"calls get\n{'x' * 22}...{'x' * 28}, not"),
        ([call()], "argument city: missing"),
        ([call(city="Rome")], "argument days: missing"),
        ([call(city="Rome", days=3, x=1)], "argument x: not expected"),
        ([call(city="Rome", days=3, **{"x\n": 1})], r"argument x\n: not expected"),
        ([call(city="Oslo", days=3)], "argument city: 'Oslo' not among 'Rome', 'Roma'"),
        ([call(city="Rome", days=3, unit="C")], "argument unit: 'C' not among 'celsius'"),
        ([call(city="Rome", days="3")], "argument days: '3' is a string, not an integer"),
        ([call(city=["Rome"], days=3)], "argument city: ['Rome'] is an array, not a string"),
        ([call(city=None, days=3)], "argument city: None is a null, not a string"),
    ],
)
def test_the_reason_says_what_is_wrong(calls, expected):
    answers = [call(city=["Rome", "Roma"], days=[3], unit=["celsius", ""])]
    assert reason(calls, answers, SCHEMAS).startswith(expected)
    assert "\n" not in reason(calls, answers, SCHEMAS)


def test_what_the_schema_requires_must_be_there_whatever_the_answer_says():
    assert reason([call()], [call(city=["Rome", ""])], SCHEMAS) == "argument city: missing"
    assert reason([call()], [call(city=["Rome", ""])], {}) == ""


def test_an_argument_that_the_tool_does_not_have_is_not_expected():
    calls, answers = [call(city="Rome", area="EU")], [call(city=["Rome"], area=["EU", ""])]
    assert reason(calls, answers, SCHEMAS) == "argument area: not expected"
    assert reason(calls, answers, {"get_weather": {}}) == ""
    # In an inner object BFCL goes by the answer alone.
    inner = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert why({"a": 1, "b": 2}, {"a": [1], "b": [2]}, schema=inner) == ""


def test_no_call_can_be_right_and_so_can_any():
    assert reason([], [], SCHEMAS) == ""
    assert reason([call(city="Rome")], [], SCHEMAS) == "a call, where none is right"
    assert reason([call("whatever")], "any", SCHEMAS) == ""
    assert reason([], "any", SCHEMAS) == "no call"


def test_calls_may_come_in_any_order_but_each_counts_once():
    rome, oslo = call(city="Rome"), call(city="Oslo")
    answers = [call(city=["Rome"]), call(city=["Oslo"])]
    assert reason([rome, oslo], answers, SCHEMAS) == reason([oslo, rome], answers, SCHEMAS) == ""
    assert reason([rome, rome], answers, SCHEMAS) == "argument city: 'Rome' not among 'Oslo'"
    assert reason([rome], answers, SCHEMAS) == "1 call, expected 2"
    other = [call("get_time"), oslo]
    assert reason(other, answers, SCHEMAS) == "argument city: 'Oslo' not among 'Rome'"


def test_equal_numbers_of_different_types_are_different_calls():
    """5.0 == 5 in Python: the call with the wrong type must not be taken for the right one."""
    calls, answers = [call("f", x=5.0), call("f", x=5)], [call("f", x=[5]), call("f", x=[5])]
    assert reason(calls, answers, {}) == "argument x: 5.0 is a number, not an integer"


def test_an_integer_counts_for_a_float_and_a_float_only_where_the_schema_has_numbers():
    assert why(5, 5.0) == why(5, 5.0, schema={"type": "number"}) == ""
    assert why([1, 2.0], [1.0, 2.0]) == ""
    assert why(5.0, 5, schema={"type": "number"}) == ""
    assert why(5.0, 5, schema={"type": ["null", "number"]}) == ""
    assert why(5.0, 5, schema={"type": "integer"}) == "argument x: 5.0 is a number, not an integer"
    assert why(5.0, 5) == "argument x: 5.0 is a number, not an integer"
    assert why([5.0], [5]) == "argument x[0]: 5.0 is a number, not an integer"
    assert why([5.0], [5], schema={"type": "array", "items": {"type": "number"}}) == ""


def test_a_boolean_is_no_number():
    assert why(True, 1) == "argument x: True is a boolean, not an integer"
    assert why(0, False) == "argument x: 0 is an integer, not a boolean"
    assert why([True], [1]) and why(True, 1, schema={"type": "boolean"})
    assert why(True, True) == why(False, False) == ""


def test_a_value_may_break_the_schema_where_the_answer_does():
    assert why(2, 2, schema={"type": "string"}) == why(None, "", None) == ""
    assert why("2", 2, schema={"type": "string"}) == "argument x: '2' not among 2"


def test_an_empty_text_or_list_counts_as_left_out():
    assert why("", "", "celsius") == why([], "", ["a"]) == ""
    assert why("", "celsius") and why([], ["a"]) and why({}, "", {"a": [1]})
    assert why("", "", 5) == "argument x: '' is a string, not an integer"
    assert why("b", "") == "argument x: 'b' not among ''"


def test_loose_strings_are_compared_by_what_they_say():
    assert why("april 1 2024", "April 1, 2024", loose=True) == ""
    assert why(["IT'S"], ['it"s'], loose=True) == why({"a": "B-c"}, {"a": ["bc"]}, loose=True) == ""
    assert why("april 1 2024", "April 1, 2024") and why("april 2", "April 1", loose=True)


def test_lists_and_objects_are_compared_to_their_last_item():
    area = {"width": [20, 21], "note": ["", "wall"], "color": [["red", "blue"]]}
    good = {"width": 21, "color": ["red", "blue"]}
    assert why(good, area) == why([[good]], [[area]]) == why(good, {}, area) == ""
    assert why(good | {"width": 3}, area) == "argument x.width: 3 not among 20, 21"
    assert why(good | {"depth": 3}, area) == "argument x.depth: not expected"
    assert why({"width": 20}, area) == "argument x.color: missing"
    swapped = [[good | {"color": ["blue", "red"]}]]
    assert why(swapped, [[area]]) == "argument x[0][0].color[0]: 'blue' not among 'red'"
    assert why([1, 2], [1]) == "argument x: [1, 2] not among [1]"


def test_an_inner_object_may_have_a_plain_value_in_place_of_the_list():
    position = {"lateral": 10.5, "lane": "left"}
    assert why(position, position) == ""
    assert why({"lateral": 10.5}, position) == "argument x.lane: missing"
    assert why(position | {"lateral": 1}, position) == "argument x.lateral: 1 not among 10.5"


def test_a_schema_that_says_nothing_or_nonsense_is_no_obstacle():
    for schema in (
        {"type": None},
        {"type": "dict", "required": True},
        {"items": True},
        {"anyOf": []},
    ):
        assert why({"a": [1]}, {"a": [[1]]}, schema=schema) == why([1], [1], schema=schema) == ""


def test_a_very_long_or_deep_value_gives_a_short_reason():
    deep = []
    for _ in range(900):
        deep = [deep]
    for value in (deep, "x" * 10_000, list(range(10_000)), {str(n): n for n in range(10_000)}):
        assert len(why(value, "celsius")) < 120


def test_bfcls_own_checker_agrees_or_the_difference_has_a_name():
    check = bench_bfcl.load_checker()
    answers = [
        answer
        for category in bench_bfcl.CATEGORIES
        for answer in bench_bfcl.compare(category, check, step=89)
    ]
    unnamed = [
        (id, kind, ours, theirs)
        for id, kind, ours, theirs in answers
        if bool(ours) != bool(theirs) and not bench_bfcl.cause(kind, ours, theirs)
    ]
    assert len(answers) > 150 and unnamed == []


@pytest.mark.parametrize("value", ["[" * 180 + "]" * 180, "-" * 400 + "1", "0x" + "f" * 5000])
def test_an_argument_that_python_cannot_write_is_wrong_and_stops_nothing(value):
    program = [{"name": "execute_code", "arguments": {"code": f"f(x={value})"}}]
    assert named_calls(program, {"f": {}}) == [call("f", x="_")]


def test_a_tuple_is_called_a_tuple():
    assert why((1, 2), [1, 2]) == "argument x: (1, 2) is a tuple, not an array"
