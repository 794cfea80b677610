"""What is measured: which workload, in which scenario, into which kind of archive."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    case: str
    # cold: nothing was built before, bases are here; noop: nothing changed; edit: one file changed;
    # warm: nothing changed and the archive is written; pull: the base is not here.
    scenario: str
    # Kind of archive; None leaves the image in the builder's own store.
    output: str | None = None
    # How many times the time of BuildKit's newest version is aimed at.
    aim: float | None = None

    @property
    def name(self):
        return f"{self.case}/{self.scenario}/{self.output or 'store'}"


FULL = [
    Row("steps50", "cold", "oci-gzip", 20),
    Row("steps50", "cold"),
    Row("steps50", "noop", None, 15),
    Row("steps200", "cold"),
    Row("steps200", "noop"),
    Row("wide8", "cold"),
    Row("tree40k", "cold", "oci-gzip", 8),
    Row("tree40k", "cold", "oci-uncompressed", 20),
    Row("tree40k", "cold", "oci-zstd"),
    Row("tree40k", "cold", "docker"),
    Row("tree40k", "cold"),
    Row("tree40k", "noop", None, 10),
    Row("tree40k", "warm", "oci-gzip"),
    Row("tree4k", "edit", "oci-gzip", 6),
    Row("tree4k", "edit"),
    Row("big1g", "cold", "oci-gzip", 5),
    Row("big1g", "cold", "oci-uncompressed"),
    Row("big1g", "noop"),
    Row("webapp", "cold", "oci-gzip", 4),
    Row("webapp", "cold"),
    Row("webapp", "edit"),
    Row("chown", "cold"),
    Row("chown", "cold", "docker"),
    Row("pull", "pull"),
]

QUICK = [
    Row("steps5", "cold", "oci-gzip"),
    Row("steps5", "noop"),
    Row("wide3", "cold"),
    Row("tree200", "cold", "oci-uncompressed"),
    Row("tree200", "cold", "oci-zstd"),
    Row("tree200", "warm", "docker"),
    Row("tree200", "edit"),
    Row("pull", "pull"),
]
