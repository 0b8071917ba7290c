"""Old result files say which model answered, by the responses' own word, and no more than that."""

import json
import sys
import uuid
from types import SimpleNamespace

import pytest
from mlx_lm.server import APIHandler

import program
from autopsy import main

BUILT = "/Users/someone/models/phase40-8b-5bit"
FIRST_ID = "mlx-community/Qwen3-Coder-30B-A3B-Instruct-4bit"
CODE = 'print(read_file("src/{}.py"))'
CALL = (
    "<tool_call><function=execute_code>\n<parameter=code>\n{}\n</parameter></function></tool_call>"
)


def response(model, text, finish_reason="stop", tool_calls=None):
    """What the real mlx_lm server answers a request for `model`."""
    request = SimpleNamespace(
        request_id=f"chatcmpl-{uuid.uuid4()}",
        system_fingerprint=f"0.30.7-0.30.6-macOS-15-arm64-{uuid.uuid4().hex[:4]}",
        object_type="chat.completion",
        requested_model=model,
        created=10**9 + uuid.uuid4().int % 10**9,
        stream=False,
    )
    counts = {"prompt_token_count": 99, "completion_token_count": 40}
    return APIHandler.generate_response(
        request, text, finish_reason, **counts, tool_calls=tool_calls
    )


def entry(n, answer, code="", score=0.5):
    """A prompt of a result file. `answer` is a response, or what the script had instead of one."""
    return {
        "id": f"text-{n:02}",
        "category": "lsp" if n % 2 else "git",
        "score": score,
        "has_execute_code": bool(code),
        "elapsed": 1.8,
        "response_snippet": str(answer)[:400],
        "code_snippet": code,
    }


def calls(model, count=6, first=0, **changes):
    """Prompts that are answered by a call each; each call reads another file."""
    codes = [CODE.format(first + n) for n in range(count)]
    return [
        entry(n, response(model, CALL.format(code)), code, **changes)
        for n, code in enumerate(codes)
    ]


def prose(model, text="I can't run \"it\", but here is what I'd look at in file {n}: ", **changes):
    """Prompts that are answered by prose up to the token limit, as the untuned model does."""
    said = [text.format(n=n) + "and so on " * 50 for n in range(6)]
    return [entry(n, response(model, words, "length"), **changes) for n, words in enumerate(said)]


@pytest.fixture
def autopsy(tmp_path, monkeypatch, capsys):
    """autopsy(name=(model, prompts)) -> (exit status, output, error) of the program on these files.

    A text in place of the two is the whole file.
    """

    def autopsy(**files):
        monkeypatch.chdir(tmp_path)
        for name, content in files.items():
            if not isinstance(content, str):
                model, prompts = content
                result = {"model": model, "overall_score": 0.185, "verdict": "FAIL"}
                result |= {"timestamp": "2026-02-18T21:00:00", "prompts": prompts}
                content = json.dumps(result)
            (tmp_path / f"{name}.json").write_text(content)
        monkeypatch.setattr(sys, "argv", ["autopsy.py", *(f"{name}.json" for name in files)])
        with pytest.raises(SystemExit) as ended:
            program.run(main)
        said, error = capsys.readouterr()
        assert all(len(line) <= 80 for line in said.splitlines()), said
        return ended.value.code or 0, " ".join(said.split()), error

    return autopsy


@pytest.mark.parametrize(
    ("named", "asked", "why"),
    [
        (BUILT, BUILT, "the name is equal"),
        ("phase40-8b-5bit", BUILT, "the last part of the name is equal"),
        ("models/o'brien's", "/Users/o'brien's", "the last part of the name is equal"),
    ],
)
def test_the_model_that_the_file_names_was_asked(autopsy, named, asked, why):
    status, said, error = autopsy(old=(named, calls(asked)))
    assert (status, error) == (0, "")
    assert f"old.json: 6 prompts named {named!r}" in said
    assert f"6 asked {asked!r}: the same model; {why}" in said
    assert "0 cut at the token limit; not known for 0" in said


def test_the_first_id_of_the_list_was_asked_and_the_exit_status_says_so(autopsy):
    status, said, error = autopsy(old=(BUILT, prose(FIRST_ID)))
    assert f"6 asked '{FIRST_ID}': another model; neither the name nor its last part is" in said
    assert "6 cut at the token limit; not known for 0" in said
    assert (status, error) == (1, f"autopsy: old.json: '{FIRST_ID}' was asked, not '{BUILT}'\n")


def test_two_models_in_one_file_are_counted_apart(autopsy):
    status, said, error = autopsy(old=(BUILT, calls(BUILT, 4) + prose(FIRST_ID)[4:]))
    assert f"4 asked '{BUILT}': the same model" in said and f"2 asked '{FIRST_ID}'" in said
    assert status == 1 and f"'{FIRST_ID}' was asked" in error


