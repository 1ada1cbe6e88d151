"""The routes of a server; `static/openapi.json` describes them for programs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from srkd import web
from srkd.errors import SrkdError
from srkd.images import decoders
from srkd.images.formats import FORMATS
from srkd.serve.access import HEADERS, Access, Guard, error_response
from srkd.serve.api_page import api_page
from srkd.serve.archive import zipped
from srkd.serve.preview import media_type, preview
from srkd.serve.queue import ACTIVE, FullError, ImageQueue, NoSuchJobError, QueuedImage
from srkd.serve.uploads import receive
from srkd.version import __version__

STATIC = Path(__file__).parent / "static"
# The files of the pages, by name: their folder and type.
_FILES = {
    "page.css": (STATIC, "text/css"),
    "api.css": (STATIC, "text/css"),
    "page.js": (STATIC, "text/javascript"),
    "openapi.json": (STATIC, "application/json"),
    "base.css": (web.FOLDER, "text/css"),
    "compare.js": (web.FOLDER, "text/javascript"),
    "files.js": (web.FOLDER, "text/javascript"),
    "icon.svg": (web.FOLDER, "image/svg+xml"),
    "divider.svg": (web.FOLDER, "image/svg+xml"),
}
_STILL_THERE = 0.5  # seconds between two checks that a client still waits
Handler = Callable[[Request], Awaitable[Response]]


def build(queue: ImageQueue, access: Access, watching: str = "") -> Starlette:
    """The application.

    Args:
        watching: what is watched, in words, for the page.
    """
    handlers = Handlers(queue, watching)
    routes = [
        Route("/", handlers.page),
        Route("/api", handlers.api),
        *(Route(f"/{name}", handlers.static) for name in _FILES),
        Route("/api/info", handlers.info),
        Route("/api/upscale", handlers.upscale, methods=["POST"]),
        Route("/api/jobs", handlers.jobs, methods=["GET"]),
        Route("/api/jobs", handlers.submit, methods=["POST"]),
        Route("/api/jobs", handlers.remove_finished, methods=["DELETE"]),
        Route("/api/jobs/{id}", handlers.job, methods=["GET"]),
        Route("/api/jobs/{id}", handlers.remove, methods=["DELETE"]),
        Route("/api/jobs/{id}/cancel", handlers.cancel, methods=["POST"]),
        Route("/api/jobs/{id}/result", handlers.result),
        Route("/api/jobs/{id}/before", handlers.before),
        Route("/api/jobs/{id}/after", handlers.after),
        Route("/api/jobs/{id}/thumbnail", handlers.thumbnail),
        Route("/api/results.zip", handlers.archive),
    ]
    errors: dict[Any, Any] = {HTTPException: _as_json, NoSuchJobError: _not_found, Exception: _failed}
    return Starlette(routes=routes, middleware=[Middleware(Guard, access=access)], exception_handlers=errors)


async def _as_json(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = error_response(error.status_code, error.detail)
    response.headers["connection"] = "close"  # the rest of a rejected upload is not read
    return response


async def _not_found(request: Request, error: Exception) -> Response:
    return error_response(404, str(error))


async def _failed(request: Request, error: Exception) -> Response:
    """The response to a request that met a bug, whose traceback the server prints."""
    response = error_response(500, f"the server failed ({type(error).__name__}); it goes on")
    response.headers.update(HEADERS)  # it does not pass the guard
    return response


class Handlers:
    """What the routes do."""

    def __init__(self, queue: ImageQueue, watching: str) -> None:
        self._queue, self._watching = queue, watching

    async def page(self, request: Request) -> Response:
        return FileResponse(STATIC / "page.html", media_type="text/html", headers={"cache-control": "no-cache"})

    async def api(self, request: Request) -> Response:
        return HTMLResponse(api_page())

    async def static(self, request: Request) -> Response:
        folder, kind = _FILES[request.url.path[1:]]
        return FileResponse(folder / request.url.path[1:], media_type=kind, headers={"cache-control": "no-cache"})

    async def info(self, request: Request) -> Response:
        limits = self._queue.limits
        known = {"megabytes": limits.megabytes, "megapixels": limits.megapixels, "images": limits.images}
        models = self._queue.choices.as_json()
        formats = [name for name, format in FORMATS.items() if decoders.missing(format) is None]
        about = {"version": __version__, "limits": known, "models": models, "formats": formats}
        return JSONResponse(about | {"watching": self._watching or None})

    async def upscale(self, request: Request) -> Response:
        """Upscale one image and respond with the result; a client that leaves cancels it."""
        images = self._added(await receive(request, self._queue))
        if len(images) != 1:
            self._queue.remove_all(images)
            raise HTTPException(400, f"{len(images)} images in one request: send them to /api/jobs")
        (image,) = images
        try:
            finished = asyncio.wrap_future(image.finished)
            while not (await asyncio.wait([finished], timeout=_STILL_THERE))[0]:
                if await request.is_disconnected():
                    raise HTTPException(499, "the client left")
            if image.state != "done":
                raise HTTPException(422 if image.state == "failed" else 503, image.error or "cancelled")
        except BaseException:
            self._queue.remove_all(images)
            raise
        cleanup = BackgroundTask(self._queue.remove_all, images)
        return FileResponse(
            image.target, media_type=media_type(image.format), filename=image.result_name, background=cleanup
        )

    async def jobs(self, request: Request) -> Response:
        return JSONResponse({"jobs": [image.as_json() for image in self._queue]})

    async def submit(self, request: Request) -> Response:
        images = self._added(await receive(request, self._queue))
        return JSONResponse({"jobs": [image.as_json() for image in images]}, 201)

    def _added(self, images: list[QueuedImage]) -> list[QueuedImage]:
        """The images of a request, once they are in the queue."""
        try:
            self._queue.add(*images, reserved=True)
        except FullError as error:  # the server stops
            raise HTTPException(429, str(error)) from error
        return images

    async def remove_finished(self, request: Request) -> Response:
        self._queue.remove_all([image for image in self._queue if image.state not in ACTIVE])
        return Response(status_code=204)

    async def job(self, request: Request) -> Response:
        return JSONResponse(self._image(request).as_json())

    async def remove(self, request: Request) -> Response:
        self._queue.remove(request.path_params["id"])
        return Response(status_code=204)

    async def cancel(self, request: Request) -> Response:
        return JSONResponse(self._queue.cancel(request.path_params["id"]).as_json())

    async def result(self, request: Request) -> Response:
        image = self._done(request)
        _check_present(image, image.target)
        return FileResponse(image.target, media_type=media_type(image.format), filename=image.result_name)

    async def before(self, request: Request) -> Response:
        image = self._image(request)
        return await self._preview(image, "before", image.source, image.source_format)

    async def after(self, request: Request) -> Response:
        image = self._done(request)
        return await self._preview(image, "after", image.target, image.format, own=True)

    async def thumbnail(self, request: Request) -> Response:
        image = self._image(request)
        if not image.thumbnail:
            raise HTTPException(404, "no thumbnail: the image was not read yet")
        return Response(image.thumbnail, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    async def archive(self, request: Request) -> Response:
        done = [image for image in self._queue if image.state == "done"]
        if not done:
            raise HTTPException(404, "no finished images")
        disposition = {"content-disposition": 'attachment; filename="upscaled.zip"'}
        named = [(image.target, image.result_name) for image in done]
        return StreamingResponse(zipped(named), media_type="application/zip", headers=disposition)

    def _image(self, request: Request) -> QueuedImage:
        return self._queue[request.path_params["id"]]

    def _done(self, request: Request) -> QueuedImage:
        image = self._image(request)
        if image.state != "done":
            raise HTTPException(409, image.error or f"no result: the image is {image.state}")
        return image

    async def _preview(self, image: QueuedImage, side: str, path: Path, format: str, own: bool = False) -> Response:
        _check_present(image, path)
        try:
            shown, kind = await run_in_threadpool(preview, path, format, self._queue.preview_path(image, side), own)
        except SrkdError as error:
            raise HTTPException(422, str(error).replace(str(path), image.name)) from error
        return FileResponse(shown, media_type=kind, headers={"cache-control": "private, max-age=3600"})


def _check_present(image: QueuedImage, path: Path) -> None:
    """Raise HTTPException if a file of an image is gone; those of a watched folder are the user's."""
    if not path.is_file():
        raise HTTPException(404, f"{image.name}: the file was removed")
