package main

// joinManifests is said of commands that change indexes.
const joinManifests = "oakum manifest create makes an index of images, also of those in registries, and oakum manifest push sends it"

// globalForeign are flags of docker, podman and buildah that stand before the command.
var globalForeign = []foreignFlag{
	{"--cgroup-manager", "NAME", []rule{so(holds, "oakum makes control groups itself, for limits that need them")}},
	{"--config", "DIR", []rule{so(refused, "set DOCKER_CONFIG for Docker's config.json, or --authfile for credentials")}},
	{"--conmon, --runtime, --cdi-spec-dir", "PATH", []rule{so(holds, "commands are started by oakum itself")}},
	{"--connection, --url, --identity, --ssh", "WHERE", []rule{so(refused, "oakum works on this machine alone")}},
	{"-c, --context", "NAME", []rule{so(holds, "oakum works on this machine", "", "default"), so(refused, "oakum works on this machine alone")}},
	{"-D, --debug, --syslog", "", []rule{so(missed, "there is no log besides the progress", "true"), so(holds, "there is no log besides the progress", "false")}},
	{"--default-mounts-file, --hooks-dir", "PATH", []rule{so(refused, "only what --volume and --mount name is mounted, and RUN has no hooks")}},
	{"-H, --host", "SOCKET", []rule{so(refused, "there is no daemon to talk to")}},
	{"--imagestore", "DIR", []rule{so(refused, "the store is one directory, --root")}},
	{"-l, --log-level", "LEVEL", []rule{so(holds, "there is no log besides the progress", "info", "warn", "warning", "error", "fatal", "panic"), so(missed, "there is no log besides the progress")}},
	{"--events-backend", "NAME", []rule{so(holds, "no events are kept", "none"), so(missed, "no events are kept")}},
	{"--module, --namespace", "NAME", []rule{so(refused, "containers.conf is not read, and the store has no views")}},
	{"--network-cmd-path, --network-config-dir, --volumepath", "PATH", []rule{so(missed, "there are no named networks and volumes, and pasta and slirp4netns are looked for in PATH")}},
	{"--noout", "", []rule{so(refused, "the shell's > sends standard output elsewhere", "true"), so(holds, "there is output", "false")}},
	{"--registries-conf, --registries-conf-dir, --short-name-alias-conf", "PATH", []rule{so(refused, "set CONTAINERS_REGISTRIES_CONF to a registries.conf instead")}},
	{"-r, --remote", "", []rule{so(refused, "oakum works on this machine alone", "true"), so(holds, "oakum works on this machine", "false")}},
	{"--runtime-flag", "FLAG", []rule{so(missed, "commands are started by oakum itself, without a runtime's program")}},
	{"--tlscacert, --tlscert, --tlskey", "FILE", []rule{so(refused, "there is no daemon to talk to; --cert-dir has certificates for registries")}},
	{"--tls, --tlsverify", "", []rule{so(refused, "there is no daemon to talk to", "true"), so(holds, "there is no daemon to talk to", "false")}},
	{"--tmpdir", "DIR", []rule{so(refused, "set TMPDIR instead")}},
	{"--userns-uid-map, --userns-gid-map", "MAP", []rule{so(refused, "ids are mapped as the store's, of which oakum info tells")}},
	{"--transient-store", "", []rule{so(refused, "the store lasts; --root names another", "true"), so(holds, "the store lasts", "false")}},
}

