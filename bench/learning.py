"""Does the student learn? Runs the embedded study under several seeds: `python bench/learning.py [seed ...]`.

Prints, per seed, exact match and mean response tokens of the base and of the two MBT variants on held-out questions.
"""

import subprocess
import sys

from mbt_assets.cli.common import platform_of
from resources import warehouse

VARIANTS = ("tiny__mbt-s", "tiny__mbt-r")
QUERY = """
SELECT m.dataset, m.variant, m.n_questions, m.exact_match, b.exact_match, m.mean_tokens, b.mean_tokens
FROM main_results AS m
JOIN main_results AS b ON b.dataset = m.dataset AND b.variant = 'tiny__base'
WHERE list_contains(?, m.variant) ORDER BY ALL
"""


def main():
    seeds = [int(seed) for seed in sys.argv[1:]] or [1, 2, 3]
    print("| seed | dataset | variant | n | EM base | EM | gain | tokens base | tokens |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for seed in seeds:
        command = [sys.executable, "-m", "mbt_assets.cli.main", "demo", "--study", "embedded", "--seed", str(seed)]
        chosen = [word for variant in VARIANTS for word in ("--variant", variant)]
        subprocess.run([*command, *chosen], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        platform = platform_of("embedded", seed)
        with warehouse.reading(platform.home.warehouse) as connection:
            rows = warehouse.query(connection, QUERY, [list(VARIANTS)]).rows()
        for dataset, variant, n, em, base, tokens, base_tokens in rows:
            gain = em - base
            cells = f"| {seed} | {dataset} | {variant} | {n} | {base:.3f} | {em:.3f} | {gain:+.3f} |"
            print(f"{cells} {base_tokens:.0f} | {tokens:.0f} |", flush=True)


if __name__ == "__main__":
    main()
