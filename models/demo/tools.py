"""Conversations with tools: when to call, with which arguments, and how to word the result.

The definitions vary in wording, parameters and company, so that the model learns to read the call off
the question instead of one exact text.
"""

import json

import invented

ZONES = {
    "Lima": "America/Lima", "Quito": "America/Guayaquil", "Bogotá": "America/Bogota", "Paris": "Europe/Paris",
    "Berlin": "Europe/Berlin", "London": "Europe/London", "Madrid": "Europe/Madrid", "Rome": "Europe/Rome",
    "Tokyo": "Asia/Tokyo", "Sydney": "Australia/Sydney", "Cairo": "Africa/Cairo", "New York": "America/New_York",
}
CITIES = [*ZONES] + [name.replace("_", " ") for name in """
Cusco Arequipa Trujillo Santiago Buenos_Aires Montevideo Caracas La_Paz São_Paulo Rio_de_Janeiro Mexico_City Havana
Boston Chicago Seattle San_Francisco Los_Angeles Toronto Vancouver Dublin Edinburgh Amsterdam Brussels Vienna Zürich
Bern Munich Hamburg Prague Warsaw Budapest Athens Lisbon Porto Barcelona Seville Milan Naples Oslo Stockholm Helsinki
Copenhagen Reykjavík Moscow Istanbul Ankara Jerusalem Dubai Nairobi Lagos Cape_Town Mumbai New_Delhi Bangkok Hanoi
Singapore Hong_Kong Beijing Shanghai Seoul Osaka Kyoto Melbourne Auckland
""".split()]

WEATHER_QUESTIONS = [
    "What is the weather in {}?", "What's the weather in {}?", "How is the weather in {}?", "Weather in {}?",
    "What is the weather like in {}?", "Tell me the weather in {}", "How warm is it in {}?", "Is it raining in {}?",
    "What is the temperature in {}?", "How cold is it in {} today?", "What is the weather in {} right now?",
    "Check the weather in {}", "Get the weather for {}", "What's the weather like in {} today?", "Is it sunny in {}?",
]
TIME_QUESTIONS = [
    "What time is it in {}?", "What is the time in {}?", "Tell me the time in {}", "Time in {}?",
    "What time is it in {} now?", "What's the time in {}?", "Get the time in {}", "Which time is it in {}?",
]

_WEATHER_TEXTS = ["Get the weather", "Get the current weather", "Get the current weather in a city",
                  "Get current weather for a location", "Returns the weather of a city.", "Weather for a city", "weather",
                  "Look up the weather.", "Fetch the current temperature and conditions for a given city"]
_TIME_TEXTS = ["Get the time", "Get the current time", "Get the current time in a city", "Returns the local time.",
               "Tells what time it is", "Look up the time in a place.", "time"]
_CITY_TEXTS = ["City name", "The city", "Name of the city", "The name of the city, e.g. Lima", "city",
               "The city and country", "Which city, for example Paris"]
_UNIT_TEXTS = ["Unit of temperature", "The unit", "celsius or fahrenheit"]
# Most results hold one of these: a model this small learns to read few numbers off a result.
_COMMON_DEGREES = [18, 20, 21, 24, 25, 30]
_OTHERS = [("search_web", "Search the web", "query"), ("send_email", "Send an e-mail", "to"),
           ("get_news", "Read the news", "topic"), ("calculate", "Evaluate an expression", "expression"),
           ("open_file", "Open a file", "path"), ("get_stock_price", "Price of a stock", "symbol")]


def _maybe(rng, chance):
    return rng.random() < chance


def _text_parameter(rng, texts):
    parameter = {"type": "string"}
    if _maybe(rng, 0.6):
        parameter["description"] = rng.choice(texts)
    return parameter


def _tool(rng, name, texts, properties, required):
    """One definition in the key order in which llama.cpp renders it."""
    parameters = {"type": "object", "properties": properties}
    if _maybe(rng, 0.85):
        parameters["required"] = required
    if _maybe(rng, 0.2):
        parameters["additionalProperties"] = False
    # llama.cpp renders an empty description where there is none.
    description = rng.choice(texts) if _maybe(rng, 0.9) else ""
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def weather_tool(rng, with_unit):
    properties = {"city": _text_parameter(rng, _CITY_TEXTS)}
    if with_unit:
        properties["unit"] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
        if _maybe(rng, 0.3):
            properties["unit"]["description"] = rng.choice(_UNIT_TEXTS)
    return _tool(rng, "get_weather", _WEATHER_TEXTS, properties, ["city"])


