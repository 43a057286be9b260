//! Reading dumps: any ELF or kdump file as guest memory.
