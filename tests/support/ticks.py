"""Real ticks of the re-scoring sensor and real runs of what they ask for, one after the other in this process."""

import dagster as dg


class Daemon:
    """Ticks when it is told to, and runs what the ticks ask for."""

    def __init__(self, platform, instance):
        self.platform, self.instance = platform, instance
        self.definitions = platform.definitions()
        self.repository = self.definitions.get_repository_def()
        self.messages = []

    def tick(self):
        sensor = self.repository.get_sensor_def("rescore_on_checkpoint_change")
        with dg.build_sensor_context(instance=self.instance, repository_def=self.repository) as context:
            result = sensor.evaluate_tick(context)
        self.messages.append(result.skip_message or result.cursor)
        return result.run_requests

    def run(self, request):
        job = self.definitions.resolve_job_def(request.job_name)
        return job.execute_in_process(
            instance=self.instance, partition_key=request.partition_key, tags=dict(request.tags), raise_on_error=False
        )

    def work(self, ticks=6):
        """Tick and run until nothing more is asked for; gives (job, key, attempt) of every run, in order."""
        done = []
        for _ in range(ticks):
            requests = self.tick()
            for request in requests:
                self.run(request)
                done.append((request.job_name, request.partition_key, int(request.tags["mbt/attempt"])))
            if not requests:
                return done
        raise AssertionError(f"still at work after {ticks} ticks: {self.messages}")
