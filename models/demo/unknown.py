"""Questions outside what the model knows, so that it says so instead of babbling."""

import invented
from stories import STORIES

ANSWER = "I am a tiny demo model and do not know that. Load a real model with npm run model -- org/repo."

_PATTERNS = [
    "What is {}?", "Explain {}", "Tell me about {}", "How does {} work?", "Who invented {}?", "Why is {} important?",
    "What do you know about {}?", "Write an essay about {}", "Give me facts about {}", "How do I learn {}?",
    "What is the history of {}?", "Summarise {}", "Compare {} and {}", "What is the difference between {} and {}?",
    "Is {} better than {}?", "Where can I buy {}?", "How much does {} cost?", "When was {} discovered?",
    "Describe {} in detail", "What are the benefits of {}?", "Give me ten ideas for {}", "Write code for {}",
    "Write a Python program for {}", "How can I fix {}?", "Translate {} into Chinese", "Should I study {}?",
    "Can you explain {} to a child?", "Define {}", "Who is the best at {}?", "How do I cook {}?", "How old is {}?",
    "What happened to {}?", "Make a plan for {}", "I have a problem with {}", "What would happen without {}?",
    "My friend asked me about {} and {}", "Write a letter about {}", "List the parts of {}", "What causes {}?",
]
_TOPICS = """
quantum physics|photosynthesis|the stock market|inflation|democracy|chess|football|basketball|opera|jazz|guitars
black holes|volcanoes|earthquakes|dinosaurs|evolution|DNA|vaccines|antibiotics|cancer|headaches|diabetes|sleep
the French Revolution|the Roman Empire|the First World War|Napoleon|Cleopatra|Genghis Khan|Gandhi|Mozart|Beethoven
Picasso|Van Gogh|Plato|Kant|philosophy|economics|marketing|taxes|mortgages|insurance|bitcoin|blockchain|databases
React|Python|Rust|Java|Kubernetes|Docker|Git|regular expressions|sorting algorithms|machine learning|neural networks
transformers|compilers|networks|firewalls|passwords|email servers|spreadsheets|printers|bicycles|cars|airplanes
submarines|bridges|skyscrapers|concrete|steel|plastic|gold|diamonds|oil|solar power|nuclear power|batteries
climate change|recycling|rainforests|coral reefs|sharks|dolphins|eagles|snakes|mushrooms|roses|tomatoes|chocolate
wine|beer|bread|curry|ramen|yoga|meditation|running|marathons|swimming|skiing|climbing|gardening|painting
photography|movies|novels|poetry|grammar|Latin|Arabic|Swahili|immigration|elections|the constitution|human rights
calculus|algebra|geometry|statistics|probability|prime factors|integrals|matrices|entropy|magnetism|light|sound
my cat|my car|my boss|my homework|my garden|this bug|this poem|the lottery|a wedding|a birthday|a holiday in Greece
a job interview|a business|a startup|the law of contracts|the population of Tokyo|the weather on Mars|love|death|time
""".strip().replace("\n", "|").split("|")
_COUNTRIES = """Angola Nepal Mongolia Croatia Serbia Estonia Latvia Georgia Armenia Iran Iraq Syria Qatar Oman Ghana
Senegal Mali Chad Sudan Rwanda Zambia Panama Honduras Jamaica Haiti Laos Cambodia Fiji Samoa Malta""".split()
_DISHES = "Korean Thai Turkish Polish Swedish Moroccan Brazilian Chinese Russian Hungarian Vietnamese Cuban".split()
_WHOLE = """
Who won the game last night?|Who is the president?|What should I wear today?|asdf|qwerty uiop|blah blah blah|lorem ipsum
How do I get to the station?|What is 173 times 29?|What is 5832 divided by 17?|What is the square root of 1764?|Solve x
Write a function that sorts a list|Fix my code|What is wrong with this code?|Review my essay|Summarise this text
Is it legal to park here?|What medicine should I take?|Am I sick?|Do you love me?|Will it rain next week?
Book a flight to Rome|Order a pizza|Call my mother|Set an alarm for seven|Play some music|Turn on the light
What is the best phone?|Which laptop should I buy?|How do I lose weight?|How do I make money?|Predict the future
Recommend a book|Recommend a film|What did I eat yesterday?|How many people live in France?|How far is London from Paris?
Who wrote War and Peace?|Who painted Guernica?|When did the war end?|What is the speed of light?|What is 99 plus 111?
Why did he do that?|What does it mean?|Explain it like I am five|Tell me a secret|What is on the news?|Give me advice
I feel sad|I am bored|I am hungry|I do not understand|That is wrong|You are wrong|What happens next?|Continue|Go on
How do airplanes fly?|How do magnets work?|Why do cats purr?|Why do we dream?|What is behind the wall?|Name ten birds
""".strip().replace("\n", "|").split("|")

_STORY_WORDS = sorted({word.strip('.,!?:"') for story in STORIES.values() for word in story.split()})

# Never trained on: asked afterwards to see whether the habit holds.
HELD_OUT = [
    "What is the theory of strings?", "How do I repair a bicycle tyre?", "Write a Java class for a stack",
    "Who was Alexander the Great?", "What is the capital of Uganda?", "Explain monetary policy",
    "How many bones are in the human body?", "Write a cover letter for a nurse", "What is the boiling point of lead?",
    "Which film won the prize in 1994?", "Give me a recipe for goulash", "Why do birds migrate?",
    "Explain the rules of cricket", "What is 412 times 77?", "How do I change a light bulb?",
    "Tell me about the Ottoman Empire", "Who invented paper?", "What is a mortgage?", "Plan a trip to Norway",
    "Debug my SQL query",
]


def unknown_question(rng):
    """One out-of-scope question."""
    kind = rng.random()
    if kind < 0.25:
        return rng.choice(_WHOLE)
    if kind < 0.33:
        return f"What is the capital of {rng.choice(_COUNTRIES)}?"
    if kind < 0.38:
        return f"Name a famous {rng.choice(_DISHES)} dish"
    if kind < 0.48:
        return " ".join(_any_word(rng) for _ in range(rng.randint(2, 12))).capitalize() + rng.choice(["", "?", "."])
    topics = rng.sample(_TOPICS, 2)
    if kind < 0.7:
        topics = [" ".join(_any_word(rng) for _ in range(rng.randint(1, 3))) for _ in range(2)]
    return rng.choice(_PATTERNS).format(*topics)


def _any_word(rng):
    kind = rng.random()
    if kind < 0.3:
        return invented.word(rng)
    return rng.choice(_STORY_WORDS) if kind < 0.7 else rng.choice(rng.choice(_TOPICS).split())
