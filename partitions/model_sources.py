"""Where a model's weights come from, and what serves it: the kinds that a study file knows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Structured = Literal["choice_regex", "json_schema"]
"""How a server can hold a judge's reply to its form: vLLM's `structured_outputs`, or OpenAI's `response_format`."""


class StudyModel(BaseModel):
    """Base of every part of a study: unknown fields are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HubSource(StudyModel):
    """Weights on the Hugging Face Hub.

    Attributes:
        repo: `owner/name` of the model.
        revision: branch, tag or commit; the newest when it is null.
    """

    kind: Literal["hub"]
    repo: str
    revision: str | None = None


class PathSource(StudyModel):
    """Weights in a local folder.

    Attributes:
        path: the folder, with `*.safetensors`, `config.json` and a tokenizer.
    """

    kind: Literal["path"]
    path: str


class EmbeddedSource(StudyModel):
    """A tiny student that the project makes on the CPU.

    Attributes:
        spec: settings of the `make_student` payload, where they are not its own.
    """

    kind: Literal["embedded"]
    spec: dict[str, Any] = {}


class RulesSource(StudyModel):
    """The project's rule-based teacher and judge: no weights."""

    kind: Literal["rules"]


class ImportedSource(StudyModel):
    """No weights here: all that there is of the model are rollouts, which are imported (`mbt import rollouts`)."""

    kind: Literal["imported"]


Source = Annotated[HubSource | PathSource | EmbeddedSource | RulesSource | ImportedSource, Field(discriminator="kind")]


class VllmServer(StudyModel):
    """`vllm serve`, as a subprocess or as pods.

    Attributes:
        options: each becomes a flag: `tensor_parallel_size: 4` → `--tensor-parallel-size 4`.
        startup_timeout_s: seconds it may take until it answers.
        idle_timeout_s: seconds that it stays after its last use, for the next cell or run of the same checkpoint.
        structured: how it holds a judge's reply to its form; null lets a judge write freely.
        image: container image of it on Kubernetes; null takes that of the cluster.
    """

    kind: Literal["vllm"]
    options: dict[str, Any] = {}
    image: str | None = None
    startup_timeout_s: int = 3600
    idle_timeout_s: float = Field(default=300, ge=0)
    structured: Structured | None = "choice_regex"


class RemoteServer(StudyModel):
    """An endpoint that somebody else runs.

    Attributes:
        base_url: where it is; a list of several that serve the same model shares the load among them.
        model: the name under which it serves the model.
        api_key_env: environment variable that holds the key.
        requests_per_minute: most requests started in a minute at each base URL; null for no limit.
        tokens_per_minute: most tokens, in and out, in a minute at each base URL; null for no limit.
        batch: send through its Batch API: often cheaper, answered within a day.
        structured: how it holds a judge's reply to its form; null where it does not, or nobody knows.
    """

    kind: Literal["openai"]
    base_url: str | list[str] = Field(min_length=1)
    model: str
    api_key_env: str | None = None
    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    batch: bool = False
    structured: Structured | None = None

    @property
    def base_urls(self) -> list[str]:
        """All of them."""
        return [self.base_url] if isinstance(self.base_url, str) else self.base_url


class StudentServer(StudyModel):
    """The project's CPU server for Hugging Face checkpoints.

    Attributes:
        max_batch: responses that it writes at once.
    """

    kind: Literal["student"]
    max_batch: int = 64


class RulesServer(StudyModel):
    """The server of the rule-based teacher and judge.

    Attributes:
        name: the role it answers as.
        structured: how the judge's replies are held to their form; null has them written as the prompt says.
    """

    kind: Literal["rules"]
    name: Literal["rule-teacher", "rule-judge"]
    structured: Literal["json_schema"] | None = None


class NoServer(StudyModel):
    """Nobody serves the model: its rollouts are imported. What a model of that source has, said or not."""

    kind: Literal["none"]


Server = Annotated[VllmServer | RemoteServer | StudentServer | RulesServer | NoServer, Field(discriminator="kind")]
