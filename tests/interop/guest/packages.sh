# Debian packages of any architecture, for the scripts beside this file.
# shellcheck shell=bash

# load_guest NAME: the variables of machines/NAME.
load_guest() {
    local folder
    folder=$(dirname "${BASH_SOURCE[0]}")/machines
    if [[ ! -f $folder/$1 ]]; then
        echo "no guest is called '$1'; there are: $(ls "$folder" | tr '\n' ' ')" >&2
        return 2
    fi
    # What most have in common.
    MEMORY_MB=256 FILL_MB=16
    APPEND='' NEEDS_CONFIG='' EXPECT_VMCOREINFO='' EXPECT_MAP=''
    DUMPS=(elf kdump-zlib kdump-raw-zlib)
    MAKEDUMPFILE=no PROGRAMS_MB=0
    # shellcheck disable=SC1090
    source "$folder/$1"
}

# newest PACKAGE: its newest version, in the archive of APT_CONFIG.
newest() {
    local version
    version=$(apt-cache show --no-all-versions "$1" | awk '$1 == "Version:" { print $2; exit }')
    [[ -n $version ]] || { echo "package $1 is unknown" >&2; return 1; }
    echo "$version"
}

# unpack PACKAGE VERSION FOLDER PATTERN...: the files that match, from that package,
# with the options of tar that PATTERN begins with. FOLDER appears when it is complete.
unpack() {
    local package=$1 version=$2 folder=$3 work
    shift 3
    mkdir -p "$(dirname "$folder")"
    work=$(mktemp -d "$folder.XXXXXX")
    (cd "$work" && apt-get -qq download "$package=$version" >&2)
    mkdir "$work/root"
    # Not a pipe: tar may stop reading early.
    tar -x -C "$work/root" -f <(dpkg-deb --fsys-tarfile "$work"/*.deb 2>/dev/null) --wildcards "$@"
    mv -T "$work/root" "$folder"
    rm -rf "$work"
}
