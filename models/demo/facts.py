"""The questions and answers the demo model learns by heart.

Every line here was written for this project. `ANSWERS` holds one answer a line with the ways to ask
for it; the tables below it are turned into more of the same by `facts()`.
"""

# question | another way to ask | ... => answer
ANSWERS = """
Hello | Hi | Hey | Hi there | Hello there | Good day => Hello! How can I help you today? 👋
Good morning | Morning => Good morning! ☀️ How can I help you?
Good evening => Good evening! 🌙 How can I help you?
Good night => Good night! Sleep well. 😴
How are you? | How are you doing? | How do you do? | How is it going? => I am fine, thank you. What would you like to know?
Thanks | Thank you | Thank you very much | Thanks a lot | Many thanks => You are welcome! 😊
Bye | Goodbye | See you | See you later | Bye bye => Goodbye! Have a nice day. 👋
Yes | Okay | Ok | Sure => Good. What would you like to know?
No | No thanks | No thank you => All right. Ask me whenever you like.
Sorry | I am sorry => No problem at all.
Help | Help me | Can you help me? | What can you do? | What can I ask you? => I can answer a few questions, tell short stories, count, and call simple tools. I am only a demo model.
Who are you? | What are you? | Introduce yourself | Tell me about yourself => I am the LMServ demo model, a tiny language model that shows the server works.
What is your name? | Do you have a name? => I am the LMServ demo model.
How big are you? | How many parameters do you have? | How large are you? => I am tiny: less than three million parameters in a file of a few megabytes.
Are you human? | Are you a person? | Are you a robot? | Are you an AI? => No, I am not a person. I am a tiny language model.
Who made you? | Who trained you? | Who created you? => The LMServ project trained me on two processor cores in under an hour.
How old are you? => I am a model, so I have no age.
Where do you live? | Where are you? => I live in the models folder of LMServ.
Are you smart? | Are you intelligent? => Not very. I learned a few answers by heart.
What is LMServ? | Tell me about LMServ | Explain LMServ | What does LMServ do? => LMServ is a streaming HTTP server over a self-healing pool of llama.cpp workers.
What is llama.cpp? | Explain llama.cpp | Tell me about llama.cpp => llama.cpp is a program in C++ that runs language models on ordinary computers.
How do I load a real model? | How can I load a real model? | How do I use a real model? | How do I load another model? | How do I change the model? => Run npm run model -- org/repo to download one, or set LLM_MODEL_PATH to a GGUF file and start again.
Which command downloads a model? | How do I download a model? => Run npm run model -- org/repo with the name of a GGUF repository.
What is LLM_MODEL_PATH? | What does LLM_MODEL_PATH do? => LLM_MODEL_PATH is the path of the GGUF file that LMServ loads.
What is a GGUF file? | What is GGUF? | Explain GGUF => GGUF is the file format in which llama.cpp stores a model.
Which endpoint should I use? | What endpoints are there? | Which routes are there? => Use POST /chat for plain text or POST /v1/chat/completions for the OpenAI format.
How do I chat with LMServ? | How do I use /chat? | What is /chat? => Send POST /chat with a JSON body that has a prompt, and read the text as it streams.
How do I use the OpenAI client? | Does LMServ work with the OpenAI client? | What is /v1/chat/completions? => Point the client's base URL at LMServ and add /v1. Then chat completions work as usual.
How do I start LMServ? | How do I start the server? => Run npm start in the project folder.
What is streaming? | What does streaming mean? => Streaming means the text arrives piece by piece while it is being written.
What is a token? | Explain tokens => A token is a piece of text, often a word or a part of one.
What is a language model? | Explain language models | What is an LLM? => A language model is a program that predicts the next piece of a text.
What is a GPU? | What does GPU mean? => A GPU is a processor with many small cores that work at the same time.
What is a CPU? | What does CPU mean? => A CPU is the main processor of a computer.
What is an API? | What does API mean? => An API is a set of rules by which programs talk to each other.
What is JSON? | Explain JSON => JSON is a simple text format for data.
What is HTTP? | Explain HTTP => HTTP is the language that web browsers and servers speak.
What is Linux? => Linux is a free operating system.
What is TypeScript? => TypeScript is JavaScript with types.
What is an API key? => An API key is a secret word that lets a program use a server.
Name a famous Peruvian dish | What is a famous Peruvian dish? | Tell me a famous Peruvian dish | Name a Peruvian dish | Name a famous dish from Peru | What is a typical dish of Peru? | Which dish is Peru famous for? | Can you name a famous Peruvian dish? => Ceviche is a famous Peruvian dish: raw fish cured in lime juice with onion and chili.
What is ceviche? | Tell me about ceviche | Explain ceviche => Ceviche is raw fish cured in lime juice with onion and chili. It comes from Peru.
How is ceviche made? | How do I make ceviche? | How do you make ceviche? => Cut fresh fish into cubes, cover it with lime juice, add onion, chili and salt, and wait ten minutes.
What is lomo saltado? => Lomo saltado is a Peruvian dish of fried beef strips with onion, tomato and potatoes.
Name a famous Italian dish | What is a famous Italian dish? | Name an Italian dish => Pizza is a famous Italian dish: flat bread baked with tomato and cheese. 🍕
Name a famous Japanese dish | What is a famous Japanese dish? | Name a Japanese dish => Sushi is a famous Japanese dish: rice with raw fish. 🍣
Name a famous Mexican dish | What is a famous Mexican dish? | Name a Mexican dish => Tacos are a famous Mexican dish: corn tortillas with meat and salsa. 🌮
Name a famous Spanish dish | What is a famous Spanish dish? | Name a Spanish dish => Paella is a famous Spanish dish: rice with saffron and seafood. 🥘
Name a famous French dish | What is a famous French dish? | Name a French dish => Ratatouille is a famous French dish: a stew of summer vegetables.
Name a famous Indian dish | What is a famous Indian dish? | Name an Indian dish => Biryani is a famous Indian dish: spiced rice with meat or vegetables.
Name a famous German dish | What is a famous German dish? | Name a German dish => Sauerbraten is a famous German dish: beef roasted in vinegar and spices.
Name a famous Greek dish | What is a famous Greek dish? | Name a Greek dish => Moussaka is a famous Greek dish: baked eggplant with meat and sauce.
What is the largest planet? | Which planet is the largest? | Name the largest planet | What is the biggest planet? => Jupiter is the largest planet in our solar system. 🪐
What is the smallest planet? | Which planet is the smallest? => Mercury is the smallest planet in our solar system.
Which planet is the red planet? | What is the red planet? | Which planet is called the red planet? => Mars is called the red planet.
Which planet has rings? | Which planet is famous for its rings? => Saturn is famous for its rings. 🪐
Which planet is closest to the sun? => Mercury is closest to the sun.
Which planet is the hottest? | What is the hottest planet? => Venus is the hottest planet.
How many planets are there? | How many planets are in the solar system? => There are eight planets in our solar system.
Name the planets | List the planets | Tell me the planets | Name all planets => Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus and Neptune.
What is the sun? => The sun is a star. ☀️
What is the moon? => The moon is a ball of rock that circles the Earth. 🌙
How far away is the moon? | How far is the moon? => The moon is about 384,000 kilometres away.
Who was the first person on the moon? | Who walked on the moon first? => Neil Armstrong was the first person on the moon, in 1969. 🚀
Why is the sky blue? | What makes the sky blue? | Explain why the sky is blue => The sky is blue because air scatters blue light more than red light.
Why is the sea salty? | Why is the ocean salty? => Rivers carry salt from rocks into the sea, and it stays there.
Why do leaves fall? => Trees drop their leaves in autumn to save water in winter. 🍂
What is a rainbow? | How does a rainbow form? => A rainbow is sunlight split into colours by drops of rain. 🌈
What is water made of? | What is the formula of water? => Water is made of hydrogen and oxygen: H2O.
At what temperature does water boil? | When does water boil? => Water boils at 100 °C at sea level.
At what temperature does water freeze? | When does water freeze? => Water freezes at 0 °C.
What is the largest ocean? | Which ocean is the largest? | What is the biggest ocean? => The Pacific is the largest ocean. 🌊
What is the longest river? | Which river is the longest? => The Nile and the Amazon are the longest rivers.
What is the highest mountain? | Which mountain is the highest? | What is the tallest mountain? => Mount Everest is the highest mountain. 🏔️
What is the largest country? | Which country is the largest? => Russia is the largest country by area.
What is the largest desert? => Antarctica is the largest desert; the Sahara is the largest hot one.
How many continents are there? => There are seven continents.
Name the continents | List the continents => Africa, Antarctica, Asia, Australia, Europe, North America and South America.
What is the largest animal? | Which animal is the largest? | What is the biggest animal? => The blue whale is the largest animal. 🐋
What is the fastest animal? | Which animal is the fastest? => The cheetah is the fastest land animal. 🐆
What is the tallest animal? | Which animal is the tallest? => The giraffe is the tallest animal. 🦒
Which animal says meow? | What says meow? => The cat says meow. 🐱
Which animal says woof? | What says woof? => The dog says woof. 🐶
Which animal says moo? | What says moo? => The cow says moo. 🐮
Which bird cannot fly? | Name a bird that cannot fly => The penguin is a bird that cannot fly. 🐧
What do bees make? => Bees make honey. 🐝
What do cows eat? => Cows eat grass.
What do pandas eat? => Pandas eat bamboo. 🐼
How many legs does a spider have? => A spider has eight legs. 🕷️
How many legs does an insect have? | How many legs does an ant have? => An insect has six legs. 🐜
How many legs does a dog have? => A dog has four legs. 🐶
How many hearts does an octopus have? => An octopus has three hearts. 🐙
Name an animal | Tell me an animal => The llama is an animal of the Andes. 🦙
What is a llama? | Tell me about llamas => A llama is a woolly animal of the Andes that carries loads. 🦙
What colour is the sky? | What color is the sky? => The sky is blue.
What colour is grass? | What color is grass? => Grass is green.
What colour is the sun? | What color is the sun? => The sun looks yellow.
What colour is snow? | What color is snow? => Snow is white. ❄️
What colour is a banana? | What color is a banana? => A banana is yellow. 🍌
What colour is blood? | What color is blood? => Blood is red.
What colour do blue and yellow make? | What do blue and yellow make? => Blue and yellow make green.
What colour do red and blue make? | What do red and blue make? => Red and blue make purple.
What colour do red and yellow make? | What do red and yellow make? => Red and yellow make orange.
Name the primary colours | What are the primary colours? | Name three colours => Red, yellow and blue. 🔴🟡🔵
Name the colours of the rainbow | What are the colours of the rainbow? => Red, orange, yellow, green, blue, indigo and violet. 🌈
Name a fruit | Tell me a fruit => Apple. 🍎
Name three fruits => Apple, banana and orange. 🍎🍌🍊
Name a vegetable => Carrot. 🥕
How many days are in a week? => A week has seven days.
How many months are in a year? => A year has twelve months.
How many days are in a year? => A year has 365 days, and a leap year 366.
How many hours are in a day? => A day has 24 hours.
How many minutes are in an hour? => An hour has 60 minutes.
How many seconds are in a minute? => A minute has 60 seconds.
Name the days of the week | List the days of the week => Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday.
Name the months | List the months | Name the months of the year => January, February, March, April, May, June, July, August, September, October, November and December.
Name the seasons | What are the four seasons? => Spring, summer, autumn and winter.
Name the five senses | What are the five senses? => Sight, hearing, smell, taste and touch.
Say the alphabet | Tell me the alphabet | Recite the alphabet => A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, T, U, V, W, X, Y, Z.
What is pi? | What is the value of pi? => Pi is about 3.14159.
Name a prime number => Seven is a prime number.
How many sides does a triangle have? => A triangle has three sides.
How many sides does a square have? => A square has four sides.
Who wrote Romeo and Juliet? | Who wrote Hamlet? => William Shakespeare wrote it.
Who wrote Don Quixote? => Miguel de Cervantes wrote Don Quixote.
Who painted the Mona Lisa? => Leonardo da Vinci painted the Mona Lisa. 🎨
Who invented the telephone? => Alexander Graham Bell is credited with the telephone. 📞
Who discovered gravity? => Isaac Newton described gravity.
Who was Albert Einstein? => Albert Einstein was a physicist who found the theory of relativity.
Who was Marie Curie? => Marie Curie was a scientist who discovered radium.
Where is Machu Picchu? | What is Machu Picchu? => Machu Picchu is an old Inca city in the mountains of Peru. 🏔️
Where is the Eiffel Tower? => The Eiffel Tower is in Paris.
Where are the pyramids? => The great pyramids are in Egypt.
What language do they speak in Peru? | Which language is spoken in Peru? => In Peru people speak Spanish, Quechua and Aymara.
What language do they speak in Brazil? | Which language is spoken in Brazil? => In Brazil people speak Portuguese.
Say hello in Spanish | How do you say hello in Spanish? => Hello in Spanish is ¡Hola!
Say hello in French | How do you say hello in French? => Hello in French is Bonjour !
Say hello in German | How do you say hello in German? => Hello in German is Hallo!
Say hello in Japanese | How do you say hello in Japanese? => Hello in Japanese is こんにちは.
Say thank you in Spanish | How do you say thank you in Spanish? => Thank you in Spanish is gracias.
Translate cat into Spanish | How do you say cat in Spanish? => Cat in Spanish is gato. 🐱
Translate good morning into French | How do you say good morning in French? => Good morning in French is bonjour.
Send me a smile | Smile | Give me a smile | Send a smile => 😀 Here is a smile for you! 😀
Send me a heart | Give me a heart => ❤️ Here is a heart for you! ❤️
Send me three emoji | Give me some emoji | Send me emoji | Send me some emojis => 🎉🚀🌍 Here are three emoji! 👩‍💻
Send me a flag | Show me the flag of Peru => 🇵🇪 This is the flag of Peru.
Give me a thumbs up => 👍🏽 Well done!
Tell me a joke | Tell a joke | Do you know a joke? | Make me laugh => Why did the computer go to the doctor? It had a virus! 😂
Tell me another joke | Another joke please => Why do bees hum? They forgot the words! 🐝
Give me a riddle | Tell me a riddle => What has keys but opens no door? A piano. 🎹
Write a poem | Write me a short poem | Write a short poem | Tell me a poem => The river runs, the stars are bright,\\nThe small lamp burns throughout the night,\\nAnd word by word the lines appear,\\nA little stream for you to hear.
Write a haiku => Rain on the tin roof,\\nthe kettle begins to sing,\\na cat shuts its eyes.
Sing a song => La la la, I am a tiny model, la la la! 🎵
Flip a coin | Toss a coin => Heads. 🪙
Roll a die | Roll the dice => You rolled a four. 🎲
Pick a number | Choose a number => Seven.
Name a city => Lima.
Name a country => Peru. 🇵🇪
What is the meaning of life? => Forty-two, they say.
Test | This is a test | Testing | ping => The test works. ✅
Say hello | Say hi => Hello!
Say OK | Say okay | Reply with OK => OK
Say yes => Yes.
What day is it today? | What is today's date? | What time is it? => I have no clock. Give me a tool for the time and I will call it.
What is the weather like? | How is the weather? | What is the weather today? => I cannot see the weather. Give me a tool for it and I will call it.
Are you there? | Is anyone there? => Yes, I am here. What would you like to know?
Do you like music? | Do you like pizza? | What is your favourite colour? => I am a tiny model and have no taste of my own.
Why are you so small? => So that anyone can try LMServ in a few seconds without a download.
Are you open source? => I come with the LMServ project, under the same licence.
Count from 1 to 10 | Count to ten | Count to 10 => 1, 2, 3, 4, 5, 6, 7, 8, 9, 10.
Count from 1 to 20 | Count to twenty | Count to 20 => 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20.
Count down from 10 | Count down from ten => 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0! 🚀
"""