// runForeign are flags of docker run and podman run.
var runForeign = []foreignFlag{
	{"--annotation, --label-file, --label, -l", "VALUE", []rule{so(holds, "no container is kept that could have it")}},
	{"-a, --attach", "STREAM", []rule{so(missed, "the command has standard input, output and error")}},
	{"--cgroups", "MODE", []rule{so(holds, "commands get a control group of their own where a limit needs one", "enabled", "disabled", "no-conmon", "split"), so(refused, "commands get a control group of their own where a limit needs one")}},
	{"--cidfile, --pidfile, --conmon-pidfile", "FILE", []rule{so(refused, "there is no container that outlives the command, and no id of one")}},
	{"-d, --detach", "", []rule{so(refused, "the command runs in the foreground; the shell's & puts it into the background", "true"), so(holds, "the command runs in the foreground", "false")}},
	{"--detach-keys", "KEYS", []rule{so(missed, "nothing is detached")}},
	{"--domainname", "NAME", []rule{so(missed, "give the whole name by --hostname")}},
	{"--env-host", "", []rule{so(refused, "name the variables: --env NAME", "true"), so(holds, "the environment is not passed on", "false")}},
	{"--expose", "PORT", []rule{so(holds, "nothing is published")}},
	{"--gpus", "GPUS", []rule{so(refused, "name their files: --device /dev/...")}},
	{"--health-cmd, --health-interval, --health-on-failure, --health-retries, --health-start-period, --health-start-interval, --health-timeout", "VALUE", []rule{so(missed, "health checks are not run")}},
	{"--http-proxy", "", []rule{so(refused, "name the variables: --env http_proxy", "true"), so(holds, "the environment is not passed on", "false")}},
	{"--image-volume", "MODE", []rule{so(holds, "what is written there is thrown away with the rest", "tmpfs"), so(missed, "volumes are directories of the image; what is written there is thrown away with the rest")}},
	{"--init", "", []rule{so(missed, "the command is process 1 itself; let it be a program such as tini", "true"), so(holds, "the command is process 1", "false")}},
	{"--ip, --ip6, --mac-address, --link, --network-alias", "VALUE", []rule{so(refused, "a private network has no addresses and names of your choice")}},
	{"--log-driver, --log-opt", "VALUE", []rule{so(holds, "the output goes to standard output and error alone", "none", "passthrough"), so(missed, "the output goes to standard output and error alone")}},
	{"--volumes-from", "CONTAINER", []rule{so(refused, "there are no containers with volumes; use --volume or --mount")}},
	{"--name", "NAME", []rule{so(missed, "no container is kept that could have a name")}},
	{"--chrootdirs, --hostuser, --passwd-entry, --personality, --link-local-ip", "VALUE", []rule{so(refused, "the files are the image's")}},
	{"--device-cgroup-rule", "RULE", []rule{so(refused, "name the devices: --device")}},
	{"--env-merge", "NAME=VALUE", []rule{so(refused, "give the whole value: --env NAME=VALUE")}},
	{"--init-path", "PROGRAM", []rule{so(missed, "the command is process 1 itself")}},
	{"--no-healthcheck", "", []rule{so(holds, "health checks are not run")}},
	{"--oom-kill-disable", "", []rule{so(missed, noLimits, "true"), so(holds, "there is no limit", "false")}},
	{"--passwd", "", []rule{so(missed, "/etc/passwd is the image's", "true"), so(holds, "/etc/passwd is the image's", "false")}},
	{"--pod, --pod-id-file", "POD", []rule{so(refused, "there are no pods")}},
	{"--preserve-fds, --preserve-fd", "N", []rule{so(holds, "no further files are passed", "0"), so(refused, "the command has standard input, output and error alone")}},
	{"-p, --publish", "PORTS", []rule{so(refused, "ports are not published; with --network=host a port that the command listens on is this machine's, under its own number")}},
	{"-P, --publish-all", "", []rule{so(refused, "ports are not published; with --network=host a port that the command listens on is this machine's, under its own number", "true"), so(holds, "nothing is published", "false")}},
	{"--read-only", "", []rule{so(refused, "the command may write; what it writes is thrown away", "true"), so(holds, "the command may write", "false")}},
	{"--read-only-tmpfs", "", []rule{so(holds, "the command may write")}},
	{"--replace", "", []rule{so(holds, "no container is kept that could be replaced")}},
	{"--requires, --restart", "VALUE", []rule{so(holds, "the command is run once", "", "no", "never"), so(refused, "the command is run once; a service manager such as systemd restarts it")}},
	{"--rm", "", []rule{so(holds, "nothing is ever kept", "true"), so(missed, "what the command changes is thrown away in any case", "false")}},
	{"--rmi", "", []rule{so(refused, "remove the image afterwards with oakum rmi", "true"), so(holds, "the image is kept", "false")}},
	{"--rootfs", "", []rule{so(refused, "oakum run takes an image", "true"), so(holds, "oakum run takes an image", "false")}},
	{"--sdnotify", "MODE", []rule{so(holds, "nothing is notified", "ignore"), so(refused, "the command cannot reach systemd")}},
	{"--seccomp-policy", "POLICY", []rule{so(holds, "the filter is Docker's", "default"), so(refused, "the filter is Docker's, or that of --security-opt seccomp=FILE")}},
	{"--sig-proxy", "", []rule{so(holds, "signals reach the command", "true"), so(missed, "a signal ends the command", "false")}},
	{"--stop-signal, --stop-timeout", "VALUE", []rule{so(missed, "there is no stop command; the command ends with oakum")}},
	{"--sysctl", "NAME=VALUE", []rule{so(refused, "kernel parameters are the host's")}},
	{"--systemd", "MODE", []rule{so(holds, "commands are started without more ado", "false"), so(missed, "commands are started without what systemd needs")}},
	{"--timeout", "SECONDS", []rule{so(holds, "there is no limit", "0"), so(refused, "timeout SECONDS oakum run ... ends it")}},
	{"--tz", "ZONE", []rule{so(refused, "set the variable TZ: --env TZ=ZONE")}},
	{"--umask", "MODE", []rule{so(holds, "it is 0022", "0022", "022"), so(refused, "it is 0022")}},
	{"--unsetenv", "NAME", []rule{so(refused, "the command has the variables of the image; --env NAME= empties one")}},
	{"--unsetenv-all", "", []rule{so(refused, "the command has the variables of the image", "true"), so(holds, "the command has the variables of the image", "false")}},
	{"--volume-driver", "NAME", []rule{so(holds, "volumes are of this machine", "", "local"), so(refused, "volumes are of this machine")}},
}

