"""``python -m brainmtl.compare runs=[A,B]``: evaluations beside each other, with paired tests."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from brainmtl.config import entry, plain


def compare(options: dict[str, Any]) -> dict[str, Any]:
    """Compare as ``conf/compare.yaml`` says; print tables, findings and where the files lie."""
    from brainmtl.evaluation.comparison.run import compare as run_comparison
    from brainmtl.evaluation.comparison.table import source_table
    from brainmtl.evaluation.table import print_table

    result = run_comparison(**options)
    found, out_dir = result["comparison"], result["out_dir"]
    for values in found["sources"].values():
        print_table(source_table(values))
    for sentence in found["conclusions"]:
        print(f"- {sentence}")
    for warning in found["warnings"]:
        print(f"warning: {warning}")
    for remark in found["remarks"]:
        print(f"note: {remark}")
    print(f"report: {out_dir / 'comparison.md'}")
    return result


@entry("compare")
def main(cfg: DictConfig) -> None:
    """Command-line entry."""
    compare(plain(cfg))


if __name__ == "__main__":
    main()
