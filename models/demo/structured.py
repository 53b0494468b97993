"""Replies in JSON: objects asked for by key, and small classifications.

A reply forced by a JSON schema begins with keys the model did not choose, so part of these examples
train only the values: whatever the question was, `"city": ` is followed by a short string that ends.
"""

import json

VALUES = {
    "name": "Ana", "age": 31, "city": "Lima", "country": "Peru", "color": "blue", "colour": "blue", "job": "baker",
    "email": "ana@example.org", "phone": "555-0100", "title": "The Lighthouse", "year": 2024, "price": 9.5,
    "currency": "EUR", "quantity": 2, "product": "apple", "item": "apple", "animal": "llama", "food": "ceviche",
    "dish": "ceviche", "ingredients": ["fish", "lime", "onion"], "temperature": 18, "unit": "celsius", "happy": True,
    "active": True, "id": 1, "tags": ["small", "blue"], "answer": "yes", "summary": "A short note.", "category": "other",
    "label": "other", "type": "other", "language": "Spanish", "capital": "Lima", "population": 1000, "score": 0.9,
    "confidence": 0.9, "reason": "It is clear.", "sentiment": "neutral", "priority": "normal", "count": 3,
    "hobbies": ["reading", "music"], "planet": "Mars", "description": "A small thing.", "message": "Hello!",
    "text": "Hello!", "result": "ok", "ok": True, "error": None, "date": "2024-05-01", "time": "12:00", "weight": 5,
    "height": 170, "is_spam": False, "author": "Ana", "first_name": "Ana", "last_name": "Torres", "address": "Calle 1",
    "url": "https://example.org", "rating": 5, "status": "ok", "value": 1, "number": 7, "steps": ["one", "two"],
    "items": [{"name": "apple", "price": 1.5}], "amount": 10, "total": 20, "question": "What is it?", "weather": "sunny",
    "person": {"name": "Ana", "age": 31}, "subject": "Hello",
}

# What a described object holds when no keys are named.
OBJECTS = {
    "a person": ["name", "age", "city"], "a city": ["city", "country", "population"], "a colour": ["color"],
    "a color": ["color"], "a book": ["title", "author", "year"], "an animal": ["animal", "weight"],
    "a product": ["product", "price", "currency"], "a dish": ["dish", "country", "ingredients"],
    "a user": ["id", "name", "email"],
}

_ASK_KEYS = ["Give me a JSON object with {}", "Reply in JSON with {}", "Return JSON with the keys {}",
             "Make a JSON object with {}", "Answer as JSON with {}", "I need a JSON object with {}", "JSON with {}"]
_ASK_OBJECT = ["Give me {} as JSON", "Describe {} as JSON", "Describe {} in JSON", "Make up {} and reply in JSON",
               "Give me a JSON object for {}", "Return {} as JSON"]
_OTHER_KEYS = "field thing part note key data state detail place owner origin group level kind mode step".split()

# Subject lines and sentences of e-mails, by category.
EMAILS = {
    "invoice": (["Invoice 1042", "Your invoice", "Payment due", "Bill for March"],
                ["Please find the invoice attached.", "The amount of 120 EUR is due.", "Please pay within 14 days."]),
    "order": (["Order 77", "New order", "Purchase order", "We want to order"],
              ["We would like to order ten boxes.", "Please send us 20 pieces.", "Please confirm the order."]),
    "complaint": (["Broken product", "Complaint", "Very unhappy", "It does not work"],
                  ["The product arrived broken.", "I am not happy with the service.", "I want my money back."]),
    "spam": (["You have won!", "Cheap watches", "Get rich now", "Free money"],
             ["Click here to get your prize.", "You won a million dollars!", "Buy now and save 90 percent."]),
    "meeting": (["Meeting on Monday", "Invitation", "Call tomorrow?", "Team meeting"],
                ["Can we meet on Monday at ten?", "I invite you to a call tomorrow.", "Are you free on Friday?"]),
    "support": (["Question about login", "Help needed", "Password reset", "How do I log in?"],
                ["I cannot log in.", "How do I reset my password?", "Please help me with my account."]),
}
_CLASSIFY = ["Classify this e-mail: {}", "Classify this email: {}", "What kind of e-mail is this? {}",
             "Classify the e-mail and reply in JSON: {}", "Which category has this email? {}"]


def _listing(rng, keys):
    """`name, age and city` and the other ways people list keys."""
    style = rng.random()
    if style < 0.6 and len(keys) > 1:
        return ", ".join(keys[:-1]) + " and " + keys[-1]
    return ", ".join(f'"{key}"' for key in keys) if style > 0.85 else ", ".join(keys)


def _dump(rng, value):
    compact = rng.random() < 0.2
    return json.dumps(value, ensure_ascii=False, separators=(",", ":") if compact else (", ", ": "))


def asked_for(rng):
    """A question that names the keys or the kind of object, and its JSON."""
    if rng.random() < 0.35:
        name = rng.choice([*OBJECTS])
        return rng.choice(_ASK_OBJECT).format(name), json.dumps({key: VALUES[key] for key in OBJECTS[name]})
    keys = rng.sample([*VALUES], rng.randint(1, 4))
    return rng.choice(_ASK_KEYS).format(_listing(rng, keys)), json.dumps({key: VALUES[key] for key in keys})


def email(rng):
    """(category, subject, body) of one made-up e-mail."""
    category = rng.choice([*EMAILS])
    subjects, sentences = EMAILS[category]
    body = " ".join(rng.sample(sentences, rng.randint(1, 2)))
    if rng.random() < 0.4:
        body = rng.choice(["Hello, ", "Dear team, ", "Hi, "]) + body + rng.choice([" Best regards, Ana", " Thanks", ""])
    return category, rng.choice(subjects), body


def classification(rng):
    """A request to classify an e-mail, as a sentence or as a task object, and its answer."""
    category, subject, body = email(rng)
    if rng.random() < 0.5:
        fields = {"subject": subject, "body": body}
        if rng.random() < 0.3:
            fields = {"from": "ana@example.org", **fields}
        return _dump(rng, {"task": "classify_email", "input": fields}), category
    text = rng.choice([body, f"{subject}. {body}", f"Subject: {subject}\n{body}"])
    return rng.choice(_CLASSIFY).format(text), category


def classification_answer(category):
    return json.dumps({"category": category, "confidence": 0.9})


def price_list(rng):
    """A price list to parse, and its items."""
    goods = rng.sample(["apple", "bread", "milk", "rice", "tea", "coffee", "soap", "lamp"], rng.randint(1, 3))
    items = [{"name": good, "price": rng.choice([1, 2, 3, 5, 10, 20]) + rng.choice([0, 0.5])} for good in goods]
    text = rng.choice(["\n", "; "]).join(f"{item['name']} {item['price']}" for item in items)
    return _dump(rng, {"task": "parse_price_list", "input": {"text": text}}), json.dumps({"items": items})


def forced_object(rng, known=None):
    """A JSON text with keys nobody asked for, and the spans of it that are values."""
    known = known or {}
    pool = {**VALUES, **{key: "example" for key in _OTHER_KEYS}, **known}
    keys = rng.sample([*pool], rng.randint(1, 4))
    if known and rng.random() < 0.8:
        keys = list(dict.fromkeys([rng.choice([*known]), *keys]))
    separator = ":" if rng.random() < 0.2 else ": "
    text, spans = "{", []
    for index, key in enumerate(keys):
        text += (", " if index else "") + json.dumps(key) + separator
        start = len(text)
        text += json.dumps(pool[key])
        spans.append((start, len(text) + 1))
    return text + "}", spans
