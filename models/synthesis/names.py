"""Names nobody has ever borne: syllables of a dozen sounds, joined. A reserved share of all syllables is never used in
training, so names for evaluation hold nothing that was learned."""

from random import Random
from zlib import crc32

from models.synthesis.grammar import words

# Onsets, nuclei and codas; empty codas are written as "-".
_SOUNDS = [
    "b c d f g l m n p r s t v br cr dr fl gr pr tr|a e i o u ia io|- - - l n r s",
    "b d f g h k l m n r s t v sk st bj hj thr sv|a e i o u å ö ei au y|- - l n r rn lf rd ld sk",
    "b d g k l m n p r s t v z zh st vl dm mr|a e i o u|- - - v k n sk l sh r",
    "k s t n h m y r w g z d b sh ch ky ry|a i u e o|- - - - n",
    "b d f h j k kh l m n q r s sh t z gh|a i u aa ee|- - l m n r d b f s",
    "l n s r th f v m el c gl|a e i ae ea ie ia|- - l n r s th nd",
    "g k gr kr z b d m r th dr sk|a o u ar or ur|- g k z sh rk gg th m",
    "p t k m n l w h f v|a e i o u ai au oa|- - - -",
    "b p d t k g j ch m n r l s v w y|a i u e o aa|- - - n m r sh t k",
    "qu t c x z y m n p h ch tl|a e i o u|- - - l n tl c x",
    "w m b d f gw h l ll n p r rh t tr c|a e i o u y wy|- - n r s dd th g",
    "z j r l x w y h g ch sh t d b|a i o u ao ia uo ei|- - n ng",
    "v b g d k l m n p r s t j ts|a o e i u é á ő|- - s sz n r k t l",
]

# Share of words whose last syllable is said twice.
_DOUBLED = 0.06
# What a word that is hard to copy has inside.
_PREFIXES = ("Mc", "Mac", "Fitz", "De", "Van", "O'", "L'", "Saint-")


def is_held_out(syllable: str) -> bool:
    """Whether a syllable is kept for evaluation (one in eight, by its checksum)."""
    return crc32(syllable.encode()) % 8 == 0


class NameForge:
    """Makes names from one `Random`. `held_out` uses the reserved syllables only, else none of them."""

    def __init__(self, random: Random, *, held_out: bool = False) -> None:
        self._random = random
        self._held_out = held_out

    @property
    def held_out(self) -> bool:
        """Whether its names are for evaluation."""
        return self._held_out

    def word(self, syllables: int = 0) -> str:
        """A made-up word in small letters, of one to three syllables unless their number is given."""
        sounds = self._random.choice(_SOUNDS)
        count = syllables or self._random.choice((1, 2, 2, 2, 2, 3))
        said = [self._syllable(sounds) for _ in range(count)]
        # Few syllables are reserved, so names for evaluation repeat them often; what never met that loops.
        if not self._held_out and self._random.random() < _DOUBLED:
            said.append(said[-1])
        return "".join(said)

    def name(self) -> str:
        """One name, such as a given name."""
        random = self._random
        if not self._held_out and random.random() < 0.12:
            return random.choice(words("given_name"))
        name = self.word(random.choice((2, 2, 3))).capitalize()
        if random.random() < 0.04:
            return f"{name}-{self.word().capitalize()}"
        if random.random() < 0.03:
            return f"{name[:1]}'{self.word().capitalize()}"
        return name

    def person(self) -> str:
        """A full name in one of many shapes."""
        random = self._random
        shape = random.random()
        if shape < 0.2:
            return self.name()
        if shape < 0.65:
            return f"{self.name()} {self.name()}"
        if shape < 0.78:
            return f"{random.choice(words('title'))} {self.name()}"
        if shape < 0.86:
            particle = random.choice(words("particle"))
            glue = "" if particle[-1] in "-'c" else " "
            return f"{self.name()} {particle}{glue}{self.name()}"
        if shape < 0.92:
            return f"{self.name()} {self.name()} {self.name()}"
        if shape < 0.96:
            return f"{self.name()} the {random.choice(['Younger', 'Elder', 'Red', 'Quiet', 'Tall', 'Blind', 'Third'])}"
        return f"{self.name()} {self.word(1)[:1].upper()}. {self.name()}"

    def town(self) -> str:
        """The name of a town."""
        random = self._random
        shape = random.random()
        if shape < 0.5:
            return self.name()
        if shape < 0.64:
            return f"{random.choice(words('place_head'))} {self.name()}"
        if shape < 0.74:
            return f"{self.name()} {random.choice(words('place_tail'))}"
        if shape < 0.88:
            return self.word().capitalize() + random.choice(words("place_suffix"))
        if shape < 0.94:
            return f"{self.name()}-{random.choice(['on', 'by', 'under', 'am'])}-{self.word().capitalize()}"
        return f"{self.name()} {self.name()}"

    def babble(self) -> str:
        """A word of few syllables that come back, such as `patatatal`: what a head that copies runs in circles on."""
        sounds = self._random.choice(_SOUNDS)
        one, two = self._syllable(sounds), self._syllable(sounds)
        pattern = self._random.choice((f"{one}{one}", f"{one}{one}{one}", f"{one}{two}{one}", f"{two}{one}{one}{one}"))
        return pattern + self._random.choice(("", "", two, self._syllable(sounds)))

    def knot(self) -> str:
        """A word with hyphens, capitals or figures inside, or of syllables that come back."""
        random = self._random
        match random.randrange(6):
            case 0:
                return "-".join(self.word() for _ in range(random.choice((2, 2, 3))))
            case 1:
                return random.choice(_PREFIXES) + self.word(2).capitalize()
            case 2:
                return self.word(2).capitalize() + self.word(2).capitalize()
            case 3:
                return f"{self.word().capitalize()}-{random.randint(2, 999)}"
            case 4:
                return f"{self.word()}'{self.word(1)}"
            case _:
                return self.babble()

    def _syllable(self, sounds: str) -> str:
        onsets, nuclei, codas = (part.split() for part in sounds.split("|"))
        while True:
            coda = self._random.choice(codas)
            syllable = self._random.choice(onsets) + self._random.choice(nuclei) + ("" if coda == "-" else coda)
            if is_held_out(syllable) == self._held_out:
                return syllable
