# shellcheck shell=bash
# Functions that the scripts share. Source it: . "$(dirname "$0")/lib.sh"
# Sets ROOT (the checkout), CACHE (everything fetched or made for guests) and GUESTS (finished images).

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${DRAGOMAN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dragoman}
GUESTS=$CACHE/guests

# Jobs for compilers: what the machine has, unless DRAGOMAN_JOBS says otherwise.
JOBS=${DRAGOMAN_JOBS:-$(nproc 2>/dev/null || echo 2)}

# step TEXT: one line of progress, with the seconds since the script began.
step() { printf '==> [%3ds] %s\n' "$SECONDS" "$*"; }
note() { printf '    %s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# quietly LOG COMMAND...: run with its output in LOG; on failure print the end of it.
quietly() {
    local log=$1; shift
    mkdir -p "$(dirname "$log")"
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 40 "$log" >&2
        die "failed: $* (all of its output: $log)"
    fi
}

# as_root COMMAND...: by sudo, when we are not root.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "needs root (and there is no sudo): $*"
    fi
}

# group_packages GROUP...: the packages of these groups, one per line.
group_packages() {
    local group
    for group; do awk -v g="$group" '$1 == g { print $2 }' "$ROOT/scripts/packages.txt"; done |
        awk '!seen[$0]++'
}

# need GROUP...: install the packages of these groups that are not there. Says which and why; silent when all are.
need() {
    command -v dpkg-query >/dev/null || {
        note "not a Debian system: scripts/packages.txt lists what is needed ($*)"
        return 0
    }
    local package missing=()
    for package in $(group_packages "$@"); do
        case "$(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null || true)" in
            ?i*) ;;
            *) missing+=("$package") ;;
        esac
    done
    [ ${#missing[@]} -gt 0 ] || return 0

    step "installing ${#missing[@]} missing Debian packages"
    for package in "${missing[@]}"; do
        note "$(awk -v p="$package" '$2 == p { $1 = ""; print; exit }' "$ROOT/scripts/packages.txt")"
    done
    # Another script of ours may be installing at this moment, or the system's own updates.
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends
        -o DPkg::Lock::Timeout=600 "${missing[@]}")
    local log=$CACHE/log/install.log
    mkdir -p "$CACHE/log"
    # The lists on this machine may be absent or old: then refresh them once. A source that cannot be refreshed
    # need not be the one we install from, so the install itself is what decides.
    if ! as_root "${install[@]}" >"$log" 2>&1 </dev/null; then
        note "refreshing the package lists"
        as_root apt-get update -q >>"$log" 2>&1 </dev/null || note "some lists could not be refreshed (see $log)"
        quietly "$log" as_root "${install[@]}"
    fi
}

# private_apt_setup ARCH...: an apt of our own under $CACHE/apt. It reads the sources, proxies and keys set up on this
# machine and writes nothing outside $CACHE: lists, archives and the (empty) list of installed packages are private.
private_apt_setup() {
    local apt=$CACHE/apt arch
    mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial"
    : >"$apt/status"
    {
        # Hooks of this machine (cleaners, indexers) are about its own packages.
        printf '#clear %s;\n' APT::Update DPkg APT::Architectures
        echo "Dir::State \"$apt/state\";"
        echo "Dir::State::status \"$apt/status\";"
        echo "Dir::Cache \"$apt/cache\";"
        echo "Dir::Log \"$apt\";"
        echo "APT::Architecture \"$1\";"
        echo 'APT::Architectures {'
        for arch; do echo "    \"$arch\";"; done
        echo '};'
        # The cache may lie where apt's own user cannot reach.
        echo "APT::Sandbox::User \"$(id -un)\";"
        echo 'Acquire::Languages "none";'
        echo 'Acquire::Retries "3";'
        echo 'Acquire::IndexTargets { deb::Contents-deb::DefaultEnabled "false"; deb::DEP-11::DefaultEnabled "false"; };'
    } >"$apt/apt.conf"
}

# private_apt TOOL ARGS...: apt-get or apt-cache with that configuration (read last, so it wins).
private_apt() {
    local tool=$1; shift
    "$tool" -q -c "$CACHE/apt/apt.conf" "$@"
}

# newer_than TARGET FILE...: true when TARGET exists and no FILE is newer.
newer_than() {
    local target=$1 file; shift
    [ -e "$target" ] || return 1
    for file; do [ ! "$file" -nt "$target" ] || return 1; done
}

# one_at_a_time: wait for another script that is working in the cache, then keep it to ourselves. Scripts called by
# one that has it run under it.
one_at_a_time() {
    [ "${DRAGOMAN_CACHE_HELD:-}" != "$CACHE" ] || return 0
    mkdir -p "$CACHE"
    exec 9>"$CACHE/lock"
    flock -n 9 || { note "waiting for another run that is working in $CACHE"; flock 9; }
    export DRAGOMAN_CACHE_HELD=$CACHE
}

# The modules that the disk and CD guests load: IDE and SATA disks and CDs, NVMe, floppies, the file systems of our images, the network card.
DISK_MODULES="ata_piix ahci nvme floppy sd_mod sr_mod ext4 isofs e1000 virtio_pci virtio_blk"

# linux_parts: kernel and archives for a bootable amd64 image, made when they are missing or older than their maker.
linux_parts() {
    "$ROOT/scripts/guest-packages"
    newer_than "$GUESTS/initrd-amd64.cpio" "$ROOT/scripts/make-initramfs" "$ROOT/scripts/guest-init" \
        "$GUESTS/packages" || "$ROOT/scripts/make-initramfs" --arch amd64
    newer_than "$GUESTS/modules-amd64.cpio" "$ROOT/scripts/make-initramfs" "$ROOT/scripts/lib.sh" \
        "$GUESTS/packages" || "$ROOT/scripts/make-initramfs" --arch amd64 --modules "$DISK_MODULES"
}

# unpacked_kernel: the amd64 kernel as the ELF file that is started through PVH.
unpacked_kernel() {
    newer_than "$GUESTS/vmlinux-amd64" "$GUESTS/vmlinuz-amd64" "$ROOT/scripts/extract-kernel" ||
        "$ROOT/scripts/extract-kernel" "$GUESTS/vmlinuz-amd64" "$GUESTS/vmlinux-amd64"
}

# image_tree TREE APPEND [INITRD]: what our bootable images hold: kernel, archives (or that one), GRUB's menu (on screen
# and on the first serial line at once), and a file of known content to read back.
image_tree() {
    mkdir -p "$1/boot/grub"
    cp "$GUESTS/vmlinuz-amd64" "$1/boot/vmlinuz"
    local archives=/boot/initrd
    cp "${3:-$GUESTS/initrd-amd64.cpio}" "$1/boot/initrd"
    [ $# -gt 2 ] || { cp "$GUESTS/modules-amd64.cpio" "$1/boot/modules"; archives+=" /boot/modules"; }
    (set +o pipefail; seq 1 700000 | head -c 4194304) >"$1/numbers"
    cat >"$1/boot/grub/grub.cfg" <<CFG
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=2
set default=0
menuentry "Dragoman guest" {
    echo "Loading Linux"
    linux /boot/vmlinuz $2
    initrd $archives
}
menuentry "Reboot" { reboot }
CFG
    find "$1" -exec touch -h -d @0 {} +
}
