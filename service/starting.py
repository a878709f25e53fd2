"""The application of the first seconds: whoever asks while the models load is told so at once."""

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ragtune.errors import Unavailable
from service.errors import refuse


class Doorway:
    """Answers 503 until `app` is set, then passes everything on. Only /healthz is answered with 200 all the time."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if self.app is not None:
            await self.app(scope, receive, send)
        elif scope["path"] == "/healthz":
            await JSONResponse({"status": "starting"})(scope, receive, send)
        else:
            refusal = refuse(Unavailable("the service is starting: its models are being loaded"))
            await refusal(scope, receive, send)
