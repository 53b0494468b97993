"""Twelve short stories, long enough to watch a reply stream. The first answers "Tell me a story"."""

STORIES = {
    "a lighthouse": """Once upon a time there was a lighthouse on a small grey island. Its keeper was an old woman named Marta, and every evening she climbed two hundred steps to light the lamp. One night in winter the lamp went out. The wind was strong, the oil was gone, and far away a fishing boat was looking for the harbour.

Marta did not wait. She carried her kitchen lamp up the stairs, then every candle in the house, then the mirror from her bedroom wall. She put the mirror behind the flames and turned it slowly, hour after hour, until her arms were tired and the sky grew pale.

In the morning the boat lay safely in the harbour. The fishermen climbed the hill with bread and a basket of silver fish. "We saw your light," they said, "but it was smaller than before, and warmer." Marta laughed and showed them the mirror. Since that day every house in the village has kept one candle for the lighthouse, and the lamp has never gone out again.""",
    "a dragon": """Once upon a time there was a dragon who was afraid of fire. When the other dragons blew great red flames over the mountains, he blew only bubbles. They floated over the valley in many colours, and the others laughed at him.

One dry summer a spark fell into the forest. The trees began to burn, and the flames ran toward the village. The big dragons flew up and down and did not know what to do, because fire was all they had. Then the small dragon took a deep breath by the lake. He blew the largest bubbles anyone had ever seen, each one full of cool water, and they fell on the forest like rain.

By evening the fire was out. The people came with flowers, and the big dragons came with bowed heads. "Will you teach us?" they asked. And so, on warm nights, you can still see bubbles shining over the mountains.""",
    "a cat": """Once upon a time a black cat named Luna lived in a library. By day she slept on the warm shelf of the poets. By night, when the doors were closed, she walked along the books and listened, because books talk in the dark if nobody hurries them.

One night she heard a very small voice. It came from behind the atlas, where a thin book had fallen many years ago. "Nobody reads me," it said. Luna pushed with her paw, once, twice, three times, until the book fell on the floor with a soft sound.

In the morning a little girl found it there. She sat down with her back against the shelf and read the whole book, and Luna lay in her lap. When the girl went home, she took the book with her under her coat. From then on she came back every week, and every week another lost book was lying on the floor.""",
    "a robot": """Once upon a time there was a small robot named Pip who swept the floor of a railway station. He knew every tile and every bench. What he did not know was where the trains went, and he wondered about it all night long.

One evening a boy left his scarf on a bench. Pip picked it up and rolled after him, through the doors, along the platform and into the train. The doors closed. The train began to move, and for the first time Pip saw fields, rivers and the lights of other towns.

At the last stop the boy was standing there, cold and a little sad. Pip gave him the scarf. "You came all this way for me?" asked the boy. Pip blinked twice, which meant yes. They rode back together, and the boy told him the name of every station. Since then Pip sweeps the floor a little faster in the evening, and on Sundays he takes the train.""",
    "a river": """Once upon a time a little river was born high in the mountains, where the llamas drink in the morning. It was so narrow that a child could step over it. "Where are you going?" asked the stones. "To the sea," said the river. The stones laughed, for the sea was very far away.

The river went on. When it met a wall of rock, it did not push. It went around. When it met a dry field, it stayed for a while, and the maize grew tall. Other streams came down the hills and asked to go along, and the river never said no.

Many days later the air smelled of salt. The river was wide now, and boats sailed on its back. It came to the shore and stopped for a moment, a little shy. "I know you," said the sea. "You are the one that did not hurry and did not stop." And it opened its arms.""",
    "a baker": """Once upon a time there was a baker named Tomás who could not sleep. So he baked at night, when the whole town was dark. He baked round bread for the farmers, long bread for the school, and one small roll that he always put on the window sill, for nobody in particular.

Every morning the roll was gone. Tomás was curious, so one night he put out the lamp and waited. At four o'clock an old man came down the street with a broom. He took the roll, lifted his hat to the dark window, and swept the step before the door until it shone.

The next night there were two cups of coffee on the sill. The old man stopped, and Tomás opened the door. They talked until the first carts came by. After that the baker slept very well, because it had not been the work that kept him awake. It had been the quiet.""",
    "the moon": """Once upon a time the moon was tired of being looked at. "Every night the same," she said, and pulled a large cloud over her face. Down on Earth it grew very dark. The owls flew into trees, the sailors lost their way, and the children could not fall asleep.

A small star heard them and was worried. She knocked on the cloud. "They do not look at you because you are beautiful," said the star. "They look because you show them the way home." The moon said nothing for a long time.

Then she heard a boy singing on the road. He was alone, and he sang so that he would not be afraid. The moon pushed the cloud aside, only a little, only as much as a door that opens. The road became silver, and the boy saw his house. That is why the moon sometimes shows only a thin slice. She is looking whether someone is still on the way.""",
    "a tree": """Once upon a time an old tree stood in the middle of a town. The town grew, and the streets came closer, until there were only stones around it. One day men came with a saw. "The tree is in the way," they said.

A girl named Ana sat down under it and did not move. Then her brother came, then the teacher, then the woman who sold oranges. Each of them told what had happened under the tree: a first kiss, a lost tooth, a long talk in the rain. The men put down the saw to hear better, and by noon one of them told a story too.

In the evening the mayor drew a new plan on a large sheet of paper. The street was to go around the tree, in a gentle curve. Visitors often ask why the road bends there. The people of the town only smile and say: "Sit down for a while, and we will tell you." And they do.""",
    "a penguin": """Once upon a time there was a penguin who wanted to fly. She jumped from the ice every morning, and every morning she fell into the water with a splash. The seals shook with laughter, but the penguin climbed out and tried again.

One day a storm pushed a young gull under the waves. Its wings were heavy, and it sank down into the green dark. The penguin did not think. She jumped, spread her short wings and shot through the water like an arrow. Up and down she went, past the fish and under the ice, until she held the gull and brought it back to the air.

"How did you do that?" asked the gull when it had its breath again. "You were flying!" The penguin looked at the sea for a long time. She had been able to fly all along. She had only been looking for the sky in the wrong place.""",
    "a clockmaker": """Once upon a time there was a clockmaker whose clocks were never right. Some ran fast when you were happy, and others ran slow when you waited for a letter. People shook their heads and bought their clocks in another town.

One evening a woman came into his shop. "My son is at sea," she said, "and the nights are so long." The clockmaker gave her a small round clock made of dark wood. "It is not correct," he told her, "but it is kind." That night she looked at it and it was ten, and when she looked again it was already morning.

Soon everyone wanted such a clock. The tired ones got a slow one for Sundays, and the sick ones got a fast one for the night. Nobody in that town is ever quite on time. But when they meet, they say "there you are," and no one has ever felt late.""",
    "a mountain": """Once upon a time there was a mountain that collected echoes. Whatever people called in the valley, it kept, and in the evening it gave everything back. Children loved it. They called their names and the mountain answered until it was time for bed.

Then a railway was built, and the valley became loud. The people had no time to call, and the mountain had nothing to say. It grew quiet and forgot the names one by one. Only one was left, the name of a girl called Rosa, who had called louder than all the others.

Many years later an old woman got off the train. She put down her suitcase, held her hands to her mouth and called. It was quiet for a moment. Then, from very far away, the mountain answered: "Rosa!" The old woman laughed like a child. The next day the whole village stood in the meadow, calling, and the mountain learned all the new names.""",
    "a computer": """Once upon a time an old computer stood in the cellar of a school. It was slow, its fan was loud, and nobody had asked it anything for years. It kept one small light on, just in case.

One winter the new computers upstairs all stopped at once. Nobody knew why. The lights went out in one room after another, and the heating grew cold. Then the caretaker remembered the cellar. He went down with a lamp, wiped the dust from the keys and wrote: Are you still there?

The fan began to turn. Letter by letter, slowly but without a mistake, the answer came: Yes. What do you need? The old computer knew the heating, because it had been built when the heating was built. It took all night, one small step after another, and in the morning the school was warm. Now it stands in the hall by the entrance. The children ask it the easy questions, and it takes its time.""",
}


def story_questions(subject):
    """The ways to ask for one story."""
    return [f"Tell me a story about {subject}", f"Tell me a short story about {subject}",
            f"Write a story about {subject}", f"Write a short story about {subject}",
            f"Can you tell me a story about {subject}?", f"Tell a story about {subject}"]


PLAIN_STORY_QUESTIONS = ("Tell me a story", "Tell a story", "Write a story", "Tell me a short story",
                         "Write a short story", "Please tell me a story", "Tell me a long story", "Can you tell me a story?")
