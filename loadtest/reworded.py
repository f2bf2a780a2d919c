"""Facts that are asked for in quite other words than they were told in, among talk of the same things."""

from loadtest.planted import Fact, FactSet

FACTS = (
    Fact(
        "I grew up above my grandfather's bakery in Lisbon.",
        "That must have smelled wonderful in the mornings.",
        "Do you still know what sort of building my childhood home was in?",
    ),
    Fact(
        "My left knee was operated on two winters ago, after I fell on the ice.",
        "I hope it carries you well by now.",
        "Which joint of mine did the surgeons have to fix?",
    ),
    Fact(
        "I named my sailing boat Petronella.",
        "A proud name for a boat.",
        "What do I call the vessel I take out on the water?",
    ),
    Fact(
        "Shellfish make my throat swell up, I can't even be near them.",
        "Then we shall keep them far from your plate.",
        "What food must never be served to me because of my allergy?",
    ),
    Fact(
        "I am learning the cello, and my teacher is a retired postman.",
        "He must have patience from all those rounds.",
        "Which instrument have I taken up lately?",
    ),
    Fact(
        "My wedding was on a ferry, in the middle of a thunderstorm.",
        "A day nobody will forget.",
        "Where did I get married?",
    ),
    Fact(
        "I hid my spare key inside the blue flowerpot on the balcony.",
        "I won't tell a soul.",
        "If I were locked out, where would I find a way to open my door?",
    ),
    Fact(
        "I work nights as a radiographer at the children's hospital.",
        "That takes a calm hand.",
        "What do I do for a living?",
    ),
    Fact(
        "My twin brother Anselm moved to Patagonia to raise sheep.",
        "Such a long way from you.",
        "In what part of the world has my sibling settled?",
    ),
    Fact(
        "I failed my driving test four times because I can't park backwards.",
        "The fifth will be the one.",
        "Why don't I have a licence to steer a car?",
    ),
    Fact(
        "I always sleep with the window open, even when it snows.",
        "You must own a good blanket.",
        "What habit do I keep at bedtime in freezing weather?",
    ),
    Fact(
        "When I was nine, a goose bit me, and I have kept away from ponds since then.",
        "Geese are braver than wolves.",
        "Which bird hurt me as a child?",
    ),
    Fact(
        "I am saving up for a telescope so that I can look at Saturn.",
        "Its rings are worth every coin.",
        "What am I putting money aside to buy?",
    ),
    Fact(
        "My mother-in-law paints nothing but lighthouses.",
        "She must love the sea.",
        "What does my spouse's mum put on her canvases?",
    ),
    Fact(
        "I dropped out of law school after three semesters.",
        "It takes courage to turn around.",
        "Which degree did I abandon?",
    ),
    Fact(
        "I keep bees on the roof of my office, forty thousand of them.",
        "You have more colleagues than anybody.",
        "Which insects do I look after in town?",
    ),
    Fact(
        "My best friend from school, Ludmila, became an astronaut.",
        "You must look up often.",
        "Whom do I know that has been to space?",
    ),
    Fact(
        "I can't tell red from green, so my socks never match.",
        "Then let them be a surprise.",
        "What is wrong with my eyesight?",
    ),
    Fact(
        "On the first of May I start my new post in Rotterdam.",
        "The harbour will greet you.",
        "When does my next job begin?",
    ),
    Fact(
        "I proposed to Farid with a ring made of liquorice.",
        "Sweet in every sense.",
        "What was the engagement band of my partner made from?",
    ),
)

# Of much the same things, but of other people.
NEWS = (
    "grew up above a chemist's shop in Porto",
    "had a shoulder operated on last spring",
    "bought a rowing boat and calls it Ferdinand",
    "gets a rash from strawberries",
    "is learning the trombone from a neighbour",
    "got married in a town hall, and it rained",
    "lost the key to the cellar in the garden",
    "works days as a dentist in the old town",
    "has a cousin who moved to Iceland to breed horses",
    "passed the driving test at once",
    "can't sleep when a window rattles",
    "was bitten by a dog at the market",
    "is saving up for a motorbike",
    "has an aunt who paints nothing but cats",
    "finished medical school in five years",
    "keeps rabbits in the yard behind the office",
    "has an old schoolmate who became a pilot",
    "needs glasses to read",
    "starts a new post in Antwerp in October",
    "bought an engagement ring made of silver",
)

REWORDED = FactSet(FACTS, NEWS)
