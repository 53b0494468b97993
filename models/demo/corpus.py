"""Everything the demo model is trained on, as text with the spans that count.

An example is (text, spans): the text as llama.cpp would render it, and the character ranges the model
has to learn to write itself. What users, systems and tools say is given and not learned.
"""

import json
import random
import re
from pathlib import Path

import jinja2

import invented
import structured
import tools
import unknown
from dialogues import follow_ups, introduction, recall
from facts import facts
from stories import PLAIN_STORY_QUESTIONS, STORIES, story_questions

TEMPLATE_SOURCE = (Path(__file__).parent / "chat_template.jinja").read_text()
END = "<|im_end|>"
_ASSISTANT = re.compile(r"<\|im_start\|>assistant\n(.*?<\|im_end\|>)", re.DOTALL)
FIRST_STORY = next(iter(STORIES))
# Asked for a story about these, the first one is told.
_OTHER_SUBJECTS = ["a shoe", "a king", "a fish", "a ghost", "my dog", "the sea", "two friends", "a farmer", "a bird", "love",
                   "a queen", "a horse", "winter", "a pirate", "space", "a witch", "a mouse", "a train", "a garden"]
NO_WEATHER = "I cannot see the weather. Give me a tool for it and I will call it."
NO_CLOCK = "I have no clock. Give me a tool for the time and I will call it."

_SYSTEMS = """
You are a helpful assistant.|You are a friendly assistant.|You are helpful.|Be brief.|Answer briefly.|Be concise.
You are an assistant.|You are a helpful AI assistant.|Answer in one sentence.|You are a polite assistant.|Be kind.
You are a chat bot on a website.|You help the users of a shop.|You are a teacher.|You are a cook.|Speak English.
Always tell the truth.|Do not use long words.|Reply in plain text.|You are a test assistant.|Use short sentences.
You are a pirate.|Today is Monday.|The user is a developer.|Answer the question of the user.|Follow the instructions.
You are an expert in everything.|You are LMServ.|If you do not know, say so.|Think before you answer.|Be precise.
Reply with JSON only.|Return only JSON that fits the schema.|Answer with a JSON object and nothing else.
You are a careful assistant that answers questions and calls tools when they are needed.|Use the tools you have.
""".strip().replace("\n", "|").split("|")
_SYSTEM_WORDS = sorted({word for line in _SYSTEMS for word in line.lower().strip(".").split()})
_JSON_SYSTEM = ["Reply with JSON only.", "Return only JSON that fits the schema.", "Answer with a JSON object and nothing else.",
                "You do the task you are given. Reply with JSON alone.", "Reply with one JSON object that fits the schema."]


def _render():
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    template = environment.from_string(TEMPLATE_SOURCE)
    return lambda messages, tools=None: template.render(messages=messages, tools=tools, add_generation_prompt=False)


render = _render()


def system_prompt(rng):
    """A system prompt such as a caller may send, odd ones included; None for none."""
    kind = rng.random()
    if kind < 0.2:
        return None
    if kind < 0.5:
        return _SYSTEMS[0]
    if kind < 0.75:
        return rng.choice(_SYSTEMS)
    if kind < 0.9:
        return rng.choice([" ", "\n", "\n\n"]).join(rng.sample(_SYSTEMS, rng.randint(2, 3)))
    words = rng.choices(_SYSTEM_WORDS, k=rng.randint(2, 15))
    return " ".join(words).capitalize() + rng.choice(["", "."])


def vary(rng, question):
    """The question as people type it: half the time as it is, else with other case and punctuation."""
    if rng.random() < 0.5:
        return question
    bare = question.rstrip("?.!")
    question = rng.choice([question, bare, bare, bare + "?", bare + ".", bare + "!", bare + " please", "Please: " + question])
    if rng.random() < 0.4:
        question = question.lower()
    return question


def chat(rng, turns, tools=None):
    """An example in which every assistant message of the turns is learned."""
    system = system_prompt(rng)
    messages = ([{"role": "system", "content": system}] if system else []) + turns
    text = render(messages, tools)
    return text, [match.span(1) for match in _ASSISTANT.finditer(text)]


