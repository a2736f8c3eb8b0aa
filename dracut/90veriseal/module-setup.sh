#!/bin/bash
# This file is part of veriseal.
# SPDX-License-Identifier: Apache-2.0

# dracut sets moddir, initdir and the directories of systemd.
# shellcheck disable=SC2154

# Prerequisite check(s) for module.
check() {
    # Opt-in. What is missing is found by install(): from here dracut would leave the module out
    # and make an initrd without it.
    return 255
}

# Module dependency requirements.
depends() {
    # It is a unit, ordered against the units of a systemd initrd.
    echo systemd-initrd
    return 0
}

# Kernel modules that the units of this module need.
installkernel() {
    # A trust statement may be on the ESP, which this machine need not have mounted now.
    hostonly='' instmods vfat nls_cp437 nls_ascii nls_iso8859-1 nls_utf8
}

# Install the required file(s) and directories for the module in the initramfs.
install() {
    local _file _unit
    local -a _closure

    # Required, not wanted, by every way into the real root: a unit that is masked on the kernel
    # command line, or missing, then fails the boot instead of being passed over.
    for _unit in initrd-root-device.target sysusr-usr.mount initrd-usr-fs.target; do
        require "$_unit" veriseal-seal.service
    done
    # The check comes after sysroot.mount. Without it there is no reason to mount, and a boot that
    # cannot go on says so instead of waiting.
    for _unit in sysroot.mount initrd-root-fs.target initrd-parse-etc.service \
        initrd-switch-root.target initrd-switch-root.service; do
        require "$_unit" veriseal-seal.service
        require "$_unit" veriseal-verify.service
    done
    for _unit in veriseal-seal veriseal-verify; do
        inst_simple "$systemdsystemunitdir/$_unit.service" || fail "$_unit.service is missing"
        inst_multiple -o "$systemdsystemconfdir/$_unit.service.d/*.conf"
    done

    _file=$(python3 -I "$moddir/import-closure.py" /usr/lib/veriseal) \
        || fail "the agent's imports cannot be resolved"
    mapfile -t _closure <<< "$_file"
    inst_multiple veriseal python3 "${_closure[@]}" || fail "a file of the agent is missing"

    # The base module calls the initrd itself ID=dracut; certificates go by the root's name.
    inst_simple "$(readlink -e /etc/os-release)" /usr/lib/veriseal/os-release \
        || fail "os-release is missing"
    inst_multiple -o /usr/lib/veriseal/veriseal.toml /etc/veriseal/veriseal.toml
    # The digest files of composefs images.
    inst_multiple -o "/usr/lib/veriseal/images/*/*"
    # Certificates, trust statement and floor: only what is in the initrd counts at boot. From now
    # on this machine knows this version, and an older one is a rollback.
    veriseal boot install "$initdir" || fail "the initrd would not boot this system, see above"
}

# Make a unit of systemd require one of ours.
require() {
    mkdir -p "$initdir$systemdsystemconfdir/$1.requires"
    ln_r "$systemdsystemunitdir/$2" "$systemdsystemconfdir/$1.requires/$2"
}

# dracut does not look at the status of install(): an initrd without the agent must not be made.
fail() {
    dfatal "veriseal: $1"
    exit 1
}
