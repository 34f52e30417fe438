"""The study file as pydantic models: what one experiment consists of.

What fits each field but not the whole is told by `study_problems`; loading and its error messages are in `study_file`.
Nothing here reads a file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from partitions.model_sources import (
    HubSource,
    ImportedSource,
    PathSource,
    RemoteServer,
    RulesServer,
    Server,
    Source,
    Structured,
    StudyModel,
    VllmServer,
)

Location = tuple[str | int, ...]


class Split(StudyModel):
    """Which rows of a benchmark's split take part.

    Attributes:
        name: the split's name in the benchmark.
        limit: the first so many questions; all of them when it is null.
    """

    name: str
    limit: int | None = Field(default=None, ge=1)


class Dataset(StudyModel):
    """One benchmark of the study.

    Attributes:
        benchmark: name in the registry of `mbt_assets.benchmarks`.
        hub_id: overrides the benchmark's own Hub id.
        config: configuration of that data set; the benchmark's own when it is null.
        revision: git revision on the Hub; the newest when it is null.
        train: the split that students are trained on.
        validation: the split that cells are scored on.
        options: handed to the benchmark's loader (the generator's settings, for a generated one).
    """

    benchmark: str
    hub_id: str | None = None
    config: str | None = None
    revision: str | None = None
    train: Split = Split(name="train")
    validation: Split = Split(name="validation")
    options: dict[str, Any] = {}


class Sampling(StudyModel):
    """Decoding settings of a request; a null field is left to the server.

    Attributes:
        temperature: of the softmax that tokens are drawn from; 0 takes the likeliest token each time.
        top_p: tokens are drawn from the likeliest that together have this probability.
        top_k: tokens are drawn from so many likeliest ones.
        max_tokens: tokens of a response at most, reasoning included.
        stop: texts at which a response ends.
        reasoning_effort: how long the model shall reason, where it knows such a setting.
        extra: further fields of the request's body, as the server names them.
    """

    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    stop: list[str] | None = None
    reasoning_effort: Literal["low", "medium", "high"] | None = None
    extra: dict[str, Any] = {}


Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|[MGTPE]|[KMGTPE]i)?$")]
"""An amount of CPU or memory as Kubernetes writes it: `500m`, `64Gi`."""


class Compute(StudyModel):
    """What a GPU payload or a server of this model needs. All but `gpus` and `timeout_s` is for Kubernetes.

    Attributes:
        gpus: how many GPUs its server and its training have to themselves; 0 gives a vLLM server as many as its
            parallel sizes multiply to, and training none. On Kubernetes: of one pod.
        cpu: cores of a pod.
        memory: of a pod, `/dev/shm` included.
        shm: size of `/dev/shm`, through which NCCL and vLLM pass tensors; null gives a pod with GPUs 16Gi.
        image: container image of its payloads; null takes that of the cluster. Its server names its own.
        timeout_s: seconds that a payload may take; then it is ended.
        nodes: machines that its training is spread over, `gpus` on each.
        replicas: copies of its server, among which requests are shared.
        node_selector: labels of the nodes that may run it: the type of GPU, for one.
        tolerations: of taints of those nodes.
        priority_class: of its pods.
        topology_key: label of nodes; what is spread over several nodes stays on those that have the same value of it.
    """

    gpus: int = Field(default=0, ge=0)
    cpu: Quantity | None = None
    memory: Quantity | None = None
    shm: Quantity | None = None
    image: str | None = None
    timeout_s: int = Field(default=86_400, ge=1)
    nodes: int = Field(default=1, ge=1)
    replicas: int = Field(default=1, ge=1)
    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, Any]] = []
    priority_class: str | None = None
    topology_key: str | None = None

    @property
    def training_gpus(self) -> int:
        """How many GPUs its training has, on all nodes together."""
        return self.gpus * self.nodes


class External(StudyModel):
    """Where an external checkpoint of a model comes from.

    Attributes:
        source: a folder, or a repository on the Hub; null until somebody fills it in.
    """

    source: HubSource | PathSource | None = None


class Published(StudyModel):
    """A data set on the Hub whose rows stand for those of a partition, so that no model is asked for them.

    Attributes:
        repo: `owner/name` of the data set.
        config: its configuration; the default one when it is null.
        split: its split.
        revision: branch, tag or commit on the Hub; the newest when it is null.
        columns: our name of a column → theirs, where it is not the usual one.
    """

    repo: str
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    columns: dict[str, str] = {}


class Training(StudyModel):
    """One trainer's settings.

    Attributes:
        trl: fields of TRL's SFTConfig or GRPOConfig, as they are.
        peft: fields of peft's LoraConfig; null trains all weights.
        adapter: what becomes of a LoRA adapter: merged into the weights, or served as it is on top of its base.
        quantize: `4bit` loads the base so while its adapter is trained (QLoRA).
        accelerate: a packaged accelerate config (`cpu`, `single_gpu`, `multi_gpu`, `fsdp`, `fsdp_qlora`) or the path of
            a file; null runs the payload as one process.
        num_rollouts: keep rows with `rollout_id` up to this.
        num_traces: keep rows with `trace_id` up to this.
        max_chars: drop rows whose prompt and completion have more characters. Whatever its value, the trainer drops
            rows of more tokens than `trl.max_length`.
        limit: keep the first so many rows.
        drop_leaked: leave out rows whose question stands in a validation split, rather than stop.
        too_long: what becomes of rows of more tokens than `trl.max_length`: dropped, or cut at the end.
        report_to: also report to these; their packages and keys are yours to provide.
        by_mode: any of these fields where a mode differs; `trl` is merged field by field, the others are replaced.
    """

    trl: dict[str, Any] = {}
    peft: dict[str, Any] | None = None
    adapter: Literal["merge", "serve"] = "merge"
    quantize: Literal["4bit"] | None = None
    accelerate: str | None = None
    num_rollouts: int | None = Field(default=None, ge=1)
    num_traces: int | None = Field(default=None, ge=1)
    max_chars: int | None = Field(default=None, ge=1)
    limit: int | None = Field(default=None, ge=1)
    drop_leaked: bool = False
    too_long: Literal["drop", "cut"] = "drop"
    report_to: list[Literal["tensorboard", "wandb"]] = []
    # Kept as they were written: what is not named in a change is not changed.
    by_mode: dict[str, dict[str, Any]] = {}

    def for_mode(self, mode: str) -> Training:
        """The settings with what one mode changes in them.

        Raises:
            ValidationError: the mode changes a field that there is not, or to a value that it cannot have.
        """
        change = self.by_mode.get(mode)
        if change is None:
            return self
        changed = {**self.model_dump(), **change, "by_mode": {}}
        if isinstance(change.get("trl", {}), dict):
            changed["trl"] = {**self.trl, **change.get("trl", {})}
        return Training.model_validate(changed)


class Price(StudyModel):
    """What a provider takes for a million tokens of a model. Null is not known: costs are then null too, never 0.

    Attributes:
        input: of the prompt.
        output: generated, reasoning included.
        cached_input: of the prompt, where the provider had them in its cache; null takes as much as for the others.
        currency: of all three.
    """

    input: float | None = Field(default=None, ge=0)
    output: float | None = Field(default=None, ge=0)
    cached_input: float | None = Field(default=None, ge=0)
    currency: str = "USD"


class Model(StudyModel):
    """One model: where its weights come from, how it is served, and the modes it is run in.

    Attributes:
        role: what it is for: tuned and measured, writer of traces, or judge.
        source: where its weights are.
        server: what answers for it.
        modes: what it is run in, as `mbt study show` lists them; `base` is among them: metrics are relative to it.
        sampling: its own decoding settings, field by field over the study's.
        external: for each of its modes of kind `external`, where that checkpoint is.
        sft: settings of its supervised fine-tuning; null takes the study's.
        grpo: settings of its reinforcement learning; null takes the study's.
        compute: what its server and its training need.
        price: what its tokens cost; not known where it is null, as on hardware of one's own.
        reasons: it always reasons before it answers, so that a whole response without reasoning is a failed request.
        trust_remote_code: run the Python code that its repository holds, with the rights of the step.
        context_tokens: most tokens of a prompt and its reply together; null takes `max_model_len` of its vLLM server,
            where that is given. It tells a judge's prompt that was too long from one that was answered.
    """

    role: Literal["student", "teacher", "judge"]
    source: Source
    server: Server
    modes: list[str] = []
    sampling: Sampling = Sampling()
    external: dict[str, External] = {}
    sft: Training | None = None
    grpo: Training | None = None
    compute: Compute = Compute()
    price: Price | None = None
    reasons: bool = False
    trust_remote_code: bool = False
    context_tokens: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _unserved(cls, content: Any) -> Any:
        """A model without weights needs no server."""
        if isinstance(content, dict) and content.get("source") == {"kind": "imported"}:
            return {"server": {"kind": "none"}, **content}
        return content

    @property
    def has_weights(self) -> bool:
        """Whether it can be asked; otherwise its rollouts have to be imported."""
        return not isinstance(self.source, ImportedSource)

    @property
    def structured(self) -> Structured | None:
        """How its server can hold a reply to a form; None where it cannot."""
        return self.server.structured if isinstance(self.server, VllmServer | RemoteServer | RulesServer) else None

    @property
    def context(self) -> int | None:
        """Most tokens of a prompt and its reply together, as far as the study says."""
        options = self.server.options if isinstance(self.server, VllmServer) else {}
        stated = self.context_tokens or options.get("max_model_len") or options.get("max-model-len")
        return stated if isinstance(stated, int) else None


class Rollouts(StudyModel):
    """How many rollouts of a question are drawn on each side, and rewrites of a rollout.

    Attributes:
        train: rollouts of a training question.
        validation: rollouts of a validation question.
        rewrites: rewritten traces of a training rollout.
    """

    train: int = Field(default=1, ge=1)
    validation: int = Field(default=1, ge=1)
    rewrites: int = Field(default=1, ge=1)


class Aes(StudyModel):
    """Weights of the Accuracy-Efficiency Score.

    Attributes:
        alpha: of the share of tokens saved.
        beta: of the relative gain in accuracy.
        gamma: of the relative loss in accuracy.
    """

    alpha: float = 1.0
    beta: float = 3.0
    gamma: float = 5.0


class Limits(StudyModel):
    """Bounds that stop a study from wasting work.

    Attributes:
        max_failure_rate: share of failed requests above which a partition fails its check.
        max_parse_failure_rate: share of unparseable judge replies above which the check warns.
        parse_failures_block: that check stops what is made from the scores, rather than warn.
        judge_reasks: how often a judge is asked again, with another seed, where its reply does not parse.
        retest_sample: rollouts of a cell that its judges judge a second time; 0 for none.
        max_truncated_rate: share of truncated or empty traces above which training is blocked.
        concurrency: requests in flight at most.
        max_attempts: tries of one request.
        request_timeout_s: seconds one try may take.
        length_retries: further draws, with other seeds, of a response that the token limit ended.
        rescore_attempts: how often the sensor asks for one (cell, digest, scorer version).
        rescore_pause_s: seconds from a failed attempt to the next; twice as many after each further one.
        rescore_per_tick: requests of one sensor tick at most.
        rescore_interval_s: seconds from one tick to the next.
        keep_checkpoints: trained checkpoints of a variant that stay; older ones go, unless something refers to them.
    """

    max_failure_rate: float = Field(default=0.01, ge=0, le=1)
    max_parse_failure_rate: float = Field(default=0.05, ge=0, le=1)
    parse_failures_block: bool = False
    judge_reasks: int = Field(default=2, ge=0, le=9)
    retest_sample: int = Field(default=50, ge=0)
    max_truncated_rate: float = Field(default=0.5, ge=0, le=1)
    concurrency: int = Field(default=256, ge=1)
    max_attempts: int = Field(default=6, ge=1)
    request_timeout_s: float = Field(default=3600, gt=0)
    length_retries: int = Field(default=0, ge=0, le=127)
    rescore_attempts: int = Field(default=3, ge=1)
    rescore_pause_s: float = Field(default=300, ge=0)
    rescore_per_tick: int = Field(default=20, ge=1)
    rescore_interval_s: int = Field(default=60, ge=1)
    keep_checkpoints: int = Field(default=3, ge=1)


class Study(StudyModel):
    """One experiment: datasets × models × modes, with everything that its rows depend on.

    Attributes:
        name: of the study; its files lie in a folder of this name.
        description: shown by `mbt study show`.
        seed: of sampling, training, generated benchmarks and the bootstrap.
        datasets: what cells are scored on, by name.
        training_datasets: those of them that students are trained on.
        models: students, teacher and judges, by name.
        teacher: the model that writes solutions and traces.
        judges: models that judge; the first is the primary one, whose figures the marts show.
        sampling: decoding settings of rollouts and of the teacher.
        judge_sampling: decoding settings of judges.
        rollouts: how many are drawn of each question.
        sft: settings of supervised fine-tuning.
        grpo: settings of reinforcement learning.
        aes: weights of the Accuracy-Efficiency Score.
        limits: bounds that stop the study from wasting work.
        resamples: of the bootstrap behind each interval.
        published: rows that come from a data set on the Hub, by the partition that they are of:
            `rewritten_traces[dataset|model__mode]`.
    """

    name: str
    description: str = ""
    seed: int = 42
    datasets: dict[str, Dataset] = Field(min_length=1)
    training_datasets: list[str] = Field(min_length=1)
    models: dict[str, Model] = Field(min_length=1)
    teacher: str
    judges: list[str] = Field(min_length=1)
    sampling: Sampling = Sampling()
    judge_sampling: Sampling = Sampling()
    rollouts: Rollouts = Rollouts()
    sft: Training = Training()
    grpo: Training = Training()
    aes: Aes = Aes()
    limits: Limits = Limits()
    resamples: int = Field(default=10_000, ge=100)
    published: dict[str, Published] = {}

    @property
    def students(self) -> list[str]:
        """Names of the models that are tuned, in the study's order."""
        return [name for name, model in self.models.items() if model.role == "student"]

    @property
    def variants(self) -> list[str]:
        """Every `model__mode` of the study, in its order."""
        return [variant(name, mode) for name, model in self.models.items() for mode in model.modes]

    def sampling_of(self, model: str, base: Sampling | None = None) -> Sampling:
        """The decoding settings of a model: its own fields, where it has them, over the study's (or over `base`)."""
        common, own = base or self.sampling, self.models[model].sampling
        merged = common.model_dump() | own.model_dump(exclude_none=True) | {"extra": common.extra | own.extra}
        return Sampling.model_validate(merged)

    def training_of(self, slug: str, trainer: Literal["sft", "grpo"]) -> Training:
        """A trainer's settings for a variant: its model's own where it has them, otherwise the study's."""
        model, mode = split_variant(slug)
        own: Training | None = getattr(self.models[model], trainer)
        default: Training = getattr(self, trainer)
        return (own if own is not None else default).for_mode(mode)


def variant(model: str, mode: str) -> str:
    """The slug of a model in a mode."""
    return f"{model}__{mode}"


def split_variant(slug: str) -> tuple[str, str]:
    """The model and the mode of a variant's slug."""
    model, _, mode = slug.partition("__")
    return model, mode


def base_of(slug: str) -> str:
    """The slug of a variant's model as it is, which the variant is compared with."""
    return variant(split_variant(slug)[0], "base")
