"""Takes the pictures of the tour from the pages themselves: `mbt explore`, Dagster's web server, and the report.

    python docs/pictures.py [--home FOLDER] [--only grid,cell]

The home (`MBT_HOME` unless said otherwise) holds a finished embedded study. It is copied first, and what is stale is
made in the copy, so nothing in the home changes. Needs the extras `explore` and `dev`, and a Chromium on the PATH (or
in `MBT_CHROMIUM`). A picture that cannot be taken leaves the old one as it is, is named at the end, and makes the exit
code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from picture_servers import asked, bring_up_to_date, serving
from PIL import Image
from playwright.sync_api import Browser, Error, Page, sync_playwright

FOLDER = Path(__file__).parent / "pictures"
WIDTH, HEIGHT = 1200, 800
COLOURS = 160
"""Colours of a picture's palette: pages have few, and charts still look smooth."""
LARGEST = 150_000
"""Bytes of a picture at most."""
DATASET, BASE, TUNED = "trails", "tiny__base", "tiny__mbt-r"
GROUPS = ("questions", "models", "traces", "training", "rollouts", "scores", "marts", "warehouse")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
WRONG = (
    "select base.question_id from answer_scores as base "
    "inner join answer_hits using (dataset, variant, question_id, rollout_id) "
    "inner join answer_scores as tuned on tuned.dataset = base.dataset and tuned.question_id = base.question_id "
    f"and tuned.variant = '{TUNED}' and tuned.exact_match = 1 "
    f"where base.dataset = '{DATASET}' and base.variant = '{BASE}' and base.exact_match = 0 "
    "and answer_hits.answer_hit = 1 order by 1 limit 1"
)
"""A question that is worth a picture: the base derived the answer and gave another, and the tuned model kept it."""
ROW = (
    "select concat_ws('/', question_id, rollout_id, trace_id) from training_sets "
    f"where dataset = '{DATASET}' and variant = '{TUNED}' order by 1 limit 1"
)
MADE_IN = "select regexp_extract(uri, '^(/.*)/checkpoints/', 1) from checkpoints where uri like '/%' limit 1"
WITHOUT_PLACES = """
([place, shown]) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) walker.currentNode.data = walker.currentNode.data.replaceAll(place, shown);
}
"""
"""Writes a place on a page as another one."""


class Addresses:
    """Where the pages are.

    Attributes:
        home: the copy that they show.
        explore: address of `mbt explore`.
        dagster: address of `mbt ui`.
        wrong: a question that the base answered wrongly though its reasoning reached the answer.
        row: a row of the tuned variant's training set: question, rollout and trace, as an address has them.
        made_in: the home as checkpoints name it, which is nobody's business.
    """

    def __init__(self, home: Path, explore: str, dagster: str):
        self.home, self.explore, self.dagster = home, explore, dagster
        self.wrong, self.row, self.made_in = (asked(home, query) for query in (WRONG, ROW, MADE_IN))


def _explore(path: str) -> Callable[[Page, Addresses], bytes]:
    """Takes a page of the explorer; `{wrong}` and `{row}` in its path stand for those of `Addresses`."""

    def take(page: Page, at: Addresses) -> bytes:
        answer = page.goto(at.explore + path.format(wrong=at.wrong, row=at.row))
        if answer is None or answer.status != 200:
            raise LookupError(f"{page.url} answers {answer.status if answer else 'nothing'}")
        page.wait_for_load_state("networkidle")
        page.evaluate(WITHOUT_PLACES, [at.made_in, "…/.mbt"])
        return page.screenshot()

    return take


def _trace(page: Page, at: Addresses) -> bytes:
    """The trace and the documents, below the figures."""
    _explore(f"/trace/{DATASET}/{BASE}/{{wrong}}/1")(page, at)
    return _from(page, "Trace", 70)


def _from(page: Page, heading: str, above: int) -> bytes:
    """A page from a heading on, which stands so many pixels below the upper edge."""
    place = page.get_by_role("heading", name=heading, exact=True)
    place.evaluate("(it, above) => window.scrollTo(0, it.getBoundingClientRect().top + window.scrollY - above)", above)
    return page.screenshot()


