"""`mbt ui` as a process, and what its user clicks there, through the API that the pages call."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

LAUNCH = """
mutation($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
RUN = "query($id: ID!) { pipelineRunOrError(runId: $id) { ... on Run { status } } }"
REPOSITORY = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"
START_SENSOR = """
mutation($selector: SensorSelector!) {
  startSensor(sensorSelector: $selector) { __typename ... on PythonError { message } }
}
"""
ENDED = ("SUCCESS", "FAILURE", "CANCELED")


class Ui:
    """The web server and daemon at an address.

    Args:
        url: without a path.
    """

    def __init__(self, url):
        self.url = url

    def ask(self, query, **variables):
        """The data that a GraphQL query gives."""
        data = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            content = json.loads(reply.read())
        assert "errors" not in content, content
        return content["data"]

    def repository(self):
        """The code location's repository, as selectors name it."""
        nodes = self.ask(REPOSITORY)["repositoriesOrError"].get("nodes")
        if not nodes:
            return None
        return {"repositoryName": nodes[0]["name"], "repositoryLocationName": nodes[0]["location"]["name"]}

    def start_sensor(self, name):
        """Switch a sensor on."""
        done = self.ask(START_SENSOR, selector={**self.repository(), "sensorName": name})["startSensor"]
        assert done["__typename"] == "Sensor", done

    def run(self, job, partition, timeout=180):
        """Launch a job for a partition and wait for its end; gives the run's status."""
        tags = {"dagster/partition": partition}
        if "|" in partition:
            dataset, variant = partition.split("|")
            tags |= {"dagster/partition/dataset": dataset, "dagster/partition/variant": variant}
        params = {
            "selector": {**self.repository(), "pipelineName": job},
            "mode": "default",
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        launched = self.ask(LAUNCH, params=params)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return wait_for(lambda: self._ended(launched["run"]["runId"]), timeout, f"the end of {job} {partition}")

    def _ended(self, run_id):
        status = self.ask(RUN, id=run_id)["pipelineRunOrError"]["status"]
        return status if status in ENDED else None


def wait_for(look, timeout, what):
    """What `look` gives as soon as it is true."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(1)
    raise AssertionError(f"waited {timeout} s in vain for {what}")


@contextlib.contextmanager
def serving_ui(command, **options):
    """`mbt ui` from a command line that ends with `ui`; ended with all that it started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([*command, "--port", str(port)], start_new_session=True, **options)
    ui = Ui(f"http://127.0.0.1:{port}")

    def is_up():
        assert process.poll() is None, "mbt ui ended"
        with contextlib.suppress(urllib.error.URLError, OSError):
            return ui.repository()
        return None

    try:
        wait_for(is_up, 120, "mbt ui")
        yield ui
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
