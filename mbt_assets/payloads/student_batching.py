"""Dynamic batching: requests that wait for the same checkpoint are decoded together, one batch at a time.

Loading checkpoints and choosing batches belongs here; HTTP and decoding do not.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from mbt_assets.payloads.bases import LOADING_ERRORS, load_model, load_tokenizer
from mbt_assets.payloads.openai_http import RequestError
from mbt_assets.payloads.student_decoding import Row, decode
from resources.checkpoints import ADAPTER_CONFIG, folder_state

CONFIG_FILES = ("config.json", ADAPTER_CONFIG)
LOADED_MODELS = 8
TOKEN_BUDGET = 32_768
"""Most prompt tokens of one batch, padding included: bounds the memory of attention over long prompts."""
GATHER_SECONDS = 0.004


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def context(self) -> int:
        """Most tokens of prompt and completion together."""
        return int(self.model.config.max_position_embeddings)


class Checkpoints:
    """Checkpoints below a folder, the latest used ones kept in memory.

    Args:
        root: the folder; a model's name is its path below it.
    """

    def __init__(self, root: Path):
        self.root = root.resolve()
        self._loaded: OrderedDict[tuple[Path, str], Loaded] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Names of all checkpoints that can be asked for."""
        found = {path.parent for name in CONFIG_FILES for path in self.root.glob(f"**/{name}")}
        return sorted(folder.relative_to(self.root).as_posix() for folder in found)

    def get(self, name: str) -> Loaded:
        """The checkpoint of a name, loaded if need be.

        Raises:
            RequestError: there is none of that name below the root, or it cannot be loaded.
        """
        folder = self._folder(name)
        # Files that were made anew or replaced in the same place are another checkpoint.
        key = (folder, folder_state(folder))
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = _load(folder, name)
                if len(self._loaded) > LOADED_MODELS:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(key)
            return self._loaded[key]

    def _folder(self, name: str) -> Path:
        try:
            folder = (self.root / name).resolve()
            if folder.is_relative_to(self.root) and _config_of(folder).is_file():
                return folder
        except (OSError, ValueError):  # a name that no file system takes
            pass
        raise RequestError(
            404, f"no model {name!r} here: a model is named by its folder's path", "model", "model_not_found"
        )


def _config_of(folder: Path) -> Path:
    """The file that makes a folder a checkpoint; that of an adapter where it is one."""
    adapter = folder / ADAPTER_CONFIG
    return adapter if adapter.is_file() else folder / "config.json"


def _load(folder: Path, name: str) -> Loaded:
    transformers_logging.disable_progress_bar()
    try:
        model = load_model(folder, local_files_only=True).eval()
        return Loaded(model, load_tokenizer(folder, local_files_only=True))
    except LOADING_ERRORS as error:
        raise RequestError(500, f"checkpoint {name!r} cannot be loaded: {error}", "model") from error


@dataclass
class Job:
    """Rows of one request, and who waits for them."""

    loaded: Loaded
    rows: list[Row]
    done: Future[list[Row]]


class Batcher:
    """Decodes jobs in one thread, as many rows at once as fit.

    Args:
        max_batch: most rows of a batch.
    """

    def __init__(self, max_batch: int):
        self.max_batch = max_batch
        self._waiting: list[Job] = []
        self._arrived = threading.Condition()
        threading.Thread(target=self._work, daemon=True, name="decode").start()

    def submit(self, loaded: Loaded, rows: list[Row]) -> Future[list[Row]]:
        """Queue the rows of a request; the future holds them when they are done."""
        job = Job(loaded, rows, Future())
        with self._arrived:
            self._waiting.append(job)
            self._arrived.notify()
        return job.done

    def _work(self) -> None:
        while True:
            jobs = [job for job in self._next() if not job.done.cancelled()]
            try:
                _decode(jobs)
            except Exception as error:  # every waiter of the batch learns what failed; the thread has to live on
                for job in jobs:
                    _settle(job, error)

    def _next(self) -> list[Job]:
        """Jobs for one batch: the oldest, and others of its checkpoint, nearest in length first."""
        with self._arrived:
            while not self._waiting:
                self._arrived.wait()
            # Requests come in a burst: a moment's patience fills the batch.
            self._arrived.wait_for(lambda: len(self._waiting) >= self.max_batch, timeout=GATHER_SECONDS)
            first = self._waiting[0]
            mates = [job for job in self._waiting[1:] if job.loaded is first.loaded]
            length = len(first.rows[0].prompt)
            mates.sort(key=lambda job: abs(len(job.rows[0].prompt) - length))
            chosen, widest, count = [first], length, len(first.rows)
            for job in mates:
                width = max(widest, len(job.rows[0].prompt))
                if (count + len(job.rows)) > self.max_batch or width * (count + len(job.rows)) > TOKEN_BUDGET:
                    break
                chosen.append(job)
                widest, count = width, count + len(job.rows)
            taken = {id(job) for job in chosen}
            self._waiting = [job for job in self._waiting if id(job) not in taken]
            return chosen


def _decode(jobs: list[Job]) -> None:
    """Decode jobs of one checkpoint; each is answered when its own rows are done, and dropped if nobody waits."""
    owner = {id(row): job for job in jobs for row in job.rows}
    left = {id(job): len(job.rows) for job in jobs}
    if not jobs:
        return
    loaded = jobs[0].loaded
    rows = [row for job in jobs for row in job.rows]
    for row in decode(loaded.model, loaded.tokenizer, rows, lambda row: owner[id(row)].done.cancelled()):
        job = owner[id(row)]
        left[id(job)] -= 1
        if not left[id(job)]:
            _settle(job)


def _settle(job: Job, error: Exception | None = None) -> None:
    """Answer a job, unless it has been answered or given up already."""
    with contextlib.suppress(InvalidStateError):
        if error is None:
            job.done.set_result(job.rows)
        else:
            job.done.set_exception(error)