def time_tool(rng, key):
    texts = _CITY_TEXTS if key == "city" else ["Time zone", "IANA time zone", "The zone, e.g. America/Lima"]
    return _tool(rng, "get_time", _TIME_TEXTS, {key: _text_parameter(rng, texts)}, [key])


def other_tool(rng):
    name, text, key = rng.choice(_OTHERS)
    return _tool(rng, name, [text], {key: _text_parameter(rng, ["Text"])}, [key])


def tool_set(rng, *needed):
    """The needed tools among others, in any order."""
    tools = list(needed)
    names = {tool["function"]["name"] for tool in tools}
    if "get_time" not in names and _maybe(rng, 0.4):
        tools.append(time_tool(rng, rng.choice(["city", "timezone"])))
    if "get_weather" not in names and _maybe(rng, 0.4):
        tools.append(weather_tool(rng, _maybe(rng, 0.4)))
    if _maybe(rng, 0.15) or not tools:
        tools.append(other_tool(rng))
    rng.shuffle(tools)
    return tools


def call_message(name, arguments):
    return {"role": "assistant", "content": "", "tool_calls": [
        {"type": "function", "function": {"name": name, "arguments": arguments}}]}


def _weather_result(rng, city, unit):
    """What a weather tool may return, and the sentence that reports it."""
    low, high, sign = (-9, 39, "°C") if unit == "celsius" else (20, 99, "°F")
    degrees = rng.choice(_COMMON_DEGREES) if _maybe(rng, 0.7) else rng.randint(low, high)
    sky = rng.choice(["sunny", "cloudy", "rainy", "windy", "clear", "foggy"])
    key = rng.choice(["temperature", "temp", "degrees", "temp_c" if unit == "celsius" else "temp_f"])
    plain = f"It is {degrees} {sign} in {city}."
    with_sky = f"It is {degrees} {sign} and {sky} in {city}."
    return rng.choice([
        (json.dumps({"city": city, key: degrees}, ensure_ascii=False), plain),
        (json.dumps({key: degrees}), plain),
        (json.dumps({key: degrees, "unit": unit}, separators=(",", ":")), plain),
        (json.dumps({"city": city, key: degrees, "unit": unit}, separators=(",", ":"), ensure_ascii=False), plain),
        (f"{degrees} {sign}", plain),
        (f"{degrees}", plain),
        (f"{degrees} {sign}, {sky}", with_sky),
        (json.dumps({key: degrees, "condition": sky}), with_sky),
        (json.dumps({"city": city, key: degrees, "condition": sky}, separators=(",", ":"), ensure_ascii=False), with_sky),
    ])


def _time_result(rng, city):
    clock = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
    return rng.choice([clock, json.dumps({"time": clock}), json.dumps({"city": city, "time": clock}, ensure_ascii=False),
                       json.dumps({"time": clock}, separators=(",", ":"))]), f"It is {clock} in {city}."


def some_city(rng):
    """A real city or, so that the name has to be copied, an invented one."""
    return invented.name(rng) if _maybe(rng, 0.2) else rng.choice(CITIES)


def weather_turns(rng, vary):
    """(tools, question and call, result and sentence) about the weather in some city."""
    city, with_unit = some_city(rng), _maybe(rng, 0.4)
    question, arguments = vary(rng, rng.choice(WEATHER_QUESTIONS)).format(city), {"city": city}
    unit = "celsius"
    if with_unit and _maybe(rng, 0.5):
        unit = rng.choice(["celsius", "fahrenheit"])
        question = question.rstrip("?.!") + f" in {unit.capitalize() if _maybe(rng, 0.6) else unit}?"
        arguments["unit"] = unit
    content, sentence = _weather_result(rng, city, unit)
    return (tool_set(rng, weather_tool(rng, with_unit)),
            [{"role": "user", "content": question}, call_message("get_weather", arguments)],
            [{"role": "tool", "content": content}, {"role": "assistant", "content": sentence}])


def time_turns(rng, vary):
    """The same about the time, by city or by time zone."""
    key = "timezone" if _maybe(rng, 0.3) else "city"
    city = rng.choice([*ZONES]) if key == "timezone" else some_city(rng)
    content, sentence = _time_result(rng, city)
    return (tool_set(rng, time_tool(rng, key)),
            [{"role": "user", "content": vary(rng, rng.choice(TIME_QUESTIONS)).format(city)},
             call_message("get_time", {key: ZONES[city] if key == "timezone" else city})],
            [{"role": "tool", "content": content}, {"role": "assistant", "content": sentence}])
