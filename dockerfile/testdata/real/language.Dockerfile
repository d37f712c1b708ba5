# A build that checks itself: here-documents, parents, modes and links.
FROM scratch AS base
COPY --chmod=755 busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN mkdir -p /etc /tmp && echo 'app:x:100:101::/home/app:/bin/sh' > /etc/passwd

FROM base AS heredocs
ARG WORD=expanded
# The document's own interpreter, also for a user who is not root.
RUN <<EOF
#!/bin/awk -f
BEGIN { print "from awk" > "/awk" }
EOF
USER app
RUN <<-"a name"
	#!/bin/sh -e
	[ "$(id -u)" = 100 ]
	[ "$WORD" = expanded ]
	[ ! -w "$0" ] && [ "$0" = /dev/pipes/script ]
a name
USER root
RUN [ "$(cat /awk)" = "from awk" ] && [ ! -e /dev/pipes ]
RUN 3<<EOF
echo "$WORD" > /bare
EOF
RUN sh -s one <<EOF
echo "$1 $WORD" > /stdin
EOF
RUN cat - /dev/fd/3 > /several <<A 3<<-'B'
$WORD
A
	$WORD
	B
RUN <<A cat > /first && cat <<B > /second
a
A
b
B
RUN [ "$(cat /bare)" = expanded ] && [ "$(cat /stdin)" = " expanded" ] && [ "$(cat /first /second)" = "$(printf 'a\nb')" ]
RUN [ "$(cat /several)" = "$(printf 'expanded\n$WORD')" ]
COPY <<plain <<'quoted' <<-"tabs" files/a.txt /docs/
$WORD "${WORD:-x}" \$WORD \\ \
joined
plain
$WORD \$WORD \\ \
quoted
	one
		two
tabs
ADD --chmod=u=rwx,go= --chown=100:101 <<archive.tar /docs/
no archive
archive.tar
RUN cd /docs && [ "$(cat plain)" = "$(printf 'expanded "expanded" $WORD \\ \njoined')" ] && [ "$(cat quoted)" = "$(printf '%s\n' '$WORD \$WORD \\ \')" ]
RUN cd /docs && [ "$(cat tabs)" = "$(printf 'one\ntwo')" ] && [ "$(stat -c '%a %u:%g' archive.tar)" = "700 100:101" ] && [ -f a.txt ]
ONBUILD RUN <<EOF
#!/bin/awk -f
BEGIN { print "from a trigger" > "/trigger" }
EOF
ONBUILD COPY <<EOF /triggered
$WORD
EOF

FROM heredocs AS triggered
RUN [ "$(cat /trigger)" = "from a trigger" ] && [ "$(cat /triggered)" = expanded ]

FROM base AS parents
WORKDIR /out
COPY --parents files/sub/b.txt files/./a* ./
COPY --parents --exclude=**/*.md files/**/*.* deep/
COPY --from=heredocs --parents /docs/./plain /docs/../docs/tabs /from/
RUN [ "$(find . -type f | sort | tr '\n' ' ')" = "./a.md ./a.txt ./deep/files/a.txt ./deep/files/kept.key ./deep/files/sub/b.txt ./files/sub/b.txt " ]
RUN [ "$(find /from -type f | sort | tr '\n' ' ')" = "/from/docs/tabs /from/plain " ]
ARG MODE=u=rwX,go=rX
COPY --chmod=$MODE --from=heredocs /docs /modes/
RUN [ "$(stat -c %a /modes/archive.tar)" = 755 ] && [ "$(stat -c %a /modes/plain)" = 644 ]

FROM base
RUN mkdir /real && ln -s /real /dir
COPY --link --chown=100 files/a.txt /dir/
ADD --link --chmod=+x files/a.txt bin/tool
RUN [ ! -L /dir ] && [ "$(stat -c %u:%g /dir/a.txt)" = 100:100 ] && [ -z "$(ls /real)" ] && [ -x /bin/tool ] && [ -e /bin/busybox ]
COPY --from=triggered /trigger /
COPY --from=parents /out /out
