"""Invented words and names.

What is invented anew each time cannot be learned by heart: it teaches the model to copy a name from the
question, and to say that it does not know what it has never seen.
"""

_STARTS = "b br c ch d dr f g gr h j k kl l m n p pr qu r s st t tr v w z th sh al en or is ul".split()
_MIDDLES = "a e i o u ai ea ou ia ar en il on ul an er".split()
_ENDS = ["", "", "", "n", "r", "s", "l", "m", "t", "d", "ck", "nd", "st", "ra", "na", "lo", "ville", "ton"]


def word(rng):
    """One invented word of one to three syllables."""
    return "".join(rng.choice(_STARTS) + rng.choice(_MIDDLES) for _ in range(rng.randint(1, 2))) + rng.choice(_ENDS)


def name(rng):
    """An invented proper name, sometimes of two words."""
    return " ".join(word(rng).capitalize() for _ in range(1 if rng.random() < 0.8 else 2))
