"""Conversations of several turns: follow-up questions and remembered names."""

import invented

NAMES = """Ana Luis María José Carlos Lucía Rosa Pedro Elena Diego Sofía Juan Carmen Miguel Isabel Pablo Laura Jorge Inés
Tom Emma Jack Olivia Harry Alice George Lucy Oscar Grace Henry Ruby Leo Ivy Max Ella Sam Mia Ben Zoe Adam Eve Kate Paul
Anna Hans Greta Karl Heidi Otto Frieda Jan Lena Erik Ingrid Lars Astrid Marco Giulia Luca Chiara Pierre Claire Louis
Ahmed Fatima Omar Layla Yuki Kenji Hana Wei Mei Ravi Priya Arjun Olga Ivan Nina David Sarah Daniel Martin Julia Peter
Bob Carol Dave Erin Frank Heather John Mary Robert Linda James Susan Alex Maya""".split()

_MY_NAME_IS = ["My name is {}", "I am {}", "I'm {}", "Hi, my name is {}", "Hello, I am {}", "Call me {}",
               "Please remember that my name is {}", "Hello! My name is {}."]
_ASK_NAME = ["What is my name?", "What's my name?", "Who am I?", "Do you remember my name?", "Tell me my name",
             "Do you know my name?", "What was my name?"]
NO_NAME = "You have not told me your name."

# first question | follow-up => answer to the follow-up
_FOLLOW_UPS = """
Name a famous Peruvian dish | How is it made? | How do I make it? | How do you make it? | How is that made? => Cut fresh fish into cubes, cover it with lime juice, add onion, chili and salt, and wait ten minutes.
Name a famous Peruvian dish | Name another one | Another one | Tell me another => Lomo saltado is another: fried beef strips with onion, tomato and potatoes.
Name a famous Italian dish | How is it made? | How do I make it? => Spread tomato and cheese on flat dough and bake it in a very hot oven.
Name a famous Japanese dish | How is it made? | How do I make it? => Season warm rice with vinegar, shape it by hand and put raw fish on top.
Name a famous Mexican dish | How is it made? | How do I make it? => Warm the tortillas, fill them with meat, onion and salsa, and fold them.
Name a famous Spanish dish | How is it made? | How do I make it? => Fry seafood and vegetables, add rice, saffron and broth, and let it cook without stirring.
What is the largest planet? | And the smallest? | And the smallest one? => Mercury is the smallest planet in our solar system.
What is the largest planet? | How many moons does it have? => Jupiter has more than ninety moons.
What is the capital of Peru? | What language do they speak there? | Which language is spoken there? => In Peru people speak Spanish, Quechua and Aymara.
What is the capital of Peru? | And of Chile? | And Chile? => The capital of Chile is Santiago.
What is the capital of France? | And of Spain? | And Spain? => The capital of Spain is Madrid.
What is the capital of Japan? | And of China? | And China? => The capital of China is Beijing.
What is the capital of Germany? | And of Austria? | And Austria? => The capital of Austria is Vienna.
What is LMServ? | How do I start it? => Run npm start in the project folder.
How do I load a real model? | Where do I put the file? => Put the GGUF file into the models folder and set LLM_MODEL_PATH to it.
Who are you? | Are you smart? | Can you do more? => Not very. I learned a few answers by heart.
Tell me a joke | Another one | Tell me another | Another => Why do bees hum? They forgot the words! 🐝
What is the largest animal? | And the fastest? | And the fastest one? => The cheetah is the fastest land animal. 🐆
Which animal says meow? | And woof? => The dog says woof. 🐶
What is 2 + 2? | And 3 + 3? => 3 + 3 = 6.
Count from 1 to 10 | Now backwards | And backwards? => 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0! 🚀
Send me a smile | Another one | One more | Again => 😄 Here is another smile! 😄
"""


def follow_ups():
    """Every (first question, follow-up, answer to the follow-up)."""
    result = []
    for line in _FOLLOW_UPS.strip().splitlines():
        questions, answer = line.split(" => ")
        first, *later = questions.split(" | ")
        result += [(first, follow_up, answer) for follow_up in later]
    return result


def introduction(rng, name=None):
    """The turn in which someone says their name, with the reply."""
    name = name or (invented.name(rng) if rng.random() < 0.4 else rng.choice(NAMES))
    return name, [{"role": "user", "content": rng.choice(_MY_NAME_IS).format(name)},
                  {"role": "assistant", "content": f"Nice to meet you, {name}!"}]


def recall(rng, name):
    """The turn that asks for the name; None when it was never told."""
    answer = f"Your name is {name}." if name else NO_NAME
    return [{"role": "user", "content": rng.choice(_ASK_NAME)}, {"role": "assistant", "content": answer}]