// saveForeign are flags of docker save and podman save.
var saveForeign = []foreignFlag{
	{"--compress", "", []rule{so(refused, "it is for directories; an OCI archive has compressed layers, and gzip compresses one of Docker's", "true"), so(holds, "layers are as the format has them", "false")}},
	{"-m, --multi-image-archive", "", []rule{so(holds, "an archive has all images that are named")}},
	{"--uncompressed", "", []rule{so(holds, "layers of one of Docker's archives are not compressed", "true").without("format"), so(holds, "layers are as the format has them", "false")}},
}

var pushForeign = []foreignFlag{
	{"--all", "", []rule{so(holds, "an index is pushed with all its images", "true"), so(missed, "an index is always pushed with all its images", "false")}},
	{"-a, --all-tags", "", []rule{so(refused, "name the tags, one push for each", "true"), so(holds, "one image is pushed", "false")}},
	{"--compress", "", []rule{so(holds, "--compression-format does that in a directory; elsewhere layers are compressed", "true"), so(missed, "--disable-compression leaves layers as they are", "false")}},
	{"--encrypt-layer, --encryption-key", "VALUE", []rule{so(refused, "images are not encrypted")}},
	{"--platform", "PLATFORM", []rule{so(refused, "push the image by its id, which oakum inspect --platform tells")}},
	{"--remove-signatures", "", []rule{so(refused, "use skopeo copy --remove-signatures", "true"), so(holds, "signatures are kept", "false")}},
	{"--rm", "", []rule{so(refused, "remove the image afterwards with oakum rmi", "true"), so(holds, "the image is kept", "false")}},
	{"--sign-by, --sign-by-sigstore, --sign-by-sigstore-private-key, --sign-passphrase-file", "KEY", []rule{so(refused, "images are not signed; skopeo copy or cosign signs what has been pushed")}},
}

var pullForeign = []foreignFlag{
	{"-a, --all-tags", "", []rule{so(refused, "name the tags: oakum pull NAME:TAG NAME:TAG", "true"), so(holds, "the images that are named are pulled", "false")}},
	{"--decryption-key", "KEY", []rule{so(refused, "encrypted images cannot be read")}},
	{"--policy", "POLICY", []rule{so(holds, "it is always asked what the registry has", "always"), so(refused, "oakum pull always asks the registry; oakum build --pull has the policies")}},
	{"--remove-signatures", "", []rule{so(refused, "signatures are kept", "true"), so(holds, "signatures are kept", "false")}},
}

var imagesForeign = []foreignFlag{
	{"--history", "", []rule{so(refused, "former names of images are not known", "true"), so(holds, "former names of images are not shown", "false")}},
	{"--json", "", []rule{so(refused, "use --format json", "true"), so(holds, "a table is shown", "false")}},
	{"--tree", "", []rule{so(refused, "oakum inspect shows the images of an index", "true"), so(holds, "a table is shown", "false")}},
}

var imagePruneForeign = []foreignFlag{
	{"--build-cache", "", []rule{so(refused, "use oakum prune", "true"), so(holds, "the layer cache stays", "false")}},
	{"--external", "", []rule{so(refused, "images that a container uses stay", "true"), so(holds, "images that a container uses stay", "false")}},
}