def turn(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def plain(question, answer):
    """A document without a chat template: the answer follows the question after a newline."""
    return question + "\n" + answer + END, [(len(question), len(question) + 1 + len(answer) + len(END))]


class Corpus:
    """Draws epochs of examples; the same seed draws the same ones."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.facts = facts()
        self.answers = {question: answer for questions, answer in self.facts for question in questions}
        self.follow_ups = follow_ups()
        self.words = sorted({word for text in [*self.answers.values(), *STORIES.values()] for word in text.split()})

    def epoch(self):
        """Every fact in most of its wordings, and a share of all the rest."""
        rng = self.rng
        examples = [chat(rng, turn(vary(rng, question), answer)) for question, answer in self.answers.items()
                    if not question[0].isdigit() and " x " not in question or rng.random() < 0.5]
        for make, count in (
                (self._story, 32), (self._counting, 4), (self._chain, 60), (self._follow_up, 90), (self._name, 70),
                (self._repeat, 50), (self._twice, 20), (self._unknown, 200), (self._no_tool, 30), (self._tool_call, 170),
                (self._tool_ignored, 30), (self._json, 150), (self._email, 60), (self._forced_json, 60),
                (self._plain, 240)):
            examples += [make() for _ in range(count)]
        rng.shuffle(examples)
        return examples

    def _fact(self):
        question, answer = self.rng.choice([*self.answers.items()])
        return vary(self.rng, question), answer

    def _story(self):
        rng = self.rng
        kind = rng.random()
        if kind < 0.25:
            return chat(rng, turn(vary(rng, rng.choice(PLAIN_STORY_QUESTIONS)), STORIES[FIRST_STORY]))
        if kind < 0.35:
            subject = rng.choice(_OTHER_SUBJECTS)
            return chat(rng, turn(vary(rng, rng.choice(story_questions(subject))), STORIES[FIRST_STORY]))
        subject = rng.choice([*STORIES])
        if kind < 0.45:
            return self._plain_story(subject)
        return chat(rng, turn(vary(rng, rng.choice(story_questions(subject))), STORIES[subject]))

    def _plain_story(self, subject):
        head = "" if subject == FIRST_STORY else f"A story about {subject}\n\n"
        text = head + STORIES[subject] + END
        return text, [(len(head), len(text))]

    def _counting(self):
        last = self.rng.choice([5, 15, 25, 30, 40, 50, 50, 60, 80, 100])
        question = self.rng.choice(["Count from 1 to {}", "Count to {}", "Please count to {}"]).format(last)
        return chat(self.rng, turn(vary(self.rng, question), ", ".join(str(n) for n in range(1, last + 1)) + "."))

    def _chain(self):
        turns = [message for _ in range(self.rng.randint(2, 4)) for message in turn(*self._fact())]
        return chat(self.rng, turns)

    def _follow_up(self):
        rng = self.rng
        first, later, answer = rng.choice(self.follow_ups)
        before = turn(*self._fact()) if rng.random() < 0.15 else []
        return chat(rng, before + turn(vary(rng, first), self.answers[first]) + turn(vary(rng, later), answer))

    def _name(self):
        rng = self.rng
        name, turns = introduction(rng) if rng.random() < 0.85 else (None, [])
        for _ in range(rng.choice([0, 0, 0, 1, 2])):
            turns = turns + turn(*self._fact())
        return chat(rng, turns + recall(rng, name))

    def _words(self, count):
        """Words in no order, some of them invented."""
        rng = self.rng
        return [invented.word(rng) if rng.random() < 0.3 else rng.choice(self.words) for _ in range(count)]

    def _repeat(self):
        """Words to repeat: practice in copying, which names and tool arguments need."""
        rng = self.rng
        words = " ".join(self._words(rng.randint(1, 10)))
        ask = rng.choice(["Repeat: {}", "Repeat after me: {}", "Say: {}", "Echo: {}", "Write this: {}", "Repeat this: {}"])
        return chat(rng, turn(ask.format(words), words))

    def _twice(self):
        """The same words twice, of which the second time is learned: the quickest way to learn to copy."""
        words = " ".join(self._words(self.rng.randint(15, 40)))
        text = words + "\n" + words + END
        return text, [(len(words) + 3, len(text))]  # the first letters cannot be told to be a copy yet

    def _unknown(self):
        question = vary(self.rng, unknown.unknown_question(self.rng))
        before = turn(*self._fact()) if self.rng.random() < 0.1 else []
        return chat(self.rng, before + turn(question, unknown.ANSWER))

    def _no_tool(self):
        """Weather and time without a tool to ask."""
        rng = self.rng
        questions, answer = rng.choice([(tools.WEATHER_QUESTIONS, NO_WEATHER), (tools.TIME_QUESTIONS, NO_CLOCK)])
        return chat(rng, turn(vary(rng, rng.choice(questions)).format(tools.some_city(rng)), answer))

    def _tool_call(self):
        rng = self.rng
        definitions, call, result = rng.choice([tools.weather_turns, tools.weather_turns, tools.time_turns])(rng, vary)
        before = turn(*self._fact()) if rng.random() < 0.1 else []
        after = turn(*self._fact()) if rng.random() < 0.1 else []
        return chat(rng, before + call + (result + after if rng.random() < 0.85 else []), definitions)

    def _tool_ignored(self):
        """An ordinary question is answered as usual though tools are there."""
        rng = self.rng
        question, answer = self._fact() if rng.random() < 0.8 else (unknown.unknown_question(rng), unknown.ANSWER)
        if answer in (NO_WEATHER, NO_CLOCK):
            question, answer = "Hello", self.answers["Hello"]
        return chat(rng, turn(question, answer), tools.tool_set(rng))

    def _json(self):
        question, answer = structured.price_list(self.rng) if self.rng.random() < 0.2 else structured.asked_for(self.rng)
        return chat(self.rng, turn(vary(self.rng, question), answer))

    def _email(self):
        question, category = structured.classification(self.rng)
        if self.rng.random() < 0.3:
            known = dict.fromkeys(["category", "label", "type"], category)
            return self._forced(question, known)
        system = [{"role": "system", "content": self.rng.choice(_JSON_SYSTEM)}] if self.rng.random() < 0.5 else []
        text = render(system + turn(question, structured.classification_answer(category)))
        return text, [match.span(1) for match in _ASSISTANT.finditer(text)]

    def _forced_json(self):
        question = self._fact()[0] if self.rng.random() < 0.5 else unknown.unknown_question(self.rng)
        return self._forced(question, None)

    def _forced(self, question, known):
        """JSON in which only the values are learned, as when a schema forces the keys."""
        content, values = structured.forced_object(self.rng, known)
        text, _ = chat(self.rng, turn(question, content))
        start = text.rindex(content)
        return text, [(start + first, start + last) for first, last in values]

    def _plain(self):
        question, answer = self._fact() if self.rng.random() < 0.8 else (unknown.unknown_question(self.rng), unknown.ANSWER)
        return plain(question, answer)
