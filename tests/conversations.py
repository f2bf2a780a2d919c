"""Sessions as the store keeps them, for tests to write and read."""

from app.sessions.ids import new_id
from app.sessions.message import Message
from app.sessions.opening import open_session
from app.sessions.session import Session
from app.store.characters import CharacterRecord
from characters.card import CardData, CharacterCard
from models.renderer import load_renderer
from models.scene import UserPersona
from tests.conftest import TINY

RENDERER = load_renderer(str(TINY))
CARD = CharacterCard(data=CardData(name="Odo", first_mes="Good morning, {{user}}."))
ODO = CharacterRecord("odo", 1, CARD)


def new_session() -> Session:
    return open_session(ODO, UserPersona("Mira"), RENDERER).reheaded(RENDERER)


def exchange(session: Session, said: str = "Hello", answer: str = "Hello.") -> list[Message]:
    """A user's message and its reply, as a turn adds them."""
    asked = Message(new_id("msg"), session.tip, "user", said, RENDERER.encode(said))
    return [asked, Message(new_id("msg"), asked.id, "assistant", answer, RENDERER.encode(answer), "stop")]


def spoken(session: Session) -> list[str]:
    return [message.content for message in session.branch()]
