"""Data sets in a folder that is laid out like the Hub: several configurations, each with its splits."""

import polars as pl


def put_data_set(root, repo, configs):
    """Write a data set below `root`, in the place of the one of that name; gives its folder.

    `configs` has rows by configuration and split: `{"Qwen3-4B": {"train": [row, …]}}`.
    """
    folder = root / repo
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, rows in splits.items():
            file = folder / config / f"{split}-00000-of-00001.parquet"
            file.parent.mkdir(exist_ok=True)
            pl.DataFrame(rows, infer_schema_length=None).write_parquet(file)
            lines += [f"  - split: {split}", f"    path: {config}/{split}-*"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
    return folder