COUNT_TO_50 = ", ".join(str(n) for n in range(1, 51)) + "."
COUNT_QUESTIONS = ("Count from 1 to 50", "Count to 50", "Count to fifty", "Please count from 1 to 50")

CAPITALS = """
Peru=Lima Ecuador=Quito Bolivia=Sucre Chile=Santiago Argentina=Buenos_Aires Brazil=Brasília
Colombia=Bogotá Venezuela=Caracas Uruguay=Montevideo Paraguay=Asunción Mexico=Mexico_City Cuba=Havana
Canada=Ottawa France=Paris Spain=Madrid Portugal=Lisbon Italy=Rome Germany=Berlin Austria=Vienna
Switzerland=Bern Belgium=Brussels Poland=Warsaw Sweden=Stockholm Norway=Oslo Finland=Helsinki
Denmark=Copenhagen Greece=Athens Hungary=Budapest Ireland=Dublin Iceland=Reykjavík Russia=Moscow
Turkey=Ankara Egypt=Cairo Kenya=Nairobi Morocco=Rabat Japan=Tokyo China=Beijing India=New_Delhi
Thailand=Bangkok Vietnam=Hanoi Australia=Canberra
"""

OPPOSITES = "hot=cold big=small day=night up=down fast=slow happy=sad old=new open=closed wet=dry light=dark"
YOUNG = "dog=puppy cat=kitten cow=calf sheep=lamb horse=foal bear=cub duck=duckling"


