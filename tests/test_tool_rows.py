"""Rows and prompts of plain function calling: JSON schemas, calls by name, results of tools."""

import json

import pytest

from chat_format import open_tokenizer, render, render_prompt, written
from conftest import ROOT
from experiment import edit_json, template, tokenizer_config, write_rows
from rows import parse_line
from score import calls_in_text, score_answer
from suite import read_suite
from tools import read_schemas, schema_of
from validation import mark, rows_to_ask

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
}
WEATHER["required"] = ["city"]
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}


def call(arguments, name="get_weather") -> dict:
    return {"type": "function", "id": "1", "function": {"name": name, "arguments": arguments}}


def tool_row(n: int, *calls, tools=(TOOL,)) -> dict:
    """An OpenAI-style row whose answer makes these calls."""
    asked = [{"role": "user", "content": f"request {n}"}]
    answer = {"role": "assistant", "content": None, "tool_calls": list(calls)}
    return {"messages": [*asked, answer], "tools": list(tools)}


@pytest.fixture
def weather(experiment, check):
    """check(), for an experiment whose rows have tools and whose prompts have answers."""
    smollm2 = (ROOT / "py/smollm2.jinja").read_text()
    wanted = {"chat_template": smollm2, "tool_parser_type": "json_tools"}
    tokenizer_config(lambda config: config | wanted, ["base", "reference"])(experiment)
    rows = [tool_row(n, call({"city": f"Town {n}", "days": n})) for n in range(24)]
    write_rows(experiment / "data/train.jsonl", rows[:20])
    write_rows(experiment / "data/valid.jsonl", rows[20:])
    answers = [{"name": "get_weather", "arguments": {"city": ["Oslo"], "days": [2, ""]}}]
    prompt = {"id": "a", "category": "text_tools", "prompt": "Oslo?", "tools": [TOOL]}
    suite = {"name": "weather", "system": "", "prompts": [prompt | {"answers": answers}]}
    (experiment / "suite.json").write_text(json.dumps(suite))
    return lambda **changes: check(TOOLS="none", **changes)


def test_openai_style_rows_pass_preflight(weather):
    status, _, findings, facts = weather()
    problems = [f"{f['id']}: {f['evidence']}" for f in findings.values() if f["level"] != "ok"]
    assert (status, problems) == (0, [])
    assert (facts["call_format"], facts["tool_calls"], facts["tool_parser"]) == (
        "json",
        20,
        "json_tools",
    )
    assert findings["data.schemas"]["evidence"] == "20 calls by name"


def edited(name: str, change):
    """A function that changes every row of a split."""

    def apply(folder):
        rows = [json.loads(line) for line in (folder / f"data/{name}.jsonl").open()]
        write_rows(folder / f"data/{name}.jsonl", [change(row) for row in rows])

    return apply


def of_type(word: str) -> dict:
    return json.loads(json.dumps(TOOL).replace('"object"', f'"{word}"'))


def with_arguments(arguments):
    return lambda row: tool_row(int(row["messages"][0]["content"].split()[1]), call(arguments))