var rmiForeign = []foreignFlag{
	{"--no-prune", "", []rule{so(holds, "layers of build steps stay in the layer cache, until oakum prune", "true"), so(holds, "layers of build steps stay in the layer cache, until oakum prune", "false")}},
	{"--platform", "PLATFORM", []rule{so(refused, "an index is removed with its images")}},
	{"-p, --prune", "", []rule{so(refused, "use oakum image prune", "true"), so(holds, "only the images that are named are removed", "false")}},
}

var pruneForeign = []foreignFlag{
	{"--builder", "NAME", []rule{so(holds, "there is one layer cache", "default", ""), so(missed, "there is one layer cache, that of the store")}},
	{"--timeout", "DURATION", []rule{so(holds, "no builder is waited for")}},
}

var duForeign = []foreignFlag{
	{"--builder", "NAME", []rule{so(holds, "there is one layer cache", "default", ""), so(missed, "there is one layer cache, that of the store")}},
	{"--timeout", "DURATION", []rule{so(holds, "no builder is waited for")}},
}

var historyForeign = []foreignFlag{
	{"-H, --human", "", []rule{so(holds, "sizes and times are shown for people", "true"), so(refused, "use --format json for exact sizes and times", "false")}},
}

var inspectForeign = []foreignFlag{
	{"-l, --latest", "", []rule{so(refused, "name the image", "true"), so(holds, "images are named", "false")}},
	{"-s, --size", "", []rule{so(holds, "the size is always shown")}},
	{"-t, --type", "TYPE", []rule{so(holds, "images are shown", "image", "all"), so(refused, "there are images only")}},
}

// foreignCommands are commands of docker, podman and buildah that oakum does not have,
// and what to use instead.
var foreignCommands = map[string]string{
	"add":               "oakum builds from Dockerfiles; a Go program can use package builder for single steps",
	"attach":            noContainers,
	"bake":              "oakum builds one target at a time: oakum build --target NAME",
	"buildx create":     oneBuilder,
	"buildx imagetools": joinManifests,
	"buildx inspect":    oneBuilder,
	"buildx install":    oneBuilder,
	"buildx ls":         oneBuilder,
	"buildx rm":         oneBuilder,
	"buildx stop":       oneBuilder,
	"buildx use":        oneBuilder,
	"buildx version":    "oakum version",
	"commit":            "oakum builds from Dockerfiles; a Go program can use package builder for single steps",
	"compose":           "name oakum's images in the compose file; Podman and oakum have one store",
	"config":            "oakum builds from Dockerfiles; --label, --env and --annotation change what one says",
	"container":         noContainers,
	"containers":        noContainers,
	"copy":              "oakum builds from Dockerfiles; a Go program can use package builder for single steps",
	"cp":                noContainers,
	"create":            noContainers,
	"diff":              "podman image diff shows it; Podman and oakum have one store",
	"exec":              noContainers,
	"exists":            "oakum inspect IMAGE fails when it is not there",
	"export":            noContainers,
	"from":              "oakum builds from Dockerfiles; a Go program can use package builder for single steps",
	"import":            "FROM scratch and ADD of the archive makes an image of it",
	"kill":              noContainers,
	"logs":              noContainers,
	"manifest":          joinManifests,
	"mount":             "podman image mount mounts an image; Podman and oakum have one store",
	"ps":                noContainers,
	"rename":            noContainers,
	"scp":               "oakum save writes an archive to copy, and oakum load reads it",
	"search":            "skopeo list-tags docker://NAME lists the tags of a repository",
	"sign":              "skopeo copy or cosign signs what has been pushed",
	"start":             noContainers,
	"stop":              noContainers,
	"system":            "oakum prune empties the layer cache, oakum image prune removes images without names, oakum system df shows what is on disk, oakum info the store, oakum system reset removes it",
	"tree":              "oakum history shows the layers of an image",
	"umount":            "podman image umount undoes what podman image mount did",
	"unmount":           "podman image unmount undoes what podman image mount did",
	"unshare":           "podman unshare or buildah unshare enters the user namespace of the store",
	"untag":             "oakum rmi NAME removes a name, and the image with its last",
	"volume":            "there are no volumes",
}

const oneBuilder = "there are no builders to make or choose; oakum itself builds, so leave it out"

const noContainers = "no container is kept: oakum run tries an image out, Podman runs it in earnest from the same store"
