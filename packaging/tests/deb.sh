# A deb, for upgrade.sh.

tools=()
group=www-data

# The user and group that the web server runs as are there.
prepare() { :; }

# higher NUMBER: the same package with a higher version, as upgradeNUMBER in the system's /root.
higher() {
    local tree=$directory/tree
    rm -rf "$tree"
    dpkg-deb --raw-extract "$package" "$tree"
    sed -i "s/^Version: .*/&+upgrade$1/" "$tree/DEBIAN/control"
    dpkg-deb --root-owner-group -Znone --build "$tree" "$root/root/upgrade$1.deb" >/dev/null
}

# installed NAME: that package of /root, also in place of an older one.
installed() { manager apt-get -q -y -o Dpkg::Use-Pty=0 install "/root/$1.deb"; }

# It is left enabled, and starts with the first pool.
enabled() { :; }

removed() { manager apt-get -q -y remove wsgi-fpm; }

# Also what the administrator has written.
purged() { manager apt-get -q -y purge wsgi-fpm; }