@pytest.mark.parametrize(
    ("says", "change", "changes"),
    [
        (
            "data.schemas: no call of get_weather fits its schema; train.jsonl:1: days: 'two'",
            edited("train", with_arguments({"city": "Oslo", "days": "two"})),
            {},
        ),
        (
            "data.schemas: train.jsonl:1: argument town is not in the schema",
            edited("train", with_arguments({"city": "Oslo", "town": "two"})),
            {},
        ),
        (
            "data.schemas: in no schema: train.jsonl:1 calls get_wether",
            edited("train", lambda _: tool_row(0, call({"city": "Oslo"}, "get_wether"))),
            {},
        ),
        (
            "data.schemas: no call of get_weather fits its schema; train.jsonl:1: the schema cannot"
            " be used (UnknownType: Unknown type 'dict'",
            edited("train", lambda _: tool_row(0, call({"city": "a"}), tools=[of_type("dict")])),
            {},
        ),
        (
            "data.call_format: in the format json, CALL_FORMAT=program",
            None,
            {"CALL_FORMAT": "program"},
        ),
        (
            "served.parser: qwen3_coder, which the server would use, keeps 0 of 20; json_tools",
            tokenizer_config(lambda config: config | {"tool_parser_type": "qwen3_coder"}),
            {},
        ),
        (
            "template.content: no 'get_weather'",
            tokenizer_config(
                lambda config: (
                    config
                    | {"chat_template": config["chat_template"].replace("if tools", "if none")}
                ),
                ["base", "reference"],
            ),
            {},
        ),
        (
            "template.answer: train.jsonl:1: a call of get_weather is left out",
            lambda folder: (
                edited("train", lambda _: tool_row(0, call({"city": "a"}), call({"city": "b"})))(
                    folder
                ),
                template("message.tool_calls or []", "(message.tool_calls or [])[:1]")(folder),
            ),
            {},
        ),
        (
            "data.tools: get_time: 0 calls",
            lambda folder: edit_json(
                folder / "suite.json",
                lambda s: s["prompts"][0].update(
                    tools=[], answers=[{"name": "get_time", "arguments": {}}]
                ),
            ),
            {},
        ),
        (
            "suite.schema: the answers call get_time, which is not among its tools",
            lambda folder: edit_json(
                folder / "suite.json",
                lambda s: s["prompts"][0]["answers"][0].update(name="get_time"),
            ),
            {},
        ),
    ],
)
def test_what_would_ruin_such_a_run_is_said_in_one_line(weather, experiment, says, change, changes):
    if change:
        change(experiment)
    _, _, findings, _ = weather(**changes)
    id, _, evidence = says.partition(": ")
    assert evidence in findings[id]["evidence"] and findings[id]["level"] != "ok"
    assert "\n" not in findings[id]["evidence"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (tool_row(1, call("[1]")), "arguments: is not an object"),
        (tool_row(1, call("{")), "arguments: is not JSON (Expecting property name"),
        (tool_row(1, tools=[{"name": "x"}]), "tools[0]: type: Field required"),
        ({"messages": [{"role": "user", "content": "a"}] * 2}, "turns must alternate"),
        (
            {"messages": [{"role": "user", "content": "a", "tool_calls": [call({})]}]},
            "which only an",
        ),
        ({"messages": [{"role": "tool", "content": "a"}]}, "turns must alternate"),
        ({"messages": [{"role": "bot", "tool_calls": [call({})]}]}, "role: Input should be"),
    ],
)
def test_a_malformed_row_is_named(row, says):
    with pytest.raises(ValueError) as error:
        parse_line(json.dumps(row).encode())
    assert says in str(error.value) and "\n" not in str(error.value)


CONVERSATION = {
    "messages": [
        {"role": "user", "content": "Oslo?"},
        {"role": "assistant", "tool_calls": [call('{"city": "Oslo"}')]},
        {"role": "tool", "tool_call_id": "1", "content": "Rain"},
        {"role": "assistant", "content": "It rains."},
    ],
    "tools": [TOOL],
}


def test_a_row_with_results_of_tools_is_read_and_its_first_call_is_asked(weather, experiment):
    for split, others in (("train", 19), ("valid", 3)):
        rows = [tool_row(n, call({"city": str(n)})) for n in range(others)]
        write_rows(experiment / f"data/{split}.jsonl", [*rows, CONVERSATION])
    _, _, findings, facts = weather(EXPAND_TURNS=1, ITERS=10, EPOCHS="auto")
    assert findings["template.prefix"]["level"] == "ok" and facts["train_rows"] == 21
    (experiment / "data/train.jsonl").write_text(json.dumps(tool_row(9, call({}))) + "\n")
    *_, asked = rows_to_ask(experiment / "data", 0, {})[0]
    assert (len(asked["messages"]), asked["tools"]) == (1, [TOOL])
    wanted = {"name": "get_weather", "arguments": {"city": "Oslo"}}
    marked = mark(asked, {"text": "", "calls": [wanted]}, {})
    assert marked["arguments"] and marked["wanted"] == ["get_weather(city='Oslo')"]


