# An rpm, for upgrade.sh, in a Debian that has Debian's rpm and is told what else a Fedora has: a group for nginx, and that no service
# is enabled by itself. Needs nfpm on PATH (packaging/requirements.txt), which makes packages with higher versions.

tools=(rpm rpm2cpio cpio)
group=nginx

prepare() {
    chroot "$root" groupadd --system nginx
    chroot "$root" usermod --append --groups nginx www-data
    mkdir -p "$root/etc/systemd/system-preset"
    echo 'disable *' >"$root/etc/systemd/system-preset/99-default-disable.preset"
}

higher() {
    local tree=$root/root/tree version arch
    version=$(chroot "$root" rpm --query --package --queryformat '%{VERSION}' /root/first.rpm)
    arch=$(chroot "$root" rpm --query --package --queryformat '%{ARCH}' /root/first.rpm)
    rm -rf "$tree"
    mkdir "$tree"
    chroot "$root" sh -c 'cd /root/tree && rpm2cpio ../first.rpm | cpio --quiet --extract --make-directories'
    STAGE=$tree ARCH=$arch VERSION=$version+upgrade$1 nfpm package --config "$here/../nfpm.yaml" --packager rpm --target "$root/root/upgrade$1.rpm" >/dev/null
}

# Debian's packages are none of rpm's, so what it depends on is unknown to it.
installed() { manager rpm --upgrade --nodeps "/root/$1.rpm"; }

enabled() {
    [ "$(inside systemctl is-enabled wsgi-fpm.service)" = disabled ] || fail "it is enabled, against the system's preset"
    manager systemctl enable --now wsgi-fpm.service
}

removed() { manager rpm --erase wsgi-fpm; }

# What the administrator has written stays.
purged() {
    removed
    rm -r "$root/etc/wsgi-fpm"
    rmdir "$root"/var/lib/wsgi-fpm-*
}
