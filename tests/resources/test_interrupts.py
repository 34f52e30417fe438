"""An interrupt ends a process wherever in it the interrupt falls: real processes, real signals."""

import subprocess
import sys

IN_A_DESTRUCTOR = """
import os, signal, time
from resources.interrupts import {keeper}
{keeper}()
class Slow:
    def __del__(self):
        os.kill(os.getpid(), signal.{signal})
        for _ in range(1000):
            pass
try:
    Slow()
    print("went on", flush=True)
    time.sleep(20)
except KeyboardInterrupt:
    print("ended in order")
"""
NO_INTERRUPT = """
from resources.interrupts import keep_interrupts
keep_interrupts()
class Broken:
    def __del__(self):
        raise ValueError("a fault of its own")
Broken()
"""


def ran(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)


def test_an_interrupt_that_falls_into_a_destructor_comes_again_and_prints_nothing():
    done = ran(IN_A_DESTRUCTOR.format(keeper="keep_interrupts", signal="SIGINT"))
    assert done.stdout == "went on\nended in order\n"
    assert done.stderr == ""


def test_so_does_the_signal_that_schedulers_send():
    done = ran(IN_A_DESTRUCTOR.format(keeper="end_as_with_ctrl_c", signal="SIGTERM"))
    assert done.stdout == "went on\nended in order\n"
    assert done.stderr == ""


def test_other_faults_of_destructors_are_told_as_ever():
    assert "a fault of its own" in ran(NO_INTERRUPT).stderr


IN_A_QUERY = """
import os, signal, sys, threading, time
import duckdb
from resources.warehouse import query
slow = "SELECT sum(sin(a.range * b.range)) FROM range(10000000) AS a, range(1000000) AS b"
with duckdb.connect() as connection:
    # Which of DuckDB's threads has the work when the interrupt comes is chance.
    for _ in range(12):
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            query(connection, slow)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    print(query(connection, "SELECT 1 AS one").item())
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


def test_a_query_ends_at_an_interrupt_whichever_thread_works_on_it_and_the_next_one_runs():
    assert ran(IN_A_QUERY).stdout == "interrupted\n" * 12 + "1\n"