def _graph(page: Page, at: Addresses) -> bytes:
    """The groups of assets, as the graph shows them while they are closed."""
    # So high that the buttons at the lower edge are out of the way.
    page.set_viewport_size({"width": WIDTH, "height": 1100})
    page.goto(f"{at.dagster}/asset-groups")
    named = [page.get_by_text(group, exact=True).locator("visible=true").last for group in GROUPS]
    named[-1].wait_for()
    # The graph is laid out in a worker, and then zoomed to fit.
    page.wait_for_timeout(3000)
    boxes = [box for one in named if (box := one.bounding_box())]
    left, top = min(box["x"] for box in boxes) - 12, min(box["y"] for box in boxes) - 12
    right, bottom = max(box["x"] for box in boxes) + 80, max(box["y"] for box in boxes) + 25
    return page.screenshot(clip={"x": left, "y": top, "width": right - left, "height": bottom - top})


def _backfill(page: Page, at: Addresses) -> bytes:
    """The dialog of the job, filled in; nothing is launched."""
    page.goto(f"{at.dagster}/locations/mbt_assets/jobs/scores_only")
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_role("button", name="All", exact=True).first.click()
    page.get_by_text("Select a partition").first.click()
    page.get_by_text(TUNED, exact=True).locator("visible=true").last.click()
    page.keyboard.press("Escape")
    page.get_by_text("2 partitions").wait_for()
    # The list of variants fades away.
    page.wait_for_timeout(1000)
    return page.screenshot()


def _report(page: Page, at: Addresses) -> bytes:
    page.goto((at.home / "embedded" / "report.html").as_uri())
    return _from(page, "Summary", 20)


PICTURES: dict[str, Callable[[Page, Addresses], bytes]] = {
    "grid": _explore("/"),
    "cell": _explore(f"/cell/{DATASET}/{BASE}"),
    "trace": _trace,
    "compare": _explore(f"/compare?dataset={DATASET}&a={BASE}&b={TUNED}&question={{wrong}}"),
    "training": _explore(f"/training/{DATASET}/{TUNED}/{{row}}"),
    "query": _explore("/query?sql=select+dataset,+variant,+aes+from+aes+order+by+dataset,+aes+desc"),
    "graph": _graph,
    "backfill": _backfill,
    "report": _report,
}
"""How each picture is taken."""


def small(png: bytes) -> bytes:
    """A screenshot as a PNG with a palette, no wider than the docs show it."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    colours = COLOURS
    while True:
        out = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        if out.tell() <= LARGEST or colours <= 8:
            return out.getvalue()
        colours //= 2


def take(name: str, browser: Browser, at: Addresses) -> str:
    """Take one picture; gives why it could not be taken, or nothing."""
    scale = 2 if name == "graph" else 1
    context = browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=scale, color_scheme="light"
    )
    context.set_default_timeout(30_000)
    try:
        content = small(PICTURES[name](context.new_page(), at))
    except (Error, LookupError) as error:
        return str(error).splitlines()[0]
    finally:
        context.close()
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.png").write_bytes(content)
    print(f"{name}.png  {len(content) / 1000:.0f} kB")
    return ""


def chosen_of() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("MBT_HOME") or ".mbt"))
    parser.add_argument("--only", default=",".join(PICTURES))
    return parser.parse_args()


def main() -> int:
    """Take the pictures that were asked for; 1 if one could not be taken."""
    chosen = chosen_of()
    names = [name for name in chosen.only.split(",") if name]
    if strangers := [name for name in names if name not in PICTURES]:
        sys.exit(f"there is no picture {strangers[0]!r}; there are {', '.join(PICTURES)}")
    browser_path = os.environ.get("MBT_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not (chosen.home / "embedded" / "lake").is_dir():
        sys.exit(f"{chosen.home} holds no embedded study: run `mbt demo` first, or give its folder with --home")
    if browser_path is None:
        sys.exit("there is no Chromium on the PATH: install one, or name it in MBT_CHROMIUM")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        home = Path(folder) / "home"
        shutil.copytree(chosen.home, home, symlinks=True)
        bring_up_to_date(home)
        needs_dagster = {"graph", "backfill"} & set(names)
        explore = stack.enter_context(serving("explore", home))
        dagster = stack.enter_context(serving("ui", home)) if needs_dagster else ""
        at = Addresses(home, explore, dagster)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=browser_path, args=ARGUMENTS)
            missing = {name: why for name in names if (why := take(name, browser, at))}
            browser.close()
    for name, why in missing.items():
        print(f"not taken: {name}: {why}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
