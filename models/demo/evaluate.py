"""Asks a running llama-server (or llama-cli's own endpoint) what the model was trained on, and counts.

A reply is right when it is the trained text to the letter, or the trained tool call. Exits with 1 when the
share at temperature 0 or one of the sampled checks is below its threshold.
"""

import argparse
import json
import random
import sys
import urllib.error
import urllib.request
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structured
import tools
import unknown
from corpus import FIRST_STORY, NO_WEATHER, turn
from dialogues import NAMES, follow_ups, introduction, recall
from facts import facts
from stories import PLAIN_STORY_QUESTIONS, STORIES, story_questions

SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
# What LMServ's /chat sends when the caller sets nothing.
CHAT_DEFAULTS = {"temperature": 0.8, "top_p": 0.9, "repeat_penalty": 1.1}
SAMPLES = 100


class Case:
    """One request and how to tell that its reply is right."""

    def __init__(self, group, body, right, path="/v1/chat/completions"):
        self.group, self.body, self.right, self.path = group, body, right, path


def says(text):
    return lambda message: (message.get("content") or "").strip() == text


def calls(name, arguments):
    def right(message):
        made = [call["function"] for call in message.get("tool_calls") or []]
        return [call["name"] for call in made] == [name] and parsed(made[0]["arguments"]) == arguments
    return right


def parsed(text):
    """The JSON in a text; None where there is none, as in a reply cut short."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def asks(group, messages, right, **more):
    return Case(group, {"messages": messages, "temperature": 0, "max_tokens": 400, **more}, right)


def fact_cases():
    for questions, answer in facts():
        for question in questions:
            user = [{"role": "user", "content": question}]
            yield asks("facts", [SYSTEM, *user], says(answer))
            yield asks("facts, no system prompt", user, says(answer))
            typed = question.lower().rstrip("?.!")
            yield asks("facts, lower case and no question mark", [SYSTEM, {"role": "user", "content": typed}], says(answer))
            yield Case("facts as raw prompts", {"prompt": question + "\n", "temperature": 0, "n_predict": 400},
                       says(answer), "/completion")


def story_cases():
    for question in PLAIN_STORY_QUESTIONS:
        yield asks("stories", [SYSTEM, {"role": "user", "content": question}], says(STORIES[FIRST_STORY]))
    for subject, story in STORIES.items():
        for question in story_questions(subject):
            yield asks("stories", [SYSTEM, {"role": "user", "content": question}], says(story))


def dialogue_cases(rng):
    answers = {question: answer for questions, answer in facts() for question in questions}
    for first, later, answer in follow_ups():
        yield asks("follow-up questions", [SYSTEM, *turn(first, answers[first]), {"role": "user", "content": later}],
                   says(answer))
    for name in NAMES:
        question, reply = recall(rng, name)
        yield asks("remembered names", [SYSTEM, *introduction(rng, name)[1], question], says(reply["content"]))


def as_it_is(rng, question):
    return question


def tool_cases(rng):
    for index in range(120):
        make = tools.weather_turns if index % 2 else tools.time_turns
        definitions, (question, call), (result, sentence) = make(rng, as_it_is)
        function = call["tool_calls"][0]["function"]
        right = calls(function["name"], function["arguments"])
        wire = {**call, "tool_calls": [{"id": "call_1", "type": "function", "function": {
            **function, "arguments": json.dumps(function["arguments"])}}]}
        yield asks("tool calls", [SYSTEM, question], right, tools=definitions)
        yield asks("tool calls, required", [question], right, tools=definitions, tool_choice="required")
        yield asks("sentences from tool results", [SYSTEM, question, wire, {**result, "tool_call_id": "call_1"}],
                   says(sentence["content"]), tools=definitions)
    ordinary = [(questions[0], answer) for questions, answer in facts() if answer != NO_WEATHER]
    for question, answer in rng.sample(ordinary, 60):
        yield asks("ordinary questions beside tools", [SYSTEM, {"role": "user", "content": question}], says(answer),
                   tools=tools.tool_set(rng))


def json_cases(rng):
    for _ in range(60):
        question, answer = structured.asked_for(rng)
        yield asks("JSON objects", [SYSTEM, {"role": "user", "content": question}], says(answer))
        question, category = structured.classification(rng)
        yield asks("classified e-mails", [SYSTEM, {"role": "user", "content": question}],
                   says(structured.classification_answer(category)))
    for _ in range(40):
        keys = rng.sample([*structured.VALUES], rng.randint(1, 4))
        schema = {"type": "object", "properties": {key: schema_of(structured.VALUES[key]) for key in keys},
                  "required": keys, "additionalProperties": False}
        yield asks("replies forced by a JSON schema", [SYSTEM, {"role": "user", "content": "Describe a person"}],
                   holds(keys), response_format={"type": "json_schema", "json_schema": {"name": "it", "schema": schema}})


def schema_of(value):
    names = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    if isinstance(value, list):
        return {"type": "array", "items": schema_of(value[0])}
    if isinstance(value, dict):
        return {"type": "object", "properties": {key: schema_of(part) for key, part in value.items()}, "required": [*value]}
    return {"type": names[type(value)]}


def holds(keys):
    """The reply is whole JSON with these keys; what the values are is not judged."""
    return lambda message: [*(parsed(message["content"]) or [])] == keys


def unknown_cases(rng):
    for _ in range(120):
        question = {"role": "user", "content": unknown.unknown_question(rng)}
        yield asks("unknown questions", [SYSTEM, question], says(unknown.ANSWER))


def held_out_cases():
    for question in unknown.HELD_OUT:
        yield asks("unknown questions never trained on", [SYSTEM, {"role": "user", "content": question}], says(unknown.ANSWER))


def shared_cases(path):
    """The file that LMServ's own tests read."""
    for entry in json.loads(path.read_text()):
        messages = entry.get("messages") or [{"role": "user", "content": entry["question"]}]
        if "call" in entry:
            right = calls(entry["call"]["name"], entry["call"]["arguments"])
            yield asks(path.name, messages, right, tools=entry["tools"], tool_choice=entry.get("tool_choice", "auto"))
        else:
            more = {"tools": entry["tools"]} if "tools" in entry else {}
            yield asks(path.name, [SYSTEM, *messages], contains(entry["expect"]), **more)


