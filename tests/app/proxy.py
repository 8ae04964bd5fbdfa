"""A small proxy on loopback that puts an app at a path of its own, as hosts do, and changes its Host."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

_NOT_HANDED_ON = {"host", "connection", "transfer-encoding", "content-encoding", "content-length", "keep-alive"}


@contextlib.contextmanager
def proxied(upstream: str, path: str, host: str | None = None) -> Iterator[str]:
    """The address at which the app at `upstream` is seen under `path`; the app is told `host` as its Host."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = httpx.AsyncClient(base_url=upstream, timeout=None)

    async def hand_on(request: Request) -> Response:
        if request.url.path == path and path:
            return RedirectResponse(f"{path}/")
        inner = request.url.path.removeprefix(path) + (f"?{request.url.query}" if request.url.query else "")
        headers = {name: value for name, value in request.headers.items() if name not in _NOT_HANDED_ON}
        headers |= {"host": host} if host else {}
        body = await request.body()
        asked = client.build_request(request.method, inner, headers=headers, content=body or None)
        answer = await client.send(asked, stream=True)
        kept = {name: value for name, value in answer.headers.items() if name not in _NOT_HANDED_ON}

        async def stream() -> AsyncIterator[bytes]:
            try:
                async for piece in answer.aiter_bytes():
                    yield piece
            finally:
                await answer.aclose()

        return StreamingResponse(stream(), answer.status_code, kept)

    methods = ["GET", "POST", "HEAD"]
    routes = [Route(f"{path}/{{rest:path}}", hand_on, methods=methods)]
    app = Starlette(routes=[*routes, *([Route(path, hand_on, methods=methods)] if path else [])])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        threading.Event().wait(0.02)
    yield f"http://127.0.0.1:{port}{path}"
    server.should_exit = True
    server.force_exit = True
    thread.join()
