#!/bin/sh
# Makes one layer of the medium: what installing packages adds to the layers below it. Runs as root in mount and process
# namespaces of its own, so that nothing of it outlives it.
#
#   layer.sh WORK REPOSITORY LOWER PACKAGE...
#
# WORK/upper gets the layer. LOWER is a list of folders with colons between, the topmost first, as overlayfs wants it; for
# the lowest layer it is -, and WORK/upper has a bootstrapped system already. Packages are the names of what the
# repository has. Their scripts start nothing and reach no network.
set -eu
work=$1 repository=$2 lower=$3
shift 3
root=$work/root
mkdir -p "$work/upper" "$root"
if [ "$lower" = - ]; then
    mount --bind "$work/upper" "$root"
else
    mkdir -p "$work/overlay"
    mount -t overlay overlay -o "lowerdir=$lower,upperdir=$work/upper,workdir=$work/overlay" "$root"
fi
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir -p "$root/dev/pts" "$root/dev/shm" "$root/run/repository"
ln -s /proc/self/fd "$root/dev/fd"
mount --bind -o ro "$repository" "$root/run/repository"

printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
# The lists and the index of this repository alone, and none of it in the layer.
cat > "$root/run/apt.conf" <<'APT'
Dir::Etc::SourceList "/run/sources.list";
Dir::Etc::SourceParts "/run/none";
Dir::State::Lists "/run/lists";
Dir::Cache "/run/cache";
Dir::Log "/run/log";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
DPkg::Options { "--force-confold"; "--force-unsafe-io"; "--log=/run/dpkg.log"; };
APT
mkdir -p "$root/run/lists/partial" "$root/run/cache/archives/partial" "$root/run/log"
echo "deb [signed-by=/run/repository/zstack-local.gpg] file:///run/repository zstack-local main" > "$root/run/sources.list"
inside() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        APT_CONFIG=/run/apt.conf SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" chroot "$root" "$@"
}
if [ "$lower" = - ]; then
    # Made when it is first used, by every node for itself; the package would put one name into the image for all of them.
    mkdir -p "$root/etc/iscsi"
    (umask 077 && echo GenerateName=yes > "$root/etc/iscsi/initiatorname.iscsi")
fi
inside apt-get update -qq
inside apt-get install -y -qq "$@" < /dev/null
if [ -n "${LAYER_HOOK:-}" ]; then
    inside sh -eu -c "$LAYER_HOOK"
fi

# What belongs to one machine, and what only cost time to make. A file of a lower layer is in none of these places: it
# was removed there.
for file in "$root/usr/sbin/policy-rc.d" "$root"/etc/ssh/ssh_host_* "$root/etc/nvme/hostid" "$root/etc/nvme/hostnqn" \
    "$root/var/lib/dbus/machine-id" "$root/var/lib/rabbitmq/.erlang.cookie" "$root"/var/lib/dpkg/*-old \
    "$root"/var/cache/debconf/*-old "$root/var/cache/ldconfig/aux-cache" "$root"/var/log/*.log "$root"/var/log/apt/*; do
    if [ -e "$file" ]; then rm -rf "$file"; fi
done
if [ -s "$root/etc/machine-id" ] || [ ! -e "$root/etc/machine-id" ]; then : > "$root/etc/machine-id"; fi