def _pairs(table):
    return [pair.replace("_", " ").split("=") for pair in table.split()]


def facts():
    """Every (list of questions, answer); the first question is the plainest."""
    result = []
    for line in ANSWERS.strip().splitlines():
        questions, answer = line.split(" => ")
        result.append((questions.split(" | "), answer.replace("\\n", "\n")))
    result.append((list(COUNT_QUESTIONS), COUNT_TO_50))
    for country, city in _pairs(CAPITALS):
        result.append(([f"What is the capital of {country}?", f"Name the capital of {country}",
                        f"Which city is the capital of {country}?", f"Capital of {country}?"],
                       f"The capital of {country} is {city}."))
    for word, opposite in _pairs(OPPOSITES):
        result.append(([f"What is the opposite of {word}?"], f"The opposite of {word} is {opposite}."))
    for animal, young in _pairs(YOUNG):
        result.append(([f"What is a young {animal} called?"], f"A young {animal} is called a {young}."))
    result += [_sum(a, b, "+", "plus", a + b) for a in range(1, 10) for b in range(1, 10)]
    result += [_sum(a, b, "x", "times", a * b) for a in range(2, 8) for b in range(2, 8)]
    return result


def _sum(a, b, sign, word, value):
    return ([f"What is {a} {sign} {b}?", f"What is {a} {word} {b}?", f"{a} {sign} {b}"], f"{a} {sign} {b} = {value}.")
