"""Headers for every answer of the app, and a bound on what is posted to it."""

from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.texts import phrase

BODY_BYTES = 512_000  # of a posted request; a prompt of 32 kB fits many times over

_CSP = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # Gradio's own page needs both
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        # A Space stands in a frame of the hub.
        "frame-ancestors 'self' https://huggingface.co https://*.huggingface.co",
    )
)
_HEADERS = (
    (b"content-security-policy", _CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)


class Guard:
    """Puts the security headers on every answer, and turns away bodies that no form of this page sends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_HEADERS]}
            await send(message)

        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if b"transfer-encoding" in headers or not length.isdigit() or int(length) > BODY_BYTES:
            refused = PlainTextResponse(
                phrase("The request has more than {n:,} bytes, or no content length.", n=BODY_BYTES), 413
            )
            await refused(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)


MIDDLEWARE = [Middleware(Guard)]
