#!/bin/bash
# This file is part of veriseal.
# SPDX-License-Identifier: Apache-2.0

# dracut sets moddir, initdir and the directories of systemd.
# shellcheck disable=SC2154

# Prerequisite check(s) for module.
check() {
    # If the binary(s) requirements are not fulfilled the module can't be installed.
    require_binaries python3 veriseal || return 1

    # Opt-in: whoever adds the module means it, for it can keep a machine from booting.
    return 255
}

# Module dependency requirements.
depends() {
    # It is a unit, ordered against the units of a systemd initrd.
    echo systemd-initrd
    return 0
}

# Install the required file(s) and directories for the module in the initramfs.
install() {
    local _dir _file _unit
    local -a _closure

    if ! _file=$(python3 -I "$moddir/import-closure.py" /usr/lib/veriseal); then
        dfatal "veriseal: the agent's imports cannot be resolved"
        return 1
    fi
    mapfile -t _closure <<< "$_file"
    inst_multiple veriseal python3 "${_closure[@]}" || return 1

    # Only what is in the initrd counts at boot. /run/voa is not taken along.
    for _dir in /etc/voa /usr/local/share/voa /usr/share/voa; do
        [[ -d $_dir ]] || continue
        while IFS= read -r -d '' _file; do
            inst_simple "$_file" || return 1
        done < <(find "$_dir" \( -type f -o -type l \) -path '*/image/*/x509/*' -print0)
    done
    # The base module calls the initrd itself ID=dracut; certificates go by the root's name.
    inst_simple "$(readlink -e /etc/os-release)" /usr/lib/veriseal/os-release || return 1
    inst_multiple -o /usr/lib/veriseal/veriseal.toml /etc/veriseal/veriseal.toml

    inst_multiple -o "$systemdsystemunitdir/veriseal-seal.service" \
        "$systemdsystemconfdir/veriseal-seal.service.d/*.conf"

    # Required, not wanted, by every way into the real root: a unit that is masked on the kernel
    # command line then fails the boot instead of being passed over.
    for _unit in initrd-root-device.target sysroot.mount initrd-root-fs.target \
        initrd-switch-root.target initrd-switch-root.service; do
        mkdir -p "$initdir$systemdsystemconfdir/$_unit.requires"
        ln_r "$systemdsystemunitdir/veriseal-seal.service" \
            "$systemdsystemconfdir/$_unit.requires/veriseal-seal.service"
    done
}