def test_arguments_as_text_and_as_an_object_make_the_same_prompt(weather, experiment):
    weather()
    tokenizer = open_tokenizer(experiment / "base")
    before = CONVERSATION["messages"][:3]
    as_object = [
        before[0],
        {"role": "assistant", "tool_calls": [call({"city": "Oslo"})]},
        before[2],
    ]
    trained = render(tokenizer, as_object, [TOOL], add_generation_prompt=True)
    assert render_prompt(tokenizer, before, [TOOL]) == trained
    text = written(tokenizer, CONVERSATION)["messages"][1]["content"]
    assert (
        text == '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    )


def test_a_signature_gives_a_schema_and_positional_arguments_their_names():
    schema = schema_of("git_log(path: str, count: int = 10, *, tags: list[str] = None) -> Log")
    assert schema == {
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "count": {"type": "integer"},
            "tags": {"type": "array"},
        },
        "required": ["path"],
    }
    assert schema_of("f(a, /, b=1, *, c, d=None)")["required"] == ["a", "c"]
    assert schema_of("no signature") == schema_of("") == {}
    prompt = {"answers": [{"name": "git_log", "arguments": {"path": ["."], "count": [7, ""]}}]}
    for code, exact in {
        "n = 7\ngit_log('.', n)": 1,
        "git_log(path='.')": 1,
        "git_log('.', 8)": 0,
    }.items():
        program = [{"name": "execute_code", "arguments": {"code": code}}]
        scored = score_answer(prompt, "", program, {"git_log": schema})
        assert (scored["exact_score"], scored["score"]) == (exact, exact)
    assert scored["reason"] == "argument count: 8 not among 7"


def test_calls_by_name_count_for_keywords_only_in_the_json_format():
    prompt = {"keywords": ["hover"], "multi": False}
    calls = [{"name": "hover", "arguments": {}}]
    for call_format, score in (("json", 1.0), ("program", 0.5)):
        scored = score_answer(prompt, json.dumps(calls), calls, {"hover": {}}, call_format)
        assert (scored["score"], scored["strict_score"]) == (score, score)


def test_a_keyword_is_found_in_the_arguments_of_a_call_in_any_alphabet():
    calls = [{"name": "hover", "arguments": {"symbol": "größe"}}]
    scored = score_answer({"keywords": ["größe"], "multi": False}, "", calls, {}, "json")
    assert scored["keywords_found"] == ["größe"]


def test_a_call_that_mlx_lms_parser_fails_on_is_none():
    text = "<tool_call><function=f>\n<parameter=x>\ninf\n</parameter>\n</function></tool_call>"
    parameters = {"properties": {"x": {"type": "integer"}}}
    for odd in (parameters, {"properties": None, "type": "object"}):
        tools = [{"type": "function", "function": {"name": "f", "parameters": odd}}]
        assert calls_in_text(text, tools) == []


def test_the_suites_of_the_repository_are_whole():
    schemas = read_schemas(ROOT / "data/tools.json")
    for file in ("data/suite.json", "data/demo/json/suite.json"):
        prompts = read_suite(ROOT / file)["prompts"]
        assert len(prompts) == 27
        for answer in (answer for prompt in prompts for answer in prompt["answers"]):
            assert answer["arguments"].keys() == schemas[answer["name"]]["properties"].keys()
    assert read_schemas("none") == {}


def test_rows_may_have_different_tools_of_one_name(weather, experiment):
    other = {"properties": {"town": {"type": "string"}}, "required": ["town"]}
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": other}}]
    with (experiment / "data/train.jsonl").open("a") as file:
        file.write(json.dumps(tool_row(99, call({"town": "Oslo"}), tools=tools)) + "\n")
    _, _, findings, _ = weather(TRAIN_ROWS=21)
    assert findings["data.schemas"]["level"] == findings["instrument.gold"]["level"] == "ok"


def test_an_empty_list_of_tools_must_look_like_none(weather, experiment):
    template("if tools", "if tools is not none")(experiment)
    edited("train", lambda row: row | {"tools": []})(experiment)
    _, _, findings, _ = weather()
    assert "20 of 20 rows begin otherwise" in findings["template.prefix"]["evidence"]


def test_a_refusal_of_the_template_is_said_once_for_each_file(weather, experiment):
    template("message.content or ''", "message.content + ''")(experiment)
    _, error, _, _ = weather()
    assert error.count("template.render") == 2


def test_an_argument_that_no_answer_can_have_is_said(weather, experiment):
    edit_json(
        experiment / "suite.json",
        lambda s: s["prompts"][0]["answers"][0]["arguments"].update(citty=["Oslo"]),
    )
    found = weather()[2]["suite.answers"]
    said = "a: get_weather: argument citty is not in the schema"
    assert (found["level"], found["evidence"]) == ("warn", said)
