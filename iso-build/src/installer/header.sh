#!/bin/sh
# Installer program of a management node; what it can do says --help.
set -eu
fail() {
    echo "Fail Reason: $1" >&2
    exit 1
}
for tool in dpkg-deb tar sha256sum; do
    command -v "$tool" >/dev/null ||
        fail "The Operating System version is not suitable for zstack-enterprise installation. It has no $tool, and must be Debian 13 (amd64); install the node from the newest medium"
done
packages=@PACKAGES@
work=$(mktemp -d /var/tmp/zstack-installer.XXXXXXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ -z "$packages" ]; then
    # An archive of the packages is behind this text.
    sum=$(tail -n +@LINE@ "$0" | sha256sum)
    [ "${sum%% *}" = @SUM@ ] || fail "$0 is damaged; copy it again, and compare its checksum"
    tail -n +@LINE@ "$0" | tar -x -C "$work" || fail "there is no room in /var/tmp for @MIB@ MiB; make some"
    packages=$work
fi
set -- --packages "$packages" "$@"
control=
for control in "$packages"/zstack-ctl_*.deb; do :; done
[ -f "$control" ] || fail "$packages has no packages; copy them there from the medium (repo/apt/pool)"
dpkg-deb --fsys-tarfile "$control" | tar -x -C "$work" ./usr/bin/zstack-ctl
"$work/usr/bin/zstack-ctl" install "$@"
exit