@pytest.mark.parametrize("answer", [None, "", "HTTP 500: 'model': 'x'", {"error": {"model": "x"}}])
def test_a_prompt_without_a_response_names_no_model(autopsy, answer):
    status, said, error = autopsy(old=(BUILT, [*calls(BUILT), entry(6, answer)]))
    assert (status, error) == (0, "")
    assert "1 asked no model named" in said and "not known for 1" in said


def test_nothing_is_taken_out_of_an_answer_or_out_of_a_name_that_is_cut_off(autopsy):
    text = "{'model': 'other', 'choices': [{'index': 0, 'finish_reason': 'length'"
    late = {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}
    prompts = [entry(0, late), entry(1, response("x" * 400, "hi")), entry(2, response(BUILT, text))]
    prompts.append(entry(3, response("default_model", "hi", "length")))
    status, said, error = autopsy(old=(BUILT, prompts))
    assert (status, error) == (0, "")
    assert "3 asked no model named" in said and "1 cut at the token limit; not known for 2" in said


def test_one_model_that_answered_twice_is_found_out(autopsy):
    status, said, error = autopsy(
        phase40=("phase40-8b", prose(FIRST_ID)), phase43=("phase43-30b", prose(FIRST_ID))
    )
    assert "phase40.json and phase43.json 6 of 6 answers are the same" in said
    assert "One model answered both. The scores are equal in every category." in said
    assert status == 1 and "phase40.json: " in error and "; phase43.json: " in error


def test_names_of_another_length_cut_the_same_answers_elsewhere(autopsy):
    """The two texts begin alike and end at different places: the same, as far as they are shown."""
    long = FIRST_ID + "-DWQ-v2"
    _, said, _ = autopsy(a=(FIRST_ID, prose(FIRST_ID)), b=(long, prose(long, score=1)))
    assert "6 of 6 answers are the same" in said and "Did one model answer both?" in said
    assert "The scores" not in said


def test_different_answers_with_a_common_beginning_are_different(autopsy):
    """All calls begin alike. What is called is in the code that the file keeps."""
    built = BUILT + "/in-another-folder"
    files = {"a": (built, calls(built)), "b": (BUILT, calls(BUILT, first=9))}
    assert "0 of 6 answers are the same" in autopsy(**files)[1]
    call = {"function": {"name": "x"}, "type": "function"}
    a, b = (
        [entry(n, response(BUILT, "Yes.", tool_calls=[call | {"id": id}])) for n in range(6)]
        for id in ("one", "other")
    )
    said = autopsy(a=(BUILT, a), b=(BUILT, b))[1]
    assert "6 of 6 answers are the same" in said and "model answer" not in said


def test_a_few_characters_of_an_answer_are_not_an_answer(autopsy):
    """Behind a long name the file shows so little of an answer that any two are alike."""
    before = str(response("", "Sure")).index("Sure")
    model = ("a long name " * 40)[: 400 - len("Sure") - before]
    short = [entry(n, response(model, "Sure, I can do that.")) for n in range(6)]
    assert short[0]["response_snippet"].endswith("'content': 'Sure")
    other = [entry(n, response(model, "Surely not.")) for n in range(6)]
    assert "0 of 0 answers are the same" in autopsy(a=("x", short), b=("y", other))[1]


def test_empty_answers_are_not_called_the_same(autopsy):
    empty = [entry(n, response(FIRST_ID, "")) for n in range(6)]
    said = autopsy(a=("one", empty), b=("two", empty))[1]
    assert "0 of 0 answers are the same" in said and "model answer" not in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"model": "x", "prompts": [', "old.json:1: not JSON"),
        ('{"model": "x", "prompts": [{"id": "a"}]}', "old.json: prompts[0].category: Field"),
        ('{"model": {"path": "x"}, "prompts": []}', "old.json: model: Input should be a valid"),
        ("[]", "old.json: expected a JSON object"),
    ],
)
def test_a_torn_file_or_another_one_is_refused_in_one_line(autopsy, text, says):
    status, said, error = autopsy(good=(BUILT, calls(BUILT)), old=text)
    assert (status, said, error.count("\n")) == (2, "", 1)
    assert error.startswith(f"autopsy: {says}")


def test_make_autopsy_takes_several_files(autopsy, make, tmp_path):
    autopsy(a=(BUILT, calls(BUILT)), b=("other", prose(FIRST_ID)))
    ended = make("autopsy", f"RESULT={tmp_path}/a.json {tmp_path}/b.json")
    assert ended.returncode == 2 and "Error 1" in ended.stderr  # make's own status is always 2
    assert "the same model" in ended.stdout and "another model" in ended.stdout
    assert f"autopsy: {tmp_path}/b.json: '{FIRST_ID}' was asked, not 'other'" in ended.stderr
    assert make("autopsy").stderr.startswith("autopsy: no file; make autopsy RESULT=old.json\n")
