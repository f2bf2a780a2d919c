"""Users, as far as this server knows them: ids under which clients open sessions, and can have them erased."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request

from app.api.http.body import JsonRoute
from app.store.users import UserStore

router = APIRouter(prefix="/users", tags=["users"], route_class=JsonRoute)

MOST_ID_CHARACTERS = 200
UserId = Annotated[str, Path(min_length=1, max_length=MOST_ID_CHARACTERS)]


@router.delete("/{user_id:path}")
async def delete_user(user_id: UserId, request: Request) -> dict[str, Any]:
    """Erase all sessions that are the user's by now, and everything of them; 0 where there is none."""
    users: UserStore = request.app.state.users
    return {"user_id": user_id, "sessions_deleted": await users.erase(user_id.strip())}
