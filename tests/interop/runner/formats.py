"""The formats that guestdump writes, and names for groups of them."""

RAW_KDUMP = ("kdump-raw-zlib", "kdump-raw-lzo", "kdump-raw-snappy", "kdump-raw-zstd")
FLATTENED = ("kdump-zlib", "kdump-lzo", "kdump-snappy", "kdump-zstd")

# A flattened dump comes after its raw form, with which it is compared.
ALL = ("elf", *RAW_KDUMP, *FLATTENED)
# One format of each kind.
FEW = ("elf", "kdump-raw-zlib", "kdump-zlib")

GROUPS = {"raw kdump": RAW_KDUMP, "flattened": FLATTENED}


def raw_form(name: str) -> str:
    """Returns the format that `makedumpfile -R` makes of this one."""
    return name.replace("kdump-", "kdump-raw-") if name in FLATTENED else name