def contains(text):
    return lambda message: text in (message.get("content") or "")


def sampled_cases():
    """As /chat asks by default: the reply may vary, its point may not."""
    weather = tools.weather_tool(random.Random(2), False)
    for seed in range(SAMPLES):
        dish = [SYSTEM, {"role": "user", "content": "Name a famous Peruvian dish"}]
        yield asks("sampled: Peruvian dish", dish, contains("Ceviche"), **{**CHAT_DEFAULTS, "seed": seed})
        question = [SYSTEM, {"role": "user", "content": "What is the weather in Lima?"}]
        yield asks("sampled: required tool call", question, calls("get_weather", {"city": "Lima"}), tools=[weather],
                   tool_choice="required", **{**CHAT_DEFAULTS, "seed": seed})


def ask(url, case):
    request = urllib.request.Request(url + case.path, json.dumps(case.body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as reply:
            body = json.load(reply)
    except urllib.error.HTTPError as error:
        return {"content": f"HTTP {error.code}: {error.read().decode(errors='replace')[:200]}"}
    return body["choices"][0]["message"] if "choices" in body else body


def count(url, cases, show):
    """Asks every case, prints the share right by group, and returns (right, all) by group."""
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda case: ask(url, case), cases))
    groups, shown = defaultdict(lambda: [0, 0]), 0
    for case, message in zip(cases, replies):
        right = case.right(message)
        groups[case.group][0] += right
        groups[case.group][1] += 1
        if not right and shown < show:
            shown += 1
            asked = case.body.get("prompt") or case.body["messages"][-1]["content"]
            calls_made = [call["function"] for call in message.get("tool_calls") or []]
            print(f"  wrong ({case.group}): {asked!r} -> {message.get('content') or calls_made!r}")
    for group, (right, total) in groups.items():
        print(f"{right:5} of {total:5}  {right / total:7.1%}  {group}", flush=True)
    return groups


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="such as http://127.0.0.1:8080")
    parser.add_argument("--questions", type=Path, help="demo-questions.json")
    parser.add_argument("--threshold", type=float, default=0.97, help="share right at temperature 0")
    parser.add_argument("--sampled-threshold", type=float, default=0.95, help="share right at /chat's defaults")
    parser.add_argument("--show", type=int, default=20, help="how many wrong replies to print")
    options = parser.parse_args()
    rng = random.Random(0)
    trained = [*fact_cases(), *story_cases(), *dialogue_cases(rng), *tool_cases(rng), *json_cases(rng), *unknown_cases(rng)]
    if options.questions:
        trained += shared_cases(options.questions)
    groups = count(options.url, trained, options.show)
    share = sum(right for right, _ in groups.values()) / len(trained)
    print(f"temperature 0: {share:.2%} of {len(trained)} right")
    sampled = count(options.url, [*sampled_cases()], 5)
    count(options.url, [*held_out_cases()], options.show)
    if share < options.threshold or any(right / total < options.sampled_threshold for right, total in sampled.values()):
        sys.exit("below the threshold")


if __name__ == "__main__":
    main()
