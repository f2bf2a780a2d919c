"""Who of a session's cast speaks next: as the client says, in turns, by what was said, or as the model finds."""

from contextlib import aclosing
from dataclasses import replace

from app.errors import EngineDownError, InvalidRequestError, UnavailableError
from app.sessions.cast import Member, find_member, next_in_list, next_naturally
from app.sessions.ids import new_id
from app.sessions.lore import NOTHING
from app.sessions.plans import Plan
from app.sessions.preparation import Setup
from app.sessions.prompts import Prompts
from app.sessions.session import Session
from models.engine import Constraint, Engine, EngineDeadError, EngineError, SamplingParams
from models.stage import DIRECTION

# No name is longer.
MOST_NAME_TOKENS = 128


class UsersTurn(InvalidRequestError):
    """The director finds that the user speaks next."""

    code = "users_turn"


class Direction:
    """Chooses the speakers of turns."""

    def __init__(self, engine: Engine, prompts: Prompts) -> None:
        self._engine = engine
        self._prompts = prompts

    async def cast(self, session: Session, plan: Plan) -> Plan:
        """`plan` with the id of the member who says it. Raises InvalidRequestError for a speaker who isn't there."""
        if not session.cast:
            if plan.speaker is not None or plan.seen_by:
                told = "a session with one character has no other speaker: open one with `character_ids`"
                raise InvalidRequestError(told, param="speaker", code="no_cast")
            return plan
        if plan.role == "user":
            return plan
        return replace(plan, speaker=(await self._choose(session, plan)).character_id)

    async def _choose(self, session: Session, plan: Plan) -> Member:
        if plan.speaker is not None:
            return _check_hears(find_member(session.cast, plan.speaker), plan)
        said = [*session.path(plan.added[0].parent if plan.added else plan.parent), *plan.added]
        # Who hasn't heard it can't answer it.
        present = [member for member in session.cast if not plan.seen_by or member.character_id in plan.seen_by]
        match session.turn_order:
            case "manual":
                ids = ", ".join(member.character_id for member in present)
                told = f"this session's turns are given out by you: name the `speaker`, one of {ids}"
                raise InvalidRequestError(told, param="speaker", code="speaker_missing")
            case "natural":
                return next_naturally(present, said, f"{session.seed or session.id}/{len(said)}")
            case "director" if len(present) > 1:
                return await self._direct(session, plan, present)
        return next_in_list(present, said)

    async def _direct(self, session: Session, plan: Plan, present: list[Member]) -> Member:
        """Whom the model names, which can name nobody else. The user is one of them where nobody was just spoken to."""
        names = [member.name for member in present]
        if not plan.added and plan.parent is not None and session.messages[plan.parent].role == "assistant":
            names.append(session.user.name)
        direction = replace(
            session.scene(), request=DIRECTION.format(names=", ".join(names)), context=session.opening_context()
        )
        said = [*session.path(plan.added[0].parent if plan.added else plan.parent), *plan.added]
        asked = replace(plan, role="system", prefill="", prefill_ids=())
        setup = Setup(asked, session.shared(said), NOTHING, direction)
        params = SamplingParams(
            max_tokens=MOST_NAME_TOKENS, temperature=0.0, constraint=Constraint(choice=tuple(dict.fromkeys(names)))
        )
        prompt, params = self._prompts.lay_out(session, setup, params)
        named = (await self._generate(prompt.token_ids, params)).strip()
        if named == session.user.name and named not in {member.name for member in present}:
            raise UsersTurn(f"it is {named}'s turn to speak")
        return next((member for member in present if member.name == named), present[0])

    async def _generate(self, token_ids: list[int], params: SamplingParams) -> str:
        chunks = self._engine.generate(token_ids, params, request_id=new_id("direct"))
        try:
            async with aclosing(chunks):
                return "".join([chunk.text async for chunk in chunks])
        except EngineDeadError as error:
            raise EngineDownError("the inference engine has died, and the server stops") from error
        except EngineError as error:
            raise UnavailableError(str(error), code="engine_error") from error


def _check_hears(member: Member, plan: Plan) -> Member:
    """The member. Raises InvalidRequestError for one who doesn't hear what it is to answer."""
    if plan.seen_by and member.character_id not in plan.seen_by:
        told = f"{member.name} doesn't hear this: {', '.join(plan.seen_by)} alone may answer it"
        raise InvalidRequestError(told, param="speaker", code="speaker_hears_nothing")
    return member
